/* image/reference.h - names of images, read strictly
 * SPDX-License-Identifier: Apache-2.0
 *
 *   [host[:port]/]path[/path...][:tag][@sha256:hex]
 *
 * The first part is a host when it has a dot, a colon or an upper-case letter,
 * or is "localhost"; else the host is docker.io.  A single part on docker.io
 * stands below library/.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define DIGEST_SIZE    72  /* "sha256:", 64 digits, NUL */
#define NAME_LEN_MAX   255 /* host, slash and repository: what registries accept */
#define TAG_LEN_MAX    128
#define REFERENCE_SIZE (2 * (NAME_LEN_MAX + 1) + TAG_LEN_MAX + 1 + DIGEST_SIZE)

struct reference {
	char host[NAME_LEN_MAX + 1]; /* with the port, if any */
	char repository[NAME_LEN_MAX + 1];
	char tag[TAG_LEN_MAX + 1]; /* "" when there is a digest; else "latest" unless named */
	char digest[DIGEST_SIZE];  /* "" or "sha256:..." */
};

int reference_parse(const char *text, struct reference *ret, struct err *e);

/*
 * What an image is called at "mirror.example:5000/hub", which has its repositories below
 * a path or not; "": as it is called.
 */
int reference_at(const char *location, const struct reference *name, struct reference *ret,
		 struct err *e);

/* The whole name, as the store knows it. */
void reference_format(const struct reference *r, char ret[REFERENCE_SIZE]);

/* "sha256:" and 64 lower-case hexadecimal digits: safe as a file name, too. */
bool digest_valid(const char *text);

/* The digits of a valid digest. */
const char *digest_hex(const char *digest);
