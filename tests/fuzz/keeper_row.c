/* tests/fuzz/keeper_row.c - records of containers, as another keeper left them
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "keeper/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The descriptors are only numbers here and must not be closed. */
static void forget_descriptors(struct row *row)
{
	row->pidfd = row->rootfs_fd = row->netns_fd = row->output[0].fd = row->output[1].fd = -1;
	row->held_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct row *row, *again;
	struct err e;

	if (row_decode((const char *)data, size, &row, &e) < 0)
		return 0;
	{
		auto_free char *text = row_encode(row, true);

		assert(row_decode(text, strlen(text), &again, &e) == 0);
	}
	assert(strcmp(again->id, row->id) == 0 && again->pid == row->pid &&
	       again->phase == row->phase && again->held_count == row->held_count &&
	       again->netns_fd == row->netns_fd && again->exit.code == row->exit.code);
	forget_descriptors(row);
	forget_descriptors(again);
	row_free(row);
	row_free(again);
	return 0;
}
