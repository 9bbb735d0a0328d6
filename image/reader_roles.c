/* image/reader_roles.c - main() of berth-reader
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/roles.h"

#include "base/auto.h"
#include "image/image.h"
#include "image/worker.h"

int image_reader_main(int argc, char **argv)
{
	static const struct role roles[] = {
		{"nursery", nursery_main},
		{"read-archive", loader_main},
		{"inflate", inflater_main},
		{"save", save_main},
	};

	return roles_run(roles, ARRAY_COUNT(roles), argc, argv);
}
