/* image/fetcher_roles.c - main() of berth-fetcher
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/roles.h"

#include "base/auto.h"
#include "image/image.h"
#include "image/worker.h"

int image_fetcher_main(int argc, char **argv)
{
	static const struct role roles[] = {
		{"fetch", fetcher_main},
		{"push", pusher_main},
	};

	return roles_run(roles, ARRAY_COUNT(roles), argc, argv);
}
