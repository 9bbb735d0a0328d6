/* cmd/berth/fsck.c - image fsck: does the store still hold what it was given?
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "base/text.h"
#include "cmd/berth/command.h"
#include "cmd/berth/local.h"
#include "cmd/berth/pull.h"

/* Show what was found; the images that are to be pulled. */
static json_t *read_findings(int own_fd, bool *ret_failed)
{
	auto_fclose FILE *in = fdopen(own_fd, "r");
	auto_free char *line = NULL;
	json_t *wanted = json_array();
	size_t size = 0;

	while (in && getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		*ret_failed |= str_starts(line, "error ");
		if (str_starts(line, "pull "))
			(void)json_array_append_new(wanted, json_string(line + strlen("pull ")));
		else
			(void)printf("%s\n", line);
	}
	(void)fflush(stdout);
	return wanted;
}

/* "NAME PLATFORM", or "NAME": as it was pulled. */
static int pull_again(struct context *c, const char *what, struct err *e)
{
	const char *platform = strchr(what, ' ');
	auto_free char *name = xstrndup(what, strcspn(what, " "));
	auto_json json_t *done = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(name));
	if (platform)
		(void)json_object_set_new(request, "platform", json_string(platform + 1));
	if (pull_follow(c, "PullImage", request, PROGRESS_AUTO, &done, e) < 0)
		return -e->code;
	(void)printf("pulled %s\n", name);
	return 0;
}

static int check(struct context *c, struct err *e)
{
	char *const words[] = {(char[]){"fsck"}, NULL};
	auto_close int pidfd = -1;
	auto_json json_t *wanted = NULL;
	bool failed = false;
	json_t *name;
	int fd, status = 0;
	size_t i;

	if (local_start(c, words, NULL, 0, &fd, &pidfd, e) < 0)
		return -e->code;
	wanted = read_findings(fd, &failed);
	if (proc_wait(pidfd, &status, e) < 0)
		return -e->code;
	if (failed || status > 1)
		return err_set(e, EIO, "the image store could not be checked to its end");
	json_array_foreach (wanted, i, name) {
		if (pull_again(c, json_string_value(name), e) < 0)
			return -e->code;
	}
	return 0;
}

static int fsck(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	(void)options;
	(void)words;
	(void)count;
	if (local_refused(c, "image fsck"))
		return EXIT_USAGE;
	return check(c, &e) < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_image_fsck = {
	.name = "image fsck",
	.arguments = "",
	.summary = "Check all layers that this host holds, and pull again what is damaged.",
	.size = 1,
	.run = fsck,
};
