/* runtime/rootless.h - running without being the host's root
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

/* Are we another user, or root of a user namespace only? */
bool rootless_is(void);
