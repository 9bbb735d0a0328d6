/* image/plain.h - an image whose layers are handed on as the tars that they are
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "image/record.h"

#define PLAIN_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

/*
 * The manifest of the same files under the same configuration, and so the same image id, with
 * plain tars of these sizes (bytes) as layers.  malloc'ed; its digest is not that of the image.
 */
char *plain_manifest(const struct record *r, const uint64_t tar_sizes[],
		     char ret_digest[DIGEST_SIZE]);
