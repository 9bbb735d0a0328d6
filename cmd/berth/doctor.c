/* cmd/berth/doctor.c - what the node of this host has found out about it
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define FINDINGS_MAX 65536

static int doctor(struct context *c, const void *options, char **words, int count)
{
	auto_free char *path = xasprintf("%s/run/berth/doctor",
					 str_eq(c->root, "/") ? "" : c->root);
	auto_buf struct buf findings = BUF_INIT(FINDINGS_MAX);
	struct err e = {0};

	(void)options;
	(void)words;
	(void)count;
	if (c->endpoint)
		return fail_usage("doctor: it tells about this host, not about an endpoint");
	if (fs_read(AT_FDCWD, path, &findings, &e) < 0) {
		if (e.code == ENOENT)
			(void)err_set(&e, ENOENT,
				      "no node has run on this host since it was started");
		return fail(&e);
	}
	(void)fputs(buf_str(&findings), stdout);
	return EXIT_OK;
}

const struct command command_doctor = {
	.name = "doctor",
	.arguments = "",
	.summary = "Tell which of several ways this host allows, and why.",
	.size = 1,
	.run = doctor,
};
