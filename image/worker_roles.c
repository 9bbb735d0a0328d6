/* image/worker_roles.c - main() of berth-worker
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/roles.h"

#include "base/auto.h"
#include "image/image.h"
#include "image/worker.h"

int image_worker_main(int argc, char **argv)
{
	static const struct role roles[] = {
		{"pull", puller_main}, {"pull-unpacked", puller_main},
		{"fsck", fsck_main},   {"user", reader_main},
		{"load", load_main},   {"serve", server_main},
	};

	return roles_run(roles, ARRAY_COUNT(roles), argc, argv);
}
