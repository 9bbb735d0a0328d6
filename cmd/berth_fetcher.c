/* cmd/berth_fetcher.c - talks to registries for berthd, in processes of few rights
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/image.h"

int main(int argc, char **argv)
{
	return image_fetcher_main(argc, argv);
}
