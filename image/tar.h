/* image/tar.h - the entries of a layer, checked
 * SPDX-License-Identifier: Apache-2.0
 *
 * libarchive reads the tar, and tar only; here each entry is brought to the one
 * form that may be acted on, or refused:
 *
 *   - paths are relative, without "." and "..", within limits; "" is the root;
 *   - whiteouts (".wh.NAME", ".wh..wh..opq") are entries of their own;
 *   - what readers of tar disagree about (data behind a link or a directory)
 *     is refused, so nobody saw another archive than we do;
 *   - attributes that steer the host (trusted.*, security.* but capabilities,
 *     *.overlay.*) are left out.
 *
 * Names are bytes: nothing is converted or normalised, which holds as long as
 * the process has not called setlocale().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"

#define TAR_PATH_MAX    4096 /* with the NUL */
#define TAR_NAME_MAX    255
#define TAR_DEPTH_MAX   512
#define TAR_ENTRIES_MAX 5000000
#define TAR_ID_MAX      (UINT32_MAX - 1) /* the last one means "no change" to chown(2) */
#define TAR_FILES_MAX   (256LL << 30)    /* bytes of all files, holes included */

#define TAR_ATTRIBUTES_MAX     64
#define TAR_ATTRIBUTE_SIZE_MAX 65536

enum tar_kind {
	TAR_FILE,
	TAR_DIRECTORY,
	TAR_SYMLINK,
	TAR_HARD_LINK, /* .target is a path like .path */
	TAR_NODE,      /* device or fifo: .mode has its type */
	TAR_WHITEOUT,  /* .path is not there, whatever lower layers say */
	TAR_OPAQUE,    /* directory .path has nothing of lower layers */
};

struct tar_attribute {
	const char *name;
	const void *value;
	size_t size;
};

struct tar_entry {
	enum tar_kind kind;
	char path[TAR_PATH_MAX];
	char target[TAR_PATH_MAX]; /* of links */
	mode_t mode;               /* 07777, and the type for TAR_NODE */
	uid_t uid;
	gid_t gid;
	dev_t device;
	int64_t size;   /* of a file */
	int64_t offset; /* in the tar: of a file's content, in one piece unless .sparse */
	bool sparse;    /* its content is pieces, of which only tar_data() tells */
	struct timespec mtime;
	struct tar_attribute attributes[TAR_ATTRIBUTES_MAX];
	size_t attribute_count;
};

struct tar;

/* Where the bytes come from: *ret_size is 0 at the end. */
typedef int tar_source_fn(void *ctx, const void **ret, size_t *ret_size, struct err *e);

struct tar *tar_new(tar_source_fn *source, void *ctx);
void tar_free(struct tar *t); /* NULL is fine */

enum { TAR_END = 1 };

/* The next entry, valid until the next call.  0 or TAR_END. */
int tar_next(struct tar *t, const struct tar_entry **ret, struct err *e);

/* A piece of the current file; there may be holes between pieces.  0 or TAR_END. */
int tar_data(struct tar *t, const void **ret, size_t *ret_size, int64_t *ret_offset, struct err *e);

/*
 * Bring a path to the one form, from the root on, whether it begins with "/" (as ko and kaniko
 * write them) or not; -errno and a sentence when it is none.
 */
int tar_clean_path(const char *path, char ret[TAR_PATH_MAX], struct err *e);
