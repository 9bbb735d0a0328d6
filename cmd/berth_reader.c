/* cmd/berth_reader.c - reads layers and archives for berthd, in processes of few rights
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/image.h"

int main(int argc, char **argv)
{
	return image_reader_main(argc, argv);
}
