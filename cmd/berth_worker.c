/* cmd/berth_worker.c - pulls images for berthd, in processes of few rights
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/image.h"

int main(int argc, char **argv)
{
	return image_worker_main(argc, argv);
}
