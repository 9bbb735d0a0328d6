/* image/load.c - images of an archive become images of a store
 * SPDX-License-Identifier: Apache-2.0
 *
 *   load STORE NAME|- PLATFORM|-     the archive is LOAD_ARCHIVE
 *
 * Started by whoever has the archive and may write the store.  Parses nothing: it is
 * a caller like the agent, of a puller of its own, which waits for the store's lock.
 * What happens is told line by line: a word, a digest or a sentence, and more.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"
#include "image/worker.h"

#define SELF      "/proc/self/exe"
#define ITEMS_MAX 1000

static const char *const phases[] = {"waiting", "downloading", "unpacking", "done", "exists"};

static void tell_layer(const struct image_pull_event *ev)
{
	if (ev->kind != IMAGE_PULL_LAYER)
		return;
	printf("layer %s %s %llu\n", ev->digest, phases[ev->phase],
	       (unsigned long long)ev->total_bytes);
	(void)fflush(stdout);
}

/* By the names that it was just given. */
static int tell_loaded(struct image_store *s, const struct image *image, int64_t since_ms,
		       struct err *e)
{
	struct image_list all;
	size_t names = 0;

	if (image_list(s, &all, e) < 0)
		return -e->code;
	for (size_t i = 0; i < all.count; i++) {
		const struct image *other = all.items[i];

		if (!other->reference || other->pulled_ms < since_ms ||
		    !str_eq(other->digest, image->digest) ||
		    !str_eq(other->manifest, image->manifest))
			continue;
		printf("loaded %s %s\n", image->config, other->reference);
		names++;
	}
	image_list_done(&all);
	if (!names)
		printf("loaded %s -\n", image->config);
	(void)fflush(stdout);
	return 0;
}

/* 0; 1: there is no such item. */
static int follow(struct image_pull *p, struct image **ret, struct err *e)
{
	struct image_pull_event ev = {.kind = IMAGE_PULL_RESOLVED};

	while (ev.kind != IMAGE_PULL_DONE) {
		struct pollfd polled = {.fd = image_pull_fd(p), .events = POLLIN};
		int r = image_pull_next(p, &ev, e);

		if (r == IMAGE_AGAIN)
			(void)poll(&polled, 1, -1);
		if (r < 0)
			return image_pull_reason(p) == IMAGE_REASON_NOT_FOUND ? 1 : r;
		if (r == 0)
			tell_layer(&ev);
	}
	*ret = ev.image;
	return 0;
}

static int load_item(struct image_store *s, const struct image_load_request *request, struct err *e)
{
	int64_t since_ms = clock_wall_ms();
	struct image *image = NULL;
	struct image_pull *p;
	int r;

	if (image_load_begin(s, request, &p, e) < 0)
		return -e->code;
	r = follow(p, &image, e);
	if (r == 0)
		r = tell_loaded(s, image, since_ms, e);
	image_free(image);
	image_pull_free(p);
	return r;
}

static const char *word(char **argv, int i)
{
	return str_eq(argv[i], "-") ? NULL : argv[i];
}

static int load(char **argv, struct err *e)
{
	const struct image_store_options options = {
		.dir = argv[2], .worker = SELF, .form = IMAGE_AS_LAST};
	struct image_load_request request = {
		.fd = LOAD_ARCHIVE, .reference = word(argv, 3), .platform = word(argv, 4)};
	struct image_store *s;
	struct stat st;
	int r;

	if (fstat(LOAD_ARCHIVE, &st) < 0)
		return err_sys(e, "archive");
	request.is_directory = S_ISDIR(st.st_mode);
	if (image_store_open(&options, &s, e) < 0)
		return -e->code;
	do {
		if (!request.is_directory && lseek(LOAD_ARCHIVE, 0, SEEK_SET) < 0)
			r = err_sys(e, "rewind the archive");
		else
			r = load_item(s, &request, e);
	} while (r == 0 && ++request.item < ITEMS_MAX && !request.reference);
	if (r == 1)
		r = request.item ? 0 : -e->code;
	image_store_close(s);
	return r;
}

int load_main(int argc, char **argv)
{
	struct err e = {0};
	int r = argc == 5 ? load(argv, &e) : err_set(&e, EINVAL, "load STORE NAME PLATFORM");

	if (r < 0)
		printf("error %s\n", e.msg);
	return r < 0 ? 1 : 0;
}
