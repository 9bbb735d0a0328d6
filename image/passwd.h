/* image/passwd.h - who a user of an image is
 * SPDX-License-Identifier: Apache-2.0
 *
 * Foreign text: read in the reader only.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "image/image.h"

#define PASSWD_SIZE_MAX (1 << 20)
#define USER_LEN_MAX    255

/*
 * "name", "uid", "name:group", "uid:gid" and mixtures, "" for uid 0, by the
 * texts of the two files, as Docker reads them: the first entry that has the
 * name or the number counts; without a group it gives the primary one, and the
 * groups that list its name are supplementary.  A number needs no entry.
 *
 * Lines that are not of the form are passed over.
 */
int passwd_lookup(const char *passwd, const char *group, const char *user, struct image_user *ret,
		  struct err *e);
