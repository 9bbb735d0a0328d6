/* image/serve.h - requests of the distribution API, as a node answers them
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "image/reference.h"

enum serve_target {
	SERVE_BASE,    /* /v2/ */
	SERVE_DIGEST,  /* /v2/NAME/manifests/DIGEST, /v2/NAME/blobs/DIGEST; NAME is anything */
	SERVE_NOTHING, /* tags and lists among it */
};

/* The target of a request as it came. */
enum serve_target serve_parse_target(const char *target, char ret_digest[DIGEST_SIZE]);

enum serve_range {
	SERVE_WHOLE,       /* no range, or one that means nothing here */
	SERVE_PART,        /* *ret_offset and *ret_size */
	SERVE_UNSATISFIED, /* it begins behind the end */
};

/* A header "Range" (NULL: none) of something of so many bytes: one range of bytes. RFC 9110. */
enum serve_range serve_parse_range(const char *range, uint64_t bytes, uint64_t *ret_offset,
				   uint64_t *ret_size);
