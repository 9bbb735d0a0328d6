/* scheduler/core/ports.c - a set of host ports
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/ports.h"

#include <stdlib.h>

#include "base/mem.h"

#define PORTS (UINT16_MAX + 1)
#define PAGES (PORTS / PORTS_PER_PAGE)

void ports_done(struct ports *p)
{
	for (int i = 0; p->pages && i < PAGES; i++)
		free(p->pages[i]);
	free(p->pages);
	p->pages = NULL;
}

static const uint64_t *page_of(const struct ports *p, int port)
{
	return p->pages ? p->pages[port / PORTS_PER_PAGE] : NULL;
}

bool ports_has(const struct ports *p, uint16_t port)
{
	const uint64_t *page = page_of(p, port);

	return page && page[port % PORTS_PER_PAGE / 64] >> (port % 64) & 1;
}

void ports_set(struct ports *p, uint16_t port, bool in)
{
	const uint64_t bit = 1ULL << (port % 64);
	uint64_t **page;

	if (!p->pages)
		p->pages = xcalloc(PAGES, sizeof(*p->pages));
	page = &p->pages[port / PORTS_PER_PAGE];
	if (!*page)
		*page = xcalloc(PORTS_PER_PAGE / 64, sizeof(**page));
	if (in)
		(*page)[port % PORTS_PER_PAGE / 64] |= bit;
	else
		(*page)[port % PORTS_PER_PAGE / 64] &= ~bit;
}

int ports_next(const struct ports *p, int port)
{
	while (port < PORTS) {
		const uint64_t *page = page_of(p, port);
		uint64_t word;

		if (!page) {
			port = (port / PORTS_PER_PAGE + 1) * PORTS_PER_PAGE;
			continue;
		}
		word = page[port % PORTS_PER_PAGE / 64] >> (port % 64);
		if (word)
			return port + __builtin_ctzll(word);
		port = (port / 64 + 1) * 64;
	}
	return -1;
}
