/* image/load.c - images of an archive become images of a store
 * SPDX-License-Identifier: Apache-2.0
 *
 *   load STORE NAME|- PLATFORM|all|-     the archive is LOAD_ARCHIVE
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
#include "image/attachments.h"
#include "image/image.h"
#include "image/worker.h"

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

/* By the names that it was just given; one of them, malloc'ed, or NULL. */
static int tell_loaded(struct image_store *s, const struct image *image, int64_t since_ms,
		       char **ret_name, struct err *e)
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
		if (!names++)
			*ret_name = xstrdup(other->reference);
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

static int load_one(struct image_store *s, const struct image_load_request *request,
		    struct image **ret, char **ret_name, struct err *e)
{
	int64_t since_ms = clock_wall_ms();
	struct image_pull *p;
	int r;

	if (!request->is_directory && lseek(LOAD_ARCHIVE, 0, SEEK_SET) < 0)
		return err_sys(e, "rewind the archive");
	if (image_load_begin(s, request, &p, e) < 0)
		return -e->code;
	r = follow(p, ret, e);
	image_pull_free(p);
	return r == 0 ? tell_loaded(s, *ret, since_ms, ret_name, e) : r;
}

/* The other platforms, each by the name and its own digest. */
static int load_siblings(struct image_store *s, const struct image_load_request *first,
			 const struct image *image, const char *name, struct err *e)
{
	char host[IMAGE_HOST_SIZE], whole[IMAGE_NAME_SIZE];
	struct image_load_request request = *first;
	int r = 0;

	if (image->sibling_count < 2)
		return 0;
	if (!name)
		return err_set(e, EINVAL, "the archive names no image: --name");
	r = image_name_of(name, host, whole, e);
	for (size_t i = 0; r == 0 && i < image->sibling_count; i++) {
		const struct image_sibling *sibling = &image->siblings[i];
		auto_free char *reference = xasprintf("%s@%s", whole, sibling->manifest);
		auto_free char *other = NULL;
		struct image *loaded = NULL;

		if (str_eq(sibling->manifest, image->manifest) || attachment_is(sibling))
			continue;
		request.reference = reference;
		request.platform = sibling->platform;
		r = load_one(s, &request, &loaded, &other, e);
		image_free(loaded);
		if (r < 0)
			(void)err_wrap(e, "%s", sibling->platform);
	}
	return r;
}

static int load_item(struct image_store *s, const struct image_load_request *request,
		     bool all_platforms, struct err *e)
{
	struct image *image = NULL;
	auto_free char *name = NULL;
	int r = load_one(s, request, &image, &name, e);

	if (r == 0 && all_platforms)
		r = load_siblings(s, request, image, name, e);
	image_free(image);
	return r;
}

static const char *word(char **argv, int i)
{
	return str_eq(argv[i], "-") ? NULL : argv[i];
}

static int load(char **argv, struct err *e)
{
	const struct image_store_options options = {
		.dir = argv[2], .worker = NULL, .form = IMAGE_AS_LAST};
	struct image_load_request request = {
		.fd = LOAD_ARCHIVE, .reference = word(argv, 3), .platform = word(argv, 4)};
	bool all = str_eq(request.platform, "all");
	struct image_store *s;
	struct stat st;
	int r;

	if (all)
		request.platform = NULL;
	if (fstat(LOAD_ARCHIVE, &st) < 0)
		return err_sys(e, "archive");
	request.is_directory = S_ISDIR(st.st_mode);
	if (image_store_open(&options, &s, e) < 0)
		return -e->code;
	do {
		r = load_item(s, &request, all, e);
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
