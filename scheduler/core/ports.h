/* scheduler/core/ports.h - a set of host ports
 * SPDX-License-Identifier: Apache-2.0
 *
 * A bitmap in pages that are there only where a port is: a host has few.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PORTS_PER_PAGE 2048

/* All zero bytes: an empty one. */
struct ports {
	uint64_t **pages; /* NULL: no port was ever in it */
};

void ports_done(struct ports *p);
bool ports_has(const struct ports *p, uint16_t port);
void ports_set(struct ports *p, uint16_t port, bool in);
/* The next one from 'port' on; -1: there is none. */
int ports_next(const struct ports *p, int port);
