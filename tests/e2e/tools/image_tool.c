/* tests/e2e/tools/image_tool.c - drives image/ and rootfs/ from a script
 * SPDX-License-Identifier: Apache-2.0
 *
 *   image_tool STORE WORKER pull REFERENCE... [-i] [-t] [-p PLATFORM] [-m LOCATION] [-k] [-u USER:PASSWORD]
 *                                             [-a CA] [-c CERTIFICATE KEY]
 *       all at once; one line per event; "failed REASON SENTENCE" or "done DIGEST"
 *       -i: if absent, -t: tags are for the last source, -k: insecure
 *       -k, -u, -a and -c are of the registry, or of the mirror that the -m before them names
 *   image_tool STORE WORKER pull-when-told ...    the same, when a line of standard input says so: ready before
 *   image_tool STORE WORKER find|remove REFERENCE [IN-USE-DIGEST...]
 *   image_tool STORE WORKER list
 *   image_tool STORE WORKER mount REFERENCE SCRATCH TARGET   attached at TARGET
 *   image_tool STORE WORKER user REFERENCE SCRATCH USER
 *   image_tool STORE WORKER form                  "index", or "unpacked: " and why
 *   image_tool STORE WORKER roots REFERENCE SCRATCH COUNT   how long a further root takes
 *   image_tool - - floor                          a packed layer on standard input: both its digests
 *   image_tool - - root SCRATCH TARGET [ro] [volatile] LAYER...   lowest first; attached at TARGET
 *
 * The store's form is that of the environment's FORM (index, unpacked), or what the kernel can.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"
#include "image/intake.h"
#include "rootfs/rootfs.h"

#define PULLS_MAX 64

static int complain(const struct err *e)
{
	printf("error %d %s\n", e->code, e->msg);
	return 1;
}

static void print_event(size_t i, const struct image_pull_event *ev)
{
	static const char *const phases[] = {"waiting", "downloading", "unpacking", "done",
					     "exists"};

	if (ev->kind == IMAGE_PULL_RESOLVED)
		printf("%zu resolved %s\n", i, ev->digest);
	else if (ev->kind == IMAGE_PULL_LAYER)
		printf("%zu layer %u/%u %s %s %llu/%llu\n", i, ev->layer, ev->layer_count,
		       phases[ev->phase], ev->digest, (unsigned long long)ev->bytes,
		       (unsigned long long)ev->total_bytes);
	else
		printf("%zu done %s %s\n", i, ev->image->digest, ev->image->reference);
}

/* True when the pull has ended. */
static bool step(struct image_pull *p, size_t i, int *failures)
{
	struct image_pull_event ev;
	struct err e = {0};
	int r = image_pull_next(p, &ev, &e);

	if (r == IMAGE_AGAIN)
		return false;
	if (r < 0) {
		printf("%zu failed %s|%s\n", i, image_reason_name(image_pull_reason(p)), e.msg);
		++*failures;
		return true;
	}
	print_event(i, &ev);
	(void)fflush(stdout);
	if (ev.kind != IMAGE_PULL_DONE)
		return false;
	image_free(ev.image);
	return true;
}

static int run_pulls(struct image_pull **pulls, size_t count)
{
	struct pollfd polls[PULLS_MAX];
	size_t left = count;
	int failures = 0;

	while (left) {
		for (size_t i = 0; i < count; i++)
			polls[i] = (struct pollfd){.fd = pulls[i] ? image_pull_fd(pulls[i]) : -1,
						   .events = POLLIN};
		if (poll(polls, count, -1) < 0)
			continue;
		for (size_t i = 0; i < count; i++) {
			if (!polls[i].revents || !step(pulls[i], i, &failures))
				continue;
			image_pull_free(pulls[i]);
			pulls[i] = NULL;
			left--;
		}
		(void)fflush(stdout);
	}
	return failures ? 1 : 0;
}

static void take_source_option(struct image_source *source, char **argv, int *i)
{
	if (str_eq(argv[*i], "-k")) {
		source->insecure = true;
	} else if (str_eq(argv[*i], "-a")) {
		source->ca_file = argv[++*i];
	} else if (str_eq(argv[*i], "-c")) {
		source->certificate_file = argv[++*i];
		source->key_file = argv[++*i];
	} else if (str_eq(argv[*i], "-u")) {
		char *colon = strchr(argv[++*i], ':');

		*colon = '\0';
		source->username = argv[*i];
		source->password = colon + 1;
	}
}

/* Mirrors in the order of the words, then the registry. */
static void take_pull_options(int argc, char **argv, struct image_pull_request *request,
			      struct image_source sources[IMAGE_SOURCES_MAX])
{
	struct image_source itself = {.location = NULL}, *source = &itself;

	for (int i = 0; i < argc; i++) {
		if (str_eq(argv[i], "-i"))
			request->policy = IMAGE_PULL_IF_ABSENT;
		else if (str_eq(argv[i], "-t"))
			request->tags_at_last = true;
		else if (str_eq(argv[i], "-p"))
			request->platform = argv[++i];
		else if (str_eq(argv[i], "-m"))
			(source = &sources[request->source_count++])->location = argv[++i];
		else
			take_source_option(source, argv, &i);
	}
	sources[request->source_count++] = itself;
	request->sources = sources;
}

static int pull(struct image_store *s, int argc, char **argv)
{
	static const char *const with_value[] = {"-p", "-u", "-m", "-a", "-c", "-c"};
	struct image_source sources[IMAGE_SOURCES_MAX] = {{.location = NULL}};
	struct image_pull_request request = {.policy = IMAGE_PULL_ALWAYS};
	struct image_pull *pulls[PULLS_MAX];
	size_t count = 0;
	struct err e = {0};

	take_pull_options(argc, argv, &request, sources);
	for (int i = 0; i < argc && count < PULLS_MAX; i++) {
		if (argv[i][0] == '-') {
			for (size_t w = 0, at = (size_t)i; w < ARRAY_COUNT(with_value); w++)
				i += str_eq(argv[at], with_value[w]);
			continue;
		}
		request.reference = argv[i];
		if (image_pull_begin(s, &request, &pulls[count], &e) < 0)
			return complain(&e);
		count++;
	}
	return run_pulls(pulls, count);
}

static int pull_when_told(struct image_store *s, int argc, char **argv)
{
	struct err e = {0};

	if (image_store_rest(s, true, &e) < 0)
		return complain(&e);
	printf("ready\n");
	(void)fflush(stdout);
	(void)getchar();
	return pull(s, argc, argv);
}

static void print_list(const char *word, const struct js_strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		printf("%s %s\n", word, list->items[i]);
}

static int find(struct image_store *s, int argc, char **argv)
{
	struct image *image;
	struct err e = {0};
	int r = argc == 1 ? image_find(s, argv[0], &image, &e) : -1;

	if (r == IMAGE_ABSENT)
		printf("absent\n");
	if (r < 0)
		return complain(&e);
	if (r != 0)
		return 1;
	printf("reference %s\ndigest %s\nmanifest %s\nplatform %s/%s\nsize %llu\n",
	       image->reference, image->digest, image->manifest, image->os, image->architecture,
	       (unsigned long long)image->size);
	print_list("entrypoint", &image->entrypoint);
	print_list("cmd", &image->cmd);
	print_list("env", &image->env);
	print_list("port", &image->ports);
	printf("form %s\nids %u\n", image->index ? "index" : "unpacked", image->greatest_id);
	printf("signal %s\nuser %s\ndirectory %s\n", image->stop_signal ? image->stop_signal : "",
	       image->user ? image->user : "", image->working_dir ? image->working_dir : "");
	print_list("layer", &image->layers);
	image_free(image);
	return 0;
}

static int list(struct image_store *s, int argc, char **argv)
{
	struct image_list l;
	struct err e = {0};

	(void)argc;
	(void)argv;
	if (image_list(s, &l, &e) < 0)
		return complain(&e);
	for (size_t i = 0; i < l.count; i++)
		printf("%s %s\n", l.items[i]->reference ? l.items[i]->reference : "-",
		       l.items[i]->digest);
	image_list_done(&l);
	return 0;
}

static int remove_image(struct image_store *s, int argc, char **argv)
{
	struct err e = {0};
	int r = argc < 1 ? -1
			 : image_remove(s, argv[0], (const char *const *)(argv + 1),
					(size_t)argc - 1, &e);

	if (r < 0)
		return complain(&e);
	printf("%s\n", r == 0 ? "removed" : r == IMAGE_ABSENT ? "absent" : "in use");
	return r;
}

static int mount_image(struct image_store *s, const char *reference, const char *scratch, int *ret,
		       struct err *e)
{
	struct image *image;
	auto_close int index_fd = -1;
	struct rootfs_spec spec = {.scratch = scratch};
	int r = image_find(s, reference, &image, e);

	if (r != 0)
		return r < 0 ? r : err_set(e, ENOENT, "absent");
	spec.layers = image->layers.items;
	spec.layer_count = image->layers.count;
	if (image->index) {
		r = rootfs_open_index(image->index, image->layers.items, image->layers.count,
				      &index_fd, e);
		spec.index_fd = &index_fd;
	}
	if (r == 0)
		r = rootfs_scratch_create(scratch, e);
	if (r == 0)
		r = rootfs_mount(&spec, ret, e);
	image_free(image);
	return r;
}

static int attach(int mount_fd, const char *target)
{
	if (move_mount(mount_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0)
		return 0;
	perror("move_mount");
	return 1;
}

static int mount_at(struct image_store *s, int argc, char **argv)
{
	auto_close int fd = -1;
	struct err e = {0};

	if (argc != 3 || mount_image(s, argv[0], argv[1], &fd, &e) < 0)
		return complain(&e);
	return attach(fd, argv[2]);
}

static int user(struct image_store *s, int argc, char **argv)
{
	auto_close int fd = -1;
	struct image_user u;
	struct err e = {0};

	if (argc != 3 || mount_image(s, argv[0], argv[1], &fd, &e) < 0 ||
	    image_user_lookup(s, "sha256:x", argv[2], fd, &u, &e) < 0)
		return complain(&e);
	printf("%u:%u %s", u.uid, u.gid, u.home);
	for (size_t i = 0; i < u.group_count; i++)
		printf(" %u", u.groups[i]);
	printf("\n");
	return 0;
}

/* Directories as they are, without a store; a scratch that is there already is used again. */
static int root(int argc, char **argv)
{
	struct rootfs_spec spec = {.scratch = argv[0]};
	auto_close int fd = -1;
	struct err e = {0};
	int i = 2;

	for (; i < argc && argv[i][0] != '/'; i++) {
		spec.read_only |= str_eq(argv[i], "ro");
		spec.volatile_upper |= str_eq(argv[i], "volatile");
	}
	spec.layers = argv + i;
	spec.layer_count = (size_t)(argc - i);
	if (rootfs_scratch_create(spec.scratch, &e) < 0 && e.code != EEXIST)
		return complain(&e);
	if (rootfs_mount(&spec, &fd, &e) < 0)
		return complain(&e);
	return attach(fd, argv[1]);
}

/* ---- measuring ---- */

static int64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int by_number(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Of one open index, in scratch directories that are there. */
static int roots(struct image_store *s, int argc, char **argv)
{
	auto_close int index_fd = -1;
	struct rootfs_spec spec = {.index_fd = &index_fd, .volatile_upper = true};
	struct image *image;
	struct err e = {0};
	uint32_t count;
	int64_t *took;

	if (argc != 3 || !parse_u32(argv[2], 10000, &count) || count == 0)
		return 2;
	took = xcalloc(count, sizeof(*took));
	if (image_find(s, argv[0], &image, &e) != 0 || !image->index ||
	    rootfs_open_index(image->index, image->layers.items, image->layers.count, &index_fd,
			      &e) < 0)
		return complain(&e);
	for (uint32_t i = 0; i < count; i++) {
		auto_free char *scratch = xasprintf("%s%u", argv[1], i);
		auto_close int fd = -1;
		int64_t begin;

		if (rootfs_scratch_create(scratch, &e) < 0)
			return complain(&e);
		spec.scratch = scratch;
		begin = now_us();
		if (rootfs_mount(&spec, &fd, &e) < 0)
			return complain(&e);
		took[i] = now_us() - begin;
	}
	qsort(took, count, sizeof(*took), by_number);
	printf("median %lld us, 95 of 100 under %lld us\n", (long long)took[count / 2],
	       (long long)took[count * 95 / 100]);
	free(took);
	image_free(image);
	return 0;
}

struct relay {
	int out_fd;
	struct sha256 *hash;
};

static void *relay_input(void *ctx)
{
	struct relay *r = ctx;
	static char bytes[256 << 10];
	ssize_t n;

	while ((n = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0) {
		sha256_add(r->hash, bytes, (size_t)n);
		if (write_all(r->out_fd, bytes, (size_t)n) < 0)
			break;
	}
	(void)close(r->out_fd);
	return NULL;
}

static int find_floor(void)
{
	struct relay relay = {.hash = sha256_new()};
	char diff_id[DIGEST_SIZE], hex[SHA256_HEX];
	struct intake *intake;
	struct err e = {0};
	pthread_t thread;
	int fds[2];

	if (pipe(fds) < 0)
		return 1;
	(void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, 1 << 20);
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
	relay.out_fd = fds[1];
	if (pthread_create(&thread, NULL, relay_input, &relay) != 0 ||
	    intake_new(&(struct intake_fds){fds[0], -1, -1, false}, &intake, &e) < 0 ||
	    intake_finish(intake, diff_id, &e) < 0)
		return complain(&e);
	(void)pthread_join(thread, NULL);
	sha256_hex(relay.hash, hex);
	printf("sha256:%s %s\n", hex, diff_id);
	return 0;
}

/* ---- the form ---- */

static int try_form(const char *dir, struct err *e)
{
	auto_free char *index = xasprintf("%s/index", dir);
	auto_free char *device = xasprintf("%s/device", dir);
	auto_free char *scratch = xasprintf("%s/scratch", dir);
	auto_close int fd = -1;
	char block[512] = "berth";

	if (fs_write(AT_FDCWD, device, block, sizeof(block), 0600, e) < 0)
		return -e->code;
	fd = open(index, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", index);
	if (image_write_probe(fd, e) < 0)
		return -e->code;
	return rootfs_try_index(index, device, scratch, e);
}

static enum image_form find_form(const char *store, struct err *e)
{
	auto_free char *dir = xasprintf("%s.probe%d", store, getpid());
	const char *form = getenv("FORM");
	struct err ignored;
	int r;

	if (form)
		return str_eq(form, "index") ? IMAGE_INDEXED : IMAGE_UNPACKED;
	if (fs_mkdirs(AT_FDCWD, dir, 0700, e) < 0)
		return IMAGE_UNPACKED;
	r = try_form(dir, e);
	(void)fs_remove_tree(AT_FDCWD, dir, &ignored);
	return r < 0 ? IMAGE_UNPACKED : IMAGE_INDEXED;
}

static const struct {
	const char *verb;
	int (*run)(struct image_store *s, int argc, char **argv);
} verbs[] = {
	{"pull", pull},           {"pull-when-told", pull_when_told},
	{"find", find},           {"list", list},
	{"remove", remove_image}, {"mount", mount_at},
	{"user", user},           {"roots", roots},
};

int main(int argc, char **argv)
{
	struct image_store_options o = {0};
	struct image_store *s;
	struct err e = {0};
	int r = 2;

	if (argc < 4)
		return 2;
	if (str_eq(argv[3], "floor"))
		return find_floor();
	if (str_eq(argv[3], "root"))
		return argc < 7 ? 2 : root(argc - 4, argv + 4);
	o.dir = argv[1];
	o.worker = argv[2];
	o.form = find_form(argv[1], &e);
	if (str_eq(argv[3], "form")) {
		printf("%s%s\n", o.form == IMAGE_INDEXED ? "index" : "unpacked: ", e.msg);
		return 0;
	}
	if (image_store_open(&o, &s, &e) < 0)
		return complain(&e);
	for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
		if (str_eq(verbs[i].verb, argv[3]))
			r = verbs[i].run(s, argc - 4, argv + 4);
	image_store_close(s);
	return r;
}
