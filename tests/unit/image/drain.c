/* tests/unit/image/drain.c - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/drain.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/auto.h"
#include "image/image.h"
#include "image/reason.h"
#include "tests/unit/unit.h"

#define MUCH (1ULL << 30)

static atomic_int syncs, fail_at; /* the sync that fails, from 1 on; 0: none */

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	assert_int_equal(fd, 7);
	if (++syncs != fail_at)
		return 0;
	errno = ENOSPC;
	return -1;
}

static struct drain *begin(int failing)
{
	struct drain *d = NULL;
	struct err e = {0};

	syncs = 0;
	fail_at = failing;
	assert_int_equal(drain_new(7, &d, &e), 0);
	return d;
}

static void wait_for_syncs(int count)
{
	while (syncs < count)
		(void)usleep(100);
}

static void what_is_little_is_synced_at_the_end_alone(void **state)
{
	struct drain *d = begin(0);
	struct err e = {0};

	(void)state;
	drain_note(d, 1);
	assert_int_equal(drain_finish(d, &e), 0);
	assert_int_equal(syncs, 1);
	drain_free(d);
}

static void what_is_much_is_synced_before_the_end(void **state)
{
	struct drain *d = begin(0);
	struct err e = {0};

	(void)state;
	for (int i = 1; i <= 3; i++) {
		drain_note(d, (uint64_t)i * MUCH);
		wait_for_syncs(i);
	}
	drain_end(d);
	wait_for_syncs(4);
	assert_int_equal(drain_finish(d, &e), 0);
	assert_int_equal(syncs, 4);
	drain_free(d);
}

static void a_sync_that_failed_is_told_at_the_end(void **state)
{
	(void)state;
	for (int failing = 1; failing <= 3; failing++) {
		struct drain *d = begin(failing);
		struct err e = {0};

		for (int i = 1; i <= 2; i++) {
			drain_note(d, (uint64_t)i * MUCH);
			wait_for_syncs(i);
		}
		assert_true(drain_finish(d, &e) < 0);
		assert_int_equal(image_reason_of(&e), IMAGE_REASON_DISK_FULL);
		drain_free(d);
	}
}

static void nobody_need_wait_for_the_end(void **state)
{
	struct drain *d = begin(0);

	(void)state;
	drain_note(d, MUCH);
	drain_free(d);
	drain_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_little_is_synced_at_the_end_alone),
		cmocka_unit_test(what_is_much_is_synced_before_the_end),
		cmocka_unit_test(a_sync_that_failed_is_told_at_the_end),
		cmocka_unit_test(nobody_need_wait_for_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
