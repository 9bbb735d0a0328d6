/* image/wire.c - what the processes of a pull say to each other
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fs.h"

int report_send(int sock, const struct report *r)
{
	return fs_send(sock, r, sizeof(*r), NULL, 0);
}

int report_failure(int sock, uint32_t layer, const struct err *e)
{
	struct report r = {
		.kind = REPORT_FAILED,
		.layer = layer,
		.code = (uint32_t)e->code,
	};

	memcpy(r.text, e->msg, sizeof(r.text));
	return report_send(sock, &r);
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static bool is_report(const struct report *r)
{
	return r->kind >= REPORT_RESOLVED && r->kind <= REPORT_FAILED &&
	       (r->layer < IMAGE_LAYERS_MAX || r->layer == REPORT_NO_LAYER) &&
	       r->layer_count <= IMAGE_LAYERS_MAX && r->phase <= IMAGE_LAYER_EXISTS &&
	       r->code < 4096 && ends(r->digest, sizeof(r->digest)) &&
	       (!r->digest[0] || digest_valid(r->digest)) && ends(r->text, sizeof(r->text)) &&
	       (r->kind != REPORT_FAILED || r->code > 0) &&
	       ((r->kind != REPORT_RESOLVED && r->kind != REPORT_LISTED &&
		 r->kind != REPORT_UNPACKED && r->kind != REPORT_WANT && r->kind != REPORT_GOT) ||
		r->digest[0]);
}

bool origin_is_valid(const struct origin *o)
{
	return ends(o->digest, sizeof(o->digest)) && digest_valid(o->digest) &&
	       ends(o->peer.address, sizeof(o->peer.address)) &&
	       ends(o->peer.key, sizeof(o->peer.key)) && ends(o->peer.name, sizeof(o->peer.name));
}

int report_recv(int sock, struct report *ret)
{
	struct report r;
	size_t fd_count;
	ssize_t n = fs_recv(sock, &r, sizeof(r), NULL, 0, &fd_count, 0);

	if (n == 0 || n == -ECONNRESET)
		return REPORT_CLOSED;
	if (n == -EAGAIN)
		return REPORT_AGAIN;
	if (n < 0)
		return (int)n;
	if (n != sizeof(r) || !is_report(&r))
		return -EBADMSG;
	clean_text(r.text);
	*ret = r;
	return 0;
}

/* How many bytes of 's' are one printable character; 0: none is. RFC 3629. */
static size_t character_size(const unsigned char *s)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

	for (size_t size = 1; size <= 4; size++) {
		uint32_t c;

		if ((s[0] & forms[size - 1].mask) != forms[size - 1].lead)
			continue;
		c = s[0] & (unsigned char)~forms[size - 1].mask;
		for (size_t i = 1; i < size; i++) {
			if ((s[i] & 0xc0) != 0x80) /* the NUL, too */
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		return c < forms[size - 1].least || c < 0x20 || (c >= 0x7f && c < 0xa0) ||
				       (c >= 0xd800 && c < 0xe000) || c > 0x10ffff
			       ? 0
			       : size;
	}
	return 0;
}

void clean_text(char *text)
{
	while (*text) {
		size_t size = character_size((unsigned char *)text);

		if (size == 0)
			*text++ = '?';
		else
			text += size;
	}
}
