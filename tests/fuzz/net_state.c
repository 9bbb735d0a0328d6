/* tests/fuzz/net_state.c - files of the state directory
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is read must come back as the same when it is written and read again.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "net/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_endpoint(const char *text, size_t size)
{
	struct endpoint ep, again;
	struct err e;

	if (endpoint_decode(text, size, "x", &ep, &e) < 0)
		return;
	{
		auto_free char *written = endpoint_encode(&ep);

		assert(endpoint_decode(written, strlen(written), "x", &again, &e) == 0);
	}
	assert(again.address == ep.address && again.port_count == ep.port_count);
	assert(memcmp(again.ports, ep.ports, ep.port_count * sizeof(*ep.ports)) == 0);
	endpoint_done(&ep);
	endpoint_done(&again);
}

static void try_host(const char *text, size_t size)
{
	struct host_state h, again;
	struct err e;

	if (host_decode(text, size, &h, &e) < 0)
		return;
	{
		auto_free char *written = host_encode(&h);

		assert(host_decode(written, strlen(written), &again, &e) == 0);
	}
	assert(again.block.base == h.block.base &&
	       again.forwarding[0].quiet_count == h.forwarding[0].quiet_count);
	host_state_done(&h);
	host_state_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_endpoint((const char *)data, size);
	try_host((const char *)data, size);
	return 0;
}
