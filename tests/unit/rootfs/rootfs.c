/* tests/unit/rootfs/rootfs.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * What can be seen without mounting; tests/e2e/33-rootfs.py mounts.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fs.h"
#include "rootfs/rootfs.h"

static char dir_path[] = "/tmp/berth-unit-XXXXXX";
static char scratch[64], layer[64];

static int make_dir(void **state)
{
	struct err e = {0};

	(void)state;
	memcpy(dir_path + sizeof(dir_path) - 7, "XXXXXX", 6);
	if (!mkdtemp(dir_path))
		return -1;
	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", dir_path);
	(void)snprintf(layer, sizeof(layer), "%s/layer", dir_path);
	return fs_mkdirs(AT_FDCWD, layer, 0755, &e);
}

static int drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	return fs_remove_tree(AT_FDCWD, dir_path, &e);
}

static void a_scratch_is_for_its_owner_only(void **state)
{
	struct err e = {0};
	struct stat st;

	(void)state;
	assert_ok(rootfs_scratch_create(scratch, &e));
	assert_int_equal(stat(scratch, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_fails(rootfs_scratch_create(scratch, &e), EEXIST);
	assert_ok(rootfs_scratch_remove(scratch, &e));
	assert_int_equal(stat(scratch, &st), -1);
	assert_ok(rootfs_scratch_remove(scratch, &e));
}

static void a_scratch_needs_a_parent_and_a_whole_path(void **state)
{
	struct err e = {0};

	(void)state;
	assert_fails(rootfs_scratch_create("scratch", &e), EINVAL);
	assert_fails(rootfs_scratch_create("/nonexistent/scratch", &e), ENOENT);
}

static void bad_specs_are_refused(void **state)
{
	char *layers[ROOTFS_LAYERS_MAX + 1];
	char missing[] = "/nonexistent/layer";
	struct rootfs_spec spec = {.layers = layers, .scratch = scratch};
	struct err e = {0};
	int fd = -1;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(layers); i++)
		layers[i] = layer;
	assert_fails(rootfs_mount(&spec, &fd, &e), EINVAL);
	assert_says("0 layers");
	spec.layer_count = ROOTFS_LAYERS_MAX + 1;
	assert_fails(rootfs_mount(&spec, &fd, &e), EINVAL);
	assert_says("129 layers: 1 to 128");
	spec.layer_count = 1;
	spec.scratch = "scratch";
	assert_fails(rootfs_mount(&spec, &fd, &e), EINVAL);
	spec.scratch = scratch;
	assert_fails(rootfs_mount(&spec, &fd, &e), ENOENT);
	assert_says("scratch");
	layers[0] = missing;
	assert_fails(rootfs_mount(&spec, &fd, &e), ENOENT);
	assert_says("open layer /nonexistent/layer");
	assert_int_equal(fd, -1);
}

static void a_failed_mount_leaves_no_descriptor(void **state)
{
	char missing[] = "/nonexistent/layer";
	char *layers[] = {missing, layer, layer};
	const struct rootfs_spec spec = {.layers = layers, .layer_count = 3, .scratch = scratch};
	int before = dup(0), after, fd = -1;
	struct err e = {0};

	(void)state;
	(void)close(before);
	assert_fails(rootfs_mount(&spec, &fd, &e), ENOENT);
	after = dup(0);
	(void)close(after);
	assert_int_equal(before, after);
}

/* What a crash of the host leaves: overlay's mark, and the boot id of then. */
static void a_volatile_scratch_of_another_boot_is_refused(void **state)
{
	char *layers[] = {layer};
	struct rootfs_spec spec = {
		.layers = layers, .layer_count = 1, .scratch = scratch, .volatile_upper = true};
	char mark[100], boot[80];
	struct err e = {0};
	int fd = -1;

	(void)state;
	assert_ok(rootfs_scratch_create(scratch, &e));
	(void)snprintf(mark, sizeof(mark), "%s/work/work/incompat/volatile", scratch);
	(void)snprintf(boot, sizeof(boot), "%s/boot", scratch);
	assert_ok(fs_mkdirs(AT_FDCWD, mark, 0700, &e));
	assert_fails(rootfs_mount(&spec, &fd, &e), ESTALE);
	assert_says("not synced before the host restarted");
	assert_ok(fs_replace(AT_FDCWD, boot, "00000000-0000-0000-0000-000000000000\n", 37, 0600,
			     FS_QUICK, &e));
	assert_fails(rootfs_mount(&spec, &fd, &e), ESTALE);
	spec.volatile_upper = false;
	assert_fails(rootfs_mount(&spec, &fd, &e), ESTALE);
	assert_says("mounted volatile before");
}

int main(void)
{
#define IN_A_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, drop_dir)
	const struct CMUnitTest tests[] = {
		IN_A_DIR(a_scratch_is_for_its_owner_only),
		IN_A_DIR(a_scratch_needs_a_parent_and_a_whole_path),
		IN_A_DIR(bad_specs_are_refused),
		IN_A_DIR(a_failed_mount_leaves_no_descriptor),
		IN_A_DIR(a_volatile_scratch_of_another_boot_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
