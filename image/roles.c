/* image/roles.c - main() of berth-worker
 * SPDX-License-Identifier: Apache-2.0
 *
 * In a file of its own: what refers to it brings all that the roles are linked with.
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "image/image.h"
#include "image/worker.h"

static const struct {
	const char *role;
	int (*main)(int argc, char **argv);
} roles[] = {
	{"pull", puller_main},         {"pull-unpacked", puller_main},
	{"fetch", fetcher_main},       {"unpack", unpacker_main},
	{"list", lister_main},         {"index", indexer_main},
	{"fsck", fsck_main},           {"user", reader_main},
	{"read-archive", loader_main}, {"load", load_main},
	{"save", save_main},           {"push", pusher_main},
	{"serve", server_main},        {"inflate", inflater_main},
	{"nursery", nursery_main},
};

int image_worker_main(int argc, char **argv)
{
	struct err ignored;

	/* berthd's may be low, for the memory killer to pass it over; a worker can be lost. */
	(void)fs_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0", &ignored);
	for (size_t i = 0; argc > 1 && i < ARRAY_COUNT(roles); i++)
		if (str_eq(argv[1], roles[i].role))
			return roles[i].main(argc, argv);
	(void)fputs("berth-worker is started by berthd, with descriptors that nobody else has\n",
		    stderr);
	return 2;
}
