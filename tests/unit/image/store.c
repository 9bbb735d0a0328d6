/* tests/unit/image/store.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "image/handover.h"
#include "image/store.h"

static char dir_path[] = "/tmp/berth-unit-XXXXXX";
static struct store store;

static int make_store(void **state)
{
	struct err e = {0};

	(void)state;
	memcpy(dir_path + sizeof(dir_path) - 7, "XXXXXX", 6);
	return mkdtemp(dir_path) ? store_init(&store, dir_path, IMAGE_UNPACKED, &e) : -1;
}

static int drop_store(void **state)
{
	struct err e = {0};

	(void)state;
	store_done(&store);
	return fs_remove_tree(AT_FDCWD, dir_path, &e);
}

/* "sha256:" and the digit 64 times. */
static const char *digest(char digit)
{
	static char texts[128][DIGEST_SIZE];
	char *text = texts[(unsigned char)digit];

	memcpy(text, "sha256:", 7);
	memset(text + 7, digit, 64);
	return text;
}

static void put_layer(char diff_id, const char *bytes)
{
	char ingest[INGEST_SIZE];
	struct ingest i;
	struct err e = {0};

	assert_ok(store_ingest(&store, NULL, ingest, &i, &e));
	if (i.tree_fd >= 0)
		assert_ok(fs_replace(i.tree_fd, "file", &diff_id, 1, 0644, FS_QUICK, &e));
	else
		assert_int_equal(write_all(i.tar_fd, bytes, strlen(bytes)), 0);
	assert_int_equal(write_all(i.sums_fd, bytes, strlen(bytes)), 0);
	ingest_close(&i);
	assert_ok(store_put_layer(&store, ingest, digest(diff_id), &e));
}

/* Each character of 'layers' is a layer. */
static void write_record(char image, char manifest, const char *layers, struct buf *text)
{
	buf_printf(text,
		   "berth image 1\ndigest %s\nmanifest %s\nos linux\narchitecture amd64\n"
		   "env A=b\n",
		   digest(image), digest(manifest));
	for (; *layers; layers++)
		buf_printf(text, "layer %s %s 5\n", digest(*layers), digest('f'));
}

static void put_image(const char *reference, char image, char manifest, const char *layers,
		      int64_t now_ms)
{
	auto_record struct record *r = NULL;
	auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);
	struct reference name;
	struct err e = {0};

	write_record(image, manifest, layers, &text);
	assert_ok(record_read(text.data, text.size, &r, &e));
	assert_ok(reference_parse(reference, &name, &e));
	assert_ok(store_put_image(&store, &name, r, -1, now_ms, &e));
}

static int find(const char *reference, struct image **ret)
{
	struct reference name;
	struct err e = {0};
	int r;

	assert_ok(reference_parse(reference, &name, &e));
	r = store_find(&store, &name, ret, &e);
	if (r < 0)
		fail_msg("find %s: %s", reference, e.msg);
	return r;
}

static bool is_held(const char *reference)
{
	struct image *image = NULL;
	int r = find(reference, &image);

	image_free(image);
	return r == 0;
}

static int remove_unused(const char *reference)
{
	struct err e = {0};

	return store_remove(&store, reference, NULL, 0, &e);
}

static void a_store_is_for_its_owner_only(void **state)
{
	static const char *const parts[] = {".",       "names",  "images", "tars",
					    "indexes", "layers", "ingest"};
	struct stat st;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
		assert_int_equal(fstatat(store.dir_fd, parts[i], &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
	}
}

static void a_store_that_was_open_to_others_is_closed(void **state)
{
	struct store again;
	struct stat st;
	struct err e = {0};

	(void)state;
	assert_int_equal(chmod(dir_path, 0755), 0);
	assert_ok(store_init(&again, dir_path, IMAGE_UNPACKED, &e));
	store_done(&again);
	assert_int_equal(stat(dir_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void an_image_is_found_by_its_name(void **state)
{
	struct image *image = NULL;

	(void)state;
	put_layer('1', "100");
	put_layer('2', "20");
	put_image("busybox", 'a', 'b', "12", 77);

	assert_int_equal(find("docker.io/library/busybox:latest", &image), 0);
	assert_string_equal(image->reference, "docker.io/library/busybox:latest");
	assert_string_equal(image->digest, digest('a'));
	assert_string_equal(image->manifest, digest('b'));
	assert_int_equal(image->pulled_ms, 77);
	assert_int_equal(image->size, 120);
	assert_string_equal(image->env.items[0], "A=b");
	assert_int_equal(image->layers.count, 2);
	assert_true(str_starts(image->layers.items[0], dir_path));
	assert_true(str_ends(image->layers.items[0], "/fs"));
	assert_int_equal(access(image->layers.items[0], F_OK), 0);
	assert_null(image->layers.items[2]);
	assert_null(image->index);
	image_free(image);

	assert_false(is_held("busybox:1.0"));
	assert_false(is_held("example.com/busybox"));
}

static void an_image_is_found_by_digest(void **state)
{
	auto_free char *by_digest = xasprintf("x.example/y@%s", digest('a'));
	auto_free char *by_manifest = xasprintf("x.example/y@%s", digest('b'));
	auto_free char *by_layer = xasprintf("x.example/y@%s", digest('1'));
	struct image *image = NULL;

	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 77);

	assert_int_equal(find(by_digest, &image), 0);
	assert_string_equal(image->reference, by_digest);
	image_free(image);
	assert_true(is_held(by_manifest));
	assert_false(is_held(by_layer));
}

static void an_image_that_lost_a_layer_is_absent(void **state)
{
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_layer('2', "100");
	put_image("busybox", 'a', 'b', "12", 77);
	assert_true(is_held("busybox"));
	assert_ok(fs_remove_tree(store.layers_fd, digest_hex(digest('2')), &e));
	assert_false(is_held("busybox"));
}

static void a_layer_that_repeats_is_listed_once_where_it_is_highest(void **state)
{
	struct image *image = NULL;

	(void)state;
	put_layer('1', "100");
	put_layer('2', "20");
	put_image("busybox", 'a', 'b', "1211", 77);
	assert_int_equal(find("busybox", &image), 0);
	assert_int_equal(image->layers.count, 2);
	assert_non_null(strstr(image->layers.items[0], digest_hex(digest('2'))));
	assert_non_null(strstr(image->layers.items[1], digest_hex(digest('1'))));
	assert_int_equal(image->size, 120);
	image_free(image);
}

static void a_name_moves_and_the_old_image_stays_nameless(void **state)
{
	struct image_list list = {NULL, 0};
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_layer('2', "20");
	put_image("busybox", 'a', 'b', "1", 10);
	put_image("alpine", 'a', 'b', "1", 30);
	put_image("alpine", 'c', 'd', "2", 20);
	put_image("busybox", 'c', 'd', "2", 40);

	assert_ok(store_list(&store, &list, &e));
	assert_int_equal(list.count, 3);
	assert_string_equal(list.items[0]->reference, "docker.io/library/busybox:latest");
	assert_string_equal(list.items[0]->digest, digest('c'));
	assert_string_equal(list.items[1]->reference, "docker.io/library/alpine:latest");
	assert_null(list.items[2]->reference);
	assert_string_equal(list.items[2]->digest, digest('a'));
	image_list_done(&list);
}

static void an_image_goes_with_its_last_name(void **state)
{
	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 10);
	put_image("alpine", 'a', 'b', "1", 10);

	assert_int_equal(remove_unused("absent"), IMAGE_ABSENT);
	assert_int_equal(remove_unused("busybox"), 0);
	assert_int_equal(remove_unused("busybox"), IMAGE_ABSENT);
	assert_false(is_held("busybox"));
	assert_true(is_held("alpine"));
	assert_int_equal(remove_unused("alpine"), 0);
	assert_int_equal(remove_unused(digest('a')), IMAGE_ABSENT);
}

static void a_digest_removes_the_image_and_all_its_names(void **state)
{
	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 10);
	put_image("alpine", 'a', 'b', "1", 10);
	put_image("debian", 'c', 'd', "1", 10);

	assert_int_equal(remove_unused(digest('a')), 0);
	assert_false(is_held("busybox"));
	assert_false(is_held("alpine"));
	assert_true(is_held("debian"));
	assert_int_equal(remove_unused(digest('d')), 0); /* its manifest's will do, too */
	assert_false(is_held("debian"));
}

static void what_is_in_use_stays(void **state)
{
	const char *const in_use[] = {digest('c'), digest('a')};
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 10);
	put_image("alpine", 'a', 'b', "1", 10);

	assert_int_equal(store_remove(&store, digest('a'), in_use, 2, &e), IMAGE_IN_USE);
	assert_ok(store_remove(&store, "alpine", in_use, 2, &e));
	assert_int_equal(store_remove(&store, "busybox", in_use, 2, &e), IMAGE_IN_USE);
	assert_true(is_held("busybox"));
	assert_ok(store_remove(&store, "busybox", in_use, 1, &e));
}

static void the_sweep_takes_what_no_image_needs(void **state)
{
	struct js_strings names;
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_layer('2', "100");
	put_layer('3', "100");
	put_image("busybox", 'a', 'b', "12", 10);
	put_image("busybox", 'c', 'd', "2", 10);
	assert_ok(fs_mkdirs(store.layers_fd, "stray", 0700, &e));
	assert_ok(fs_replace(store.names_fd, "x.1.tmp", "", 0, 0600, FS_QUICK, &e));

	assert_ok(store_sweep(&store, &e));
	assert_true(store_has_layer(&store, digest('1'))); /* of the nameless one */
	assert_true(store_has_layer(&store, digest('2')));
	assert_false(store_has_layer(&store, digest('3')));
	assert_int_equal(faccessat(store.layers_fd, "stray", F_OK, 0), -1);
	assert_int_equal(faccessat(store.names_fd, "x.1.tmp", F_OK, 0), -1);

	assert_true(store_has_ingest(&store));
	assert_ok(store_list_ingest(&store, &names, &e));
	assert_int_equal(names.count, 2);
	for (size_t i = 0; i < names.count; i++)
		assert_ok(store_drop_ingest(&store, names.items[i], &e));
	store_names_free(&names);
	assert_false(store_has_ingest(&store));

	assert_int_equal(remove_unused(digest('a')), 0);
	assert_ok(store_sweep(&store, &e));
	assert_false(store_has_layer(&store, digest('1')));
	assert_true(is_held("busybox"));
}

static void a_damaged_record_stops_the_sweep(void **state)
{
	auto_free char *key = xasprintf("%s-%s", digest_hex(digest('a')), digest_hex(digest('b')));
	struct image *image = NULL;
	struct reference name;
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 10);
	assert_ok(fs_replace(store.images_fd, key, "berth", 5, 0600, FS_QUICK, &e));

	assert_fails(store_sweep(&store, &e), EINVAL);
	assert_true(store_has_layer(&store, digest('1')));
	assert_ok(reference_parse("busybox", &name, &e));
	assert_fails(store_find(&store, &name, &image, &e), EINVAL);
	assert_says("images/aaaaaaaaaaaaaaaa");
}

static void a_damaged_name_is_an_error_that_names_it(void **state)
{
	struct image *image = NULL;
	auto_closedir DIR *dir = NULL;
	struct reference name;
	struct dirent *d;
	struct err e = {0};

	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 10);
	dir = fdopendir(openat(store.names_fd, ".", O_RDONLY | O_CLOEXEC));
	assert_non_null(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			assert_ok(
				fs_replace(store.names_fd, d->d_name, "x", 1, 0600, FS_QUICK, &e));
	assert_ok(reference_parse("busybox", &name, &e));
	assert_fails(store_find(&store, &name, &image, &e), EUCLEAN);
	assert_says("names/");
}

static void put_index(const char *layers)
{
	auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);
	auto_record struct record *r = NULL;
	char ingest[INGEST_SIZE];
	struct err e = {0};
	int fd;

	write_record('a', 'b', layers, &text);
	assert_ok(record_read(text.data, text.size, &r, &e));
	assert_false(store_has_index(&store, r));
	assert_ok(store_ingest_index(&store, ingest, &fd, &e));
	(void)close(fd);
	assert_ok(store_put_index(&store, ingest, r, &e));
	assert_true(store_has_index(&store, r));
}

static void an_indexed_image_names_the_index_and_what_it_points_into(void **state)
{
	struct image *image;

	(void)state;
	store.form = IMAGE_INDEXED;
	put_layer('1', "100 7");
	put_layer('2', "20 3000000000");
	put_image("busybox", 'a', 'b', "121", 77);
	assert_false(is_held("busybox"));
	put_index("121");

	assert_int_equal(find("busybox", &image), 0);
	assert_true(str_starts(image->index, dir_path));
	assert_int_equal(access(image->index, F_OK), 0);
	assert_int_equal(image->layers.count, 2);
	assert_non_null(strstr(image->layers.items[0], digest_hex(digest('2'))));
	assert_true(str_ends(image->layers.items[0], "/tar"));
	assert_int_equal(access(image->layers.items[1], F_OK), 0);
	assert_int_equal(image->size, 120);
	assert_int_equal(image->greatest_id, 3000000000);
	image_free(image);

	store.form = IMAGE_UNPACKED;
	assert_false(is_held("busybox"));
}

static void unpacked_layers_do_until_the_image_is_pulled_again(void **state)
{
	struct image *image;

	(void)state;
	put_layer('1', "100");
	put_image("busybox", 'a', 'b', "1", 77);
	store.form = IMAGE_INDEXED;
	assert_int_equal(find("busybox", &image), 0);
	assert_null(image->index);
	image_free(image);
	assert_false(store_has_layer(&store, digest('1')));
	put_layer('1', "100");
	put_index("1");
	assert_int_equal(find("busybox", &image), 0);
	assert_non_null(image->index);
	image_free(image);
}

static void a_sweep_takes_indexes_that_no_image_needs(void **state)
{
	struct err e = {0};

	(void)state;
	store.form = IMAGE_INDEXED;
	put_layer('1', "100");
	put_layer('2', "100");
	put_image("busybox", 'a', 'b', "1", 1);
	put_index("1");
	put_index("12");
	assert_ok(store_sweep(&store, &e));
	assert_true(is_held("busybox"));
	assert_false(store_has_layer(&store, digest('2')));
	assert_true(store_has_ingest(&store));
	put_index("12"); /* it was gone */
}

static void a_layer_put_twice_is_there_once(void **state)
{
	(void)state;
	put_layer('1', "100");
	put_layer('1', "100");
	assert_true(store_has_layer(&store, digest('1')));
	assert_false(store_has_ingest(&store));
}

static void a_relative_path_is_refused(void **state)
{
	struct store s;
	struct err e = {0};

	(void)state;
	assert_fails(store_init(&s, "images", IMAGE_INDEXED, &e), EINVAL);
}

static void what_is_no_layer_gives_way_to_one(void **state)
{
	struct err e = {0};

	(void)state;
	for (int form = IMAGE_INDEXED; form <= IMAGE_UNPACKED; form++) {
		store.form = (enum image_form)form;
		put_layer('1', "not a number");
		assert_false(store_has_layer(&store, digest('1')));
		put_layer('1', "100");
		assert_true(store_has_layer(&store, digest('1')));
	}
	assert_ok(store_sweep(&store, &e));
}

/* ---- names for people ---- */

static void an_image_is_found_by_the_beginning_of_its_digests(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *which;
	} rows[] = {
		{"app", 0, "docker.io/library/app:latest"},
		{"aaaa", 0, NULL},
		{"sha256:bbbb", 0, NULL}, /* of the manifest */
		{"aaa", IMAGE_ABSENT, NULL},
		{"9999", IMAGE_ABSENT, NULL},
		{"Not a name", -EINVAL, NULL},
	};

	(void)state;
	put_image("app", 'a', 'b', "1", 1);
	put_layer('1', "1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char which[REFERENCE_SIZE];
		struct err e = {0};
		int r = store_resolve(&store, rows[i].text, which, &e);

		if (r != rows[i].r)
			fail_msg("%s: %d %s", rows[i].text, r, e.msg);
		if (r == 0)
			assert_string_equal(which, rows[i].which ? rows[i].which : digest('a'));
	}
}

static void two_images_that_begin_alike_are_refused(void **state)
{
	char which[REFERENCE_SIZE];
	struct err e = {0};

	(void)state;
	put_image("one", 'a', 'b', "1", 1);
	put_image("two", 'c', 'a', "1", 1);
	assert_fails(store_resolve(&store, "aaaa", which, &e), EEXIST);
}

static void a_name_more_keeps_an_image_when_the_first_goes(void **state)
{
	auto_free char *pinned = NULL;
	struct reference name;
	struct err e = {0};

	(void)state;
	put_layer('1', "1");
	put_image("one", 'a', 'b', "1", 1);
	assert_ok(reference_parse("two:2", &name, &e));
	assert_ok(store_tag(&store, "one", &name, 2, &e));
	assert_ok(store_remove(&store, "one", NULL, 0, &e));
	assert_false(is_held("one"));
	assert_true(is_held("two:2"));
	assert_int_equal(store_tag(&store, "one", &name, 3, &e), IMAGE_ABSENT);
	pinned = xasprintf("x@%s", digest('d'));
	assert_ok(reference_parse(pinned, &name, &e));
	assert_fails(store_tag(&store, "two:2", &name, 3, &e), EINVAL);
}

static void a_name_tells_when_it_was_last_used(void **state)
{
	struct reference name;
	struct image *image;
	struct err e = {0};

	(void)state;
	put_layer('1', "1");
	put_image("app", 'a', 'b', "1", 1);
	assert_ok(reference_parse("app", &name, &e));
	assert_int_equal(find("app", &image), 0);
	assert_int_equal(image->used_ms, 0);
	image_free(image);
	store_touch(&store, &name);
	assert_int_equal(find("app", &image), 0);
	assert_true(image->used_ms > 0);
	image_free(image);
}

/* ---- what is kept beside ---- */

static void documents_are_what_they_were_or_damaged(void **state)
{
	static const char text[] = "{}[]";
	auto_record struct record *r = record_new();
	auto_free char *read = NULL;
	char a[DIGEST_SIZE], b[DIGEST_SIZE];
	auto_close int fd = memfd_create("documents", MFD_CLOEXEC);
	auto_closedir DIR *dir = NULL;
	struct fs_prepared prepared = FS_NOT_PREPARED;
	char key[IMAGE_KEY_SIZE];
	struct err e = {0};

	(void)state;
	digest_of(text, 2, a);
	digest_of(text + 2, 2, b);
	r->image.digest = r->image.manifest = arena_strdup(&r->image.arena, a);
	r->image.config = arena_strdup(&r->image.arena, b);
	r->document_count = 2;
	memcpy(r->documents[0].digest, a, DIGEST_SIZE);
	memcpy(r->documents[1].digest, b, DIGEST_SIZE);
	r->documents[0].size = r->documents[1].size = 2;
	assert_int_equal(store_read_documents(&store, r, &read, &e), IMAGE_ABSENT);
	assert_int_equal(write_all(fd, text, 3), 0);
	assert_int_equal(store_prepare_documents(&store, r, fd, &prepared, &e) < 0, true);
	assert_says("are others");
	assert_int_equal(write_all(fd, text + 3, 1), 0);
	assert_int_equal(store_read_documents(&store, r, &read, &e), IMAGE_ABSENT);
	assert_ok(store_prepare_documents(&store, r, fd, &prepared, &e));
	assert_int_equal(store_read_documents(&store, r, &read, &e), IMAGE_ABSENT);
	store_image_key(a, a, key);
	assert_ok(fs_put(store.documents_fd, key, &prepared, &e));
	assert_ok(store_read_documents(&store, r, &read, &e));
	assert_memory_equal(read, text, 4);
	assert_ok(store_open_list(store.documents_fd, &dir, &e));
	assert_ok(fs_replace(store.documents_fd, store_next(dir), "{}[[", 4, 0600, FS_QUICK, &e));
	free(take_ptr(read));
	assert_fails(store_read_documents(&store, r, &read, &e), EUCLEAN);
}

static void a_large_blob_is_gone_on_with(void **state)
{
	struct record_layer small = {.blob_size = STORE_PARTIAL_MIN - 1},
			    large = {.blob_size = STORE_PARTIAL_MIN};
	int write_fd = -1, read_fd = -1;
	uint64_t bytes = 7;
	struct err e = {0};

	(void)state;
	memcpy(large.blob, digest('e'), DIGEST_SIZE);
	memcpy(small.blob, digest('e'), DIGEST_SIZE);
	assert_int_equal(store_open_partial(&store, &small, &write_fd, &read_fd, &bytes, &e), 1);
	for (uint64_t expected = 0; expected < 6; expected += 3) {
		assert_ok(store_open_partial(&store, &large, &write_fd, &read_fd, &bytes, &e));
		assert_int_equal(bytes, expected);
		assert_int_equal(lseek(write_fd, 0, SEEK_END), expected);
		assert_int_equal(write_all(write_fd, "abc", 3), 0);
		close_fd(&write_fd);
		close_fd(&read_fd);
	}
	store_drop_partial(&store, &large);
	assert_ok(store_open_partial(&store, &large, &write_fd, &read_fd, &bytes, &e));
	assert_int_equal(bytes, 0);
	close_fd(&write_fd);
	close_fd(&read_fd);
}

int main(void)
{
#define IN_A_STORE(test) cmocka_unit_test_setup_teardown(test, make_store, drop_store)
	const struct CMUnitTest tests[] = {
		IN_A_STORE(a_store_is_for_its_owner_only),
		IN_A_STORE(a_store_that_was_open_to_others_is_closed),
		IN_A_STORE(an_image_is_found_by_its_name),
		IN_A_STORE(an_image_is_found_by_digest),
		IN_A_STORE(an_image_that_lost_a_layer_is_absent),
		IN_A_STORE(a_layer_that_repeats_is_listed_once_where_it_is_highest),
		IN_A_STORE(a_name_moves_and_the_old_image_stays_nameless),
		IN_A_STORE(an_image_goes_with_its_last_name),
		IN_A_STORE(a_digest_removes_the_image_and_all_its_names),
		IN_A_STORE(what_is_in_use_stays),
		IN_A_STORE(the_sweep_takes_what_no_image_needs),
		IN_A_STORE(a_damaged_record_stops_the_sweep),
		IN_A_STORE(a_damaged_name_is_an_error_that_names_it),
		IN_A_STORE(an_indexed_image_names_the_index_and_what_it_points_into),
		IN_A_STORE(unpacked_layers_do_until_the_image_is_pulled_again),
		IN_A_STORE(a_sweep_takes_indexes_that_no_image_needs),
		IN_A_STORE(a_layer_put_twice_is_there_once),
		IN_A_STORE(what_is_no_layer_gives_way_to_one),
		IN_A_STORE(a_relative_path_is_refused),
		IN_A_STORE(an_image_is_found_by_the_beginning_of_its_digests),
		IN_A_STORE(two_images_that_begin_alike_are_refused),
		IN_A_STORE(a_name_more_keeps_an_image_when_the_first_goes),
		IN_A_STORE(a_name_tells_when_it_was_last_used),
		IN_A_STORE(documents_are_what_they_were_or_damaged),
		IN_A_STORE(a_large_blob_is_gone_on_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
