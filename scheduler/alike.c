/* scheduler/alike.c - texts that differ in a few places, as bytes
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/alike.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PLACES_MAX 64
#define SAME_MIN   4 /* bytes: fewer between two places cost more than they save */
#define PART       2 /* places may be so small a part of the text; beyond that they save nothing */

struct place {
	const char *text;
	size_t size;
};

/* ---- made ---- */

static void put_number(struct buf *b, size_t n)
{
	for (; n > 0x7f; n >>= 7)
		buf_putc(b, (char)(n | 0x80));
	buf_putc(b, (char)n);
}

static uint64_t eight_at(const char *text)
{
	uint64_t eight;

	memcpy(&eight, text, sizeof(eight));
	return eight;
}

static size_t skip_same(const char *a, const char *b, size_t at, size_t size)
{
	while (at + 8 <= size && eight_at(a + at) == eight_at(b + at))
		at += 8;
	while (at < size && a[at] == b[at])
		at++;
	return at;
}

/* The end of the place that begins there: SAME_MIN bytes behind it are the same. */
static size_t end_of_place(const char *a, const char *b, size_t at, size_t size)
{
	size_t end = at + 1;

	for (size_t i = end; i < size && i < end + SAME_MIN; i++)
		if (a[i] != b[i])
			end = i + 1;
	return end;
}

/* The earlier one with the same bytes; PLACES_MAX: there is none. */
static size_t find_place(const struct place *places, size_t count, const struct place *p)
{
	for (size_t i = 0; i < count; i++)
		if (places[i].size == p->size && memcmp(places[i].text, p->text, p->size) == 0)
			return i;
	return PLACES_MAX;
}

static bool put_places(struct buf *out, const char *first, const char *text, size_t size)
{
	struct place places[PLACES_MAX];
	size_t count = 0, end = 0, at;

	while ((at = skip_same(first, text, end, size)) < size) {
		struct place p = {.text = text + at};
		size_t same;

		if (count == PLACES_MAX)
			return false;
		put_number(out, at - end);
		end = end_of_place(first, text, at, size);
		p.size = end - at;
		same = find_place(places, count, &p);
		put_number(out, p.size << 1 | (same < PLACES_MAX));
		if (same < PLACES_MAX)
			put_number(out, same);
		else
			buf_add(out, p.text, p.size);
		places[count++] = p;
	}
	return out->size <= size / PART;
}

bool alike_add(struct buf *all, const char *text)
{
	const size_t size = strlen(text);
	auto_buf struct buf places = BUF_INIT(all->limit);

	assert(size);

	if (!all->size) {
		buf_add(all, text, size);
		return true;
	}
	if (strlen(all->data) != size || !put_places(&places, all->data, text, size))
		return false;
	buf_putc(all, '\0');
	put_number(all, places.size);
	buf_add(all, places.data, places.size);
	return true;
}

/* ---- read ---- */

struct reader {
	const unsigned char *at, *end;
};

static bool get_number(struct reader *r, size_t *ret)
{
	size_t n = 0;

	for (unsigned shift = 0; r->at < r->end && shift < 56; shift += 7) {
		n |= (size_t)(*r->at & 0x7f) << shift;
		if (!(*r->at++ & 0x80)) {
			*ret = n;
			return true;
		}
	}
	return false;
}

static bool get_bytes(struct reader *r, size_t size, const char **ret)
{
	if (size > (size_t)(r->end - r->at))
		return false;
	*ret = (const char *)r->at;
	r->at += size;
	return true;
}

static bool get_place(struct reader *r, const struct place *places, size_t count, size_t *ret_same,
		      struct place *ret)
{
	size_t head, number;

	if (!get_number(r, ret_same) || !get_number(r, &head))
		return false;
	ret->size = head >> 1;
	if (!(head & 1))
		return get_bytes(r, ret->size, &ret->text);
	if (!get_number(r, &number) || number >= count || places[number].size != ret->size)
		return false;
	ret->text = places[number].text;
	return true;
}

/* What is not as in the first is put over it. */
static bool put_over(struct reader *r, char *text, size_t size)
{
	struct place places[PLACES_MAX];
	size_t count = 0, at = 0, same;

	while (r->at < r->end) {
		struct place *p = &places[count];

		if (count == PLACES_MAX || !get_place(r, places, count, &same, p) ||
		    same > size - at || p->size > size - at - same)
			return false;
		memcpy(text + at + same, p->text, p->size);
		at += same + p->size;
		count++;
	}
	return true;
}

/* The places of text number 'n', which is not the first. */
static bool find_text(struct reader *r, size_t n)
{
	const char *bytes;
	size_t size;

	for (;;) {
		if (!get_bytes(r, 1, &bytes) || *bytes || !get_number(r, &size) ||
		    !get_bytes(r, size, &bytes))
			return false;
		if (!--n)
			break;
	}
	r->end = r->at;
	r->at = (const unsigned char *)bytes;
	return true;
}

char *alike_get(const void *all, size_t size, size_t n, struct err *e)
{
	const size_t first = strnlen(all, size);
	struct reader r = {(const unsigned char *)all + first, (const unsigned char *)all + size};
	char *text = xstrndup(all, first);

	if (!n || (find_text(&r, n) && put_over(&r, text, first)))
		return text;
	(void)err_set(e, EUCLEAN, "text %zu of those that are alike cannot be read", n);
	free(text);
	return NULL;
}
