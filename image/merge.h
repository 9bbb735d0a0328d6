/* image/merge.h - the tables of an image's layers become one outline
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/err.h"
#include "image/outline.h"
#include "image/table.h"

/*
 * Put a layer on top of what is there.  A directory that the layer only implies
 * keeps what lower layers say of it.  'devices' are the numbers that content of
 * the layer's files has in the whole image.
 */
int merge_layer(struct outline *image, struct table *layer, const uint16_t devices[TABLE_DEVICES],
		struct err *e);
