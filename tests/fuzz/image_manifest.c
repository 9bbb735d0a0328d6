/* tests/fuzz/image_manifest.c - index, manifest and configuration
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first line of the input is the content type; what follows is one document,
 * or a manifest and a configuration with a NUL between them.  What becomes a
 * record can be written and read again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "image/manifest.h"
#include "image/record.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void try_other(const char *text, size_t size)
{
	struct document d;
	struct err e = {0};

	if (document_parse_other(text, size, 1 << 20, &d, &e) == 0)
		document_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_config(const struct document *manifest, const struct platform *machine,
		       const char *text, size_t size)
{
	auto_record struct record *r = record_new(), *again = NULL;
	auto_buf struct buf out = BUF_INIT(RECORD_SIZE_MAX);
	struct err e = {0};

	if (config_parse(text, size, manifest, machine, r, &e) < 0)
		return;
	r->image.digest = arena_strdup(&r->image.arena, DIGEST);
	r->image.manifest = arena_strdup(&r->image.arena, DIGEST);
	record_write(r, &out);
	if (!buf_overflow(&out))
		assert(record_read(out.data, out.size, &again, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct platform machine = {"linux", "amd64", ""};
	const char *text = (const char *)data;
	const char *line = memchr(text, '\n', size);
	auto_free char *type = line ? xstrndup(text, (size_t)(line - text)) : NULL;
	const struct descriptor *chosen;
	struct document d;
	struct err e = {0};
	const char *nul;

	if (!line)
		return 0;
	size -= (size_t)(line + 1 - text);
	text = line + 1;
	nul = memchr(text, '\0', size);
	try_other(text, nul ? (size_t)(nul - text) : size);
	if (document_parse(text, nul ? (size_t)(nul - text) : size, *type ? type : NULL, &d, &e) <
	    0)
		return 0;
	if (d.kind == DOCUMENT_INDEX) {
		struct image image = {.sibling_count = 0};

		(void)document_choose(&d, &machine, &chosen, &e);
		document_note_siblings(&d, &image);
		arena_done(&image.arena);
	} else if (nul)
		try_config(&d, &machine, nul + 1, size - (size_t)(nul + 1 - text));
	document_done(&d);
	return 0;
}
