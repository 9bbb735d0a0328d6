/* image/probe.c - the smallest index, for trying whether the kernel takes any
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>
#include <sys/stat.h>

#include "image/erofs.h"
#include "image/image.h"

#define NAME "probe"
#define SIZE 512

int image_write_probe(int fd, struct err *e)
{
	struct outline *o = outline_new();
	struct outline_node *n = outline_add(o, outline_root(o), NAME, strlen(NAME));
	const uint64_t device_bytes = SIZE;
	int r;

	n->inode = outline_inode(o);
	n->inode->mode = S_IFREG | 0644;
	n->inode->size = SIZE;
	r = erofs_write(o, &device_bytes, 1, fd, e);
	outline_free(o);
	return r;
}
