/* net/boxes.h - rules that overlap, cut into boxes that do not
 * SPDX-License-Identifier: Apache-2.0
 *
 * A rule lets pass a span of protocols, one of ports, and the addresses of a
 * prefix.  Together rules let pass what any of them does; boxes_cut() says the
 * same by boxes of which no two have a packet in common.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"

struct span {
	uint32_t first, last;
};

struct box {
	struct span protocol, port;
	struct ip_prefix prefix; /* all of one family */
};

struct boxes {
	struct box *items;
	size_t count, capacity;
};

#define auto_boxes __attribute__((cleanup(boxes_done)))
void boxes_done(struct boxes *b);
void boxes_add(struct boxes *b, const struct box *box);
/* Call on_box() for each box that comes out, in order. */
void boxes_cut(const struct boxes *b, void (*on_box)(const struct box *box, void *arg), void *arg);
