/* tests/unit/image/drain.c - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/auto.h"
#include "image/image.h"
#include "image/reason.h"
#include "tests/unit/unit.h"

#define PIECE (8 << 20) /* a step of the thread's */
#define MUCH  (256 << 20)
#define FD    777 /* nobody's: what is done to it is done here */

static atomic_int syncs, fail_at;        /* the sync that fails, from 1 on; 0: none */
static atomic_llong let_go_from, let_go; /* where the first begins, how much in all */
static size_t written;

int __wrap_fdatasync(int which);
int __wrap_fdatasync(int which)
{
	assert_int_equal(which, FD);
	if (++syncs != fail_at)
		return 0;
	errno = ENOSPC;
	return -1;
}

ssize_t __wrap_write(int which, const void *data, size_t size);
ssize_t __wrap_write(int which, const void *data, size_t size)
{
	(void)data;
	assert_int_equal(which, FD);
	size = size < PIECE / 2 ? size : PIECE / 2;
	written += size;
	return (ssize_t)size;
}

int __wrap_posix_fadvise64(int which, off_t offset, off_t size, int advice);
int __wrap_posix_fadvise64(int which, off_t offset, off_t size, int advice)
{
	assert_int_equal(which, FD);
	assert_int_equal(advice, POSIX_FADV_DONTNEED);
	if (let_go == 0)
		let_go_from = offset;
	assert_int_equal(offset, let_go_from + let_go);
	let_go += size;
	return 0;
}

static struct drain *begin(int failing)
{
	struct drain *d = NULL;
	struct err e = {0};

	syncs = 0;
	let_go = let_go_from = 0;
	fail_at = failing;
	written = 0;
	assert_int_equal(drain_new(FD, &d, &e), 0);
	return d;
}

static void put(struct drain *d, size_t size)
{
	static char bytes[PIECE];
	struct err e = {0};

	for (size_t done = 0; done < size; done += PIECE)
		assert_int_equal(drain_write(d, bytes, size < PIECE ? size : PIECE, &e), 0);
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
	put(d, 1);
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
		put(d, MUCH);
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
			put(d, MUCH);
			wait_for_syncs(i);
		}
		assert_true(drain_finish(d, &e) < 0);
		assert_int_equal(image_reason_of(&e), IMAGE_REASON_DISK_FULL);
		drain_free(d);
	}
}

static void a_beginning_stays_in_memory_and_the_rest_does_not(void **state)
{
	struct drain *d = begin(0);
	struct err e = {0};

	(void)state;
	put(d, DRAIN_CACHED);
	while (let_go == 0)
		put(d, PIECE);
	assert_int_equal(drain_finish(d, &e), 0);
	assert_int_equal(let_go_from, DRAIN_CACHED);
	assert_true(DRAIN_CACHED + let_go <= (long long)written);
	drain_free(d);

	d = begin(0);
	put(d, DRAIN_CACHED);
	assert_int_equal(drain_finish(d, &e), 0);
	assert_int_equal(let_go, 0);
	drain_free(d);
}

static void nobody_need_wait_for_the_end(void **state)
{
	struct drain *d = begin(0);

	(void)state;
	put(d, MUCH);
	drain_free(d);
	drain_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_little_is_synced_at_the_end_alone),
		cmocka_unit_test(what_is_much_is_synced_before_the_end),
		cmocka_unit_test(a_sync_that_failed_is_told_at_the_end),
		cmocka_unit_test(a_beginning_stays_in_memory_and_the_rest_does_not),
		cmocka_unit_test(nobody_need_wait_for_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
