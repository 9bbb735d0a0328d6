/* tests/fuzz/runtime_passwd.c - /etc/passwd of an image
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "runtime/passwd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size), home[32];

	(void)passwd_home(text, 0, home, sizeof(home));
	(void)passwd_home(text, 1000, home, sizeof(home));
	free(text);
	return 0;
}
