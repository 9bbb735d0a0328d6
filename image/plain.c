/* image/plain.c - an image whose layers are handed on as the tars that they are
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/plain.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/js.h"
#include "base/text.h"

static uint64_t config_size(const struct record *r)
{
	for (size_t i = 0; i < r->document_count; i++)
		if (str_eq(r->documents[i].digest, r->image.config))
			return r->documents[i].size;
	assert(false); /* whoever has the documents has looked */
	return 0;
}

char *plain_manifest(const struct record *r, const uint64_t tar_sizes[],
		     char ret_digest[DIGEST_SIZE])
{
	auto_json json_t *layers = json_array(), *manifest = NULL;
	unsigned char digest[SHA256_SIZE];
	char hex[SHA256_HEX];
	char *text;

	for (size_t i = 0; i < r->layer_count; i++)
		(void)json_array_append_new(
			layers, json_pack("{s:s, s:s, s:I}", "mediaType",
					  "application/vnd.oci.image.layer.v1.tar", "digest",
					  r->layers[i].diff_id, "size", (json_int_t)tar_sizes[i]));
	manifest = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
			     PLAIN_MANIFEST_TYPE, "config", "mediaType",
			     "application/vnd.oci.image.config.v1+json", "digest", r->image.config,
			     "size", (json_int_t)config_size(r), "layers", layers);
	text = json_dumps(manifest, JSON_COMPACT);
	assert(text);
	sha256_of(text, strlen(text), digest);
	hex_encode(digest, sizeof(digest), hex);
	(void)snprintf(ret_digest, DIGEST_SIZE, "sha256:%s", hex);
	return text;
}
