/* tests/lint/macros.h - macros of libraries' headers, which cppcheck does not read
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#define json_array_foreach(array, i, value) \
	for ((i) = 0; (i) < json_array_size(array) && ((value) = json_array_get(array, i)); (i)++)
