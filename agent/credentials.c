/* agent/credentials.c - with which name and password a registry is asked
 * SPDX-License-Identifier: Apache-2.0
 *
 * Files as Docker and Podman have them: etc/berth/auth.json, which `berth login`
 * writes; then $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json and
 * ~/.docker/config.json.  The first that knows the registry decides.  In
 * "auths" the longest key that an image's name begins with counts; "credHelpers"
 * and "credsStore" name a program, docker-credential-NAME, that is asked.
 *
 * A task definition may name a secret instead ('repositoryCredentials'): that is a
 * file of the node, etc/berth/secrets/NAME.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/proc.h"
#include "base/text.h"
#include "ecs/arn.h"

#define FILE_BYTES  (1 << 20)
#define FILE_DEPTH  16
#define ANSWER_MAX  65536
#define HELPER_MS   30000
#define HELPER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define HUB         "docker.io"
#define SUFFIX_LEN  7                             /* "-AbCdEf" */
#define HUB_KEY     "https://index.docker.io/v1/" /* what docker login has called it for ever */

void credential_done(struct credential *c)
{
	if (c->password)
		explicit_bzero(c->password, strlen(c->password));
	free(c->username);
	free(c->password);
	free(c->helper);
	free(c->host);
	*c = (struct credential){0};
}

/* ---- files ---- */

/* "https://host/v1/" is host: as old versions of Docker wrote it. */
static char *plain_key(const char *key)
{
	const char *rest = str_starts(key, "https://")  ? key + strlen("https://")
			   : str_starts(key, "http://") ? key + strlen("http://")
							: key;
	char *plain;

	if (strcmp(key, HUB_KEY) == 0 || strcmp(rest, "index.docker.io") == 0)
		return xstrdup(HUB);
	plain = xstrdup(rest);
	if (rest != key)
		plain[strcspn(plain, "/")] = '\0';
	return plain;
}

/* Is the image below it? "host", "host/team". */
static bool covers(const char *key, const char *name)
{
	size_t len = strlen(key);

	return strncmp(key, name, len) == 0 && (!name[len] || name[len] == '/');
}

/* "user:password" */
static int split_auth(const char *text, struct credential *ret, struct err *e)
{
	size_t size;
	auto_free unsigned char *plain = base64_decode(text, &size);
	char *colon = plain ? memchr(plain, ':', size) : NULL;

	if (!colon)
		return err_set(e, EINVAL, "an \"auth\" is not the base64 of user:password");
	*colon = '\0';
	ret->username = xstrdup((char *)plain);
	ret->password = xstrdup(colon + 1);
	explicit_bzero(plain, size);
	return 0;
}

static int take_auth(const json_t *auth, struct credential *ret, struct err *e)
{
	const char *encoded = json_string_value(json_object_get(auth, "auth")),
		   *username = json_string_value(json_object_get(auth, "username")),
		   *password = json_string_value(json_object_get(auth, "password"));

	if (username && password) {
		ret->username = xstrdup(username);
		ret->password = xstrdup(password);
		return 0;
	}
	if (!encoded || !*encoded)
		return CREDENTIAL_NONE; /* the helper has it */
	return split_auth(encoded, ret, e);
}

static int find_auth(const json_t *auths, const char *name, struct credential *ret, struct err *e)
{
	const json_t *best = NULL;
	size_t best_len = 0;
	const char *key;
	json_t *auth;

	json_object_foreach ((json_t *)(uintptr_t)auths, key, auth) {
		auto_free char *plain = plain_key(key);

		if (!covers(plain, name) || (best && strlen(plain) <= best_len))
			continue;
		best = auth;
		best_len = strlen(plain);
	}
	return best ? take_auth(best, ret, e) : CREDENTIAL_NONE;
}

static int take_helper(const char *helper, const char *host, struct credential *ret, struct err *e)
{
	if (!*helper ||
	    helper[strspn(helper, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-_.")] ||
	    strchr(helper, '/'))
		return err_set(e, EINVAL, "credential helper '%.60s'", helper);
	ret->helper = xasprintf("docker-credential-%s", helper);
	ret->host = xstrdup(strcmp(host, HUB) == 0 ? HUB_KEY : host);
	return 0;
}

static int look_in_document(const json_t *doc, const char *host, const char *name,
			    struct credential *ret, struct err *e)
{
	const char *helper = json_string_value(
			   json_object_get(json_object_get(doc, "credHelpers"), host)),
		   *store = json_string_value(json_object_get(doc, "credsStore"));
	int r;

	if (helper)
		return take_helper(helper, host, ret, e);
	r = find_auth(json_object_get(doc, "auths"), name, ret, e);
	if (r == CREDENTIAL_NONE && store)
		return take_helper(store, host, ret, e);
	return r;
}

static int look_in_file(const char *path, const char *host, const char *name,
			struct credential *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(FILE_BYTES);
	auto_json json_t *doc = NULL;
	struct err failed = {0};
	int r = fs_read(AT_FDCWD, path, &b, &failed);

	if (r == -ENOENT)
		return CREDENTIAL_NONE; /* and nothing is said */
	if (r < 0)
		*e = failed;
	if (r == 0)
		r = js_parse(buf_str(&b), b.size, FILE_DEPTH, &doc, e);
	if (b.size)
		explicit_bzero(b.data, b.size);
	if (r == 0)
		r = look_in_document(doc, host, name, ret, e);
	return r < 0 ? err_wrap(e, "%s", path) : r;
}

static char *docker_config(void)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");

	return dir ? xasprintf("%s/config.json", dir)
		   : xasprintf("%s/.docker/config.json", home ? home : "/root");
}

int credential_find(const struct agent_options *o, const char *reference, struct credential *ret,
		    struct err *e)
{
	auto_free char *docker = docker_config();
	const char *const files[] = {o->auth_file, getenv("REGISTRY_AUTH_FILE"), docker};
	char host[IMAGE_HOST_SIZE], name[IMAGE_NAME_SIZE];
	int r = CREDENTIAL_NONE;

	*ret = (struct credential){0};
	if (image_name_of(reference, host, name, e) < 0)
		return -e->code;
	for (size_t i = 0; r == CREDENTIAL_NONE && i < ARRAY_COUNT(files); i++)
		if (files[i])
			r = look_in_file(files[i], host, name, ret, e);
	if (r < 0)
		credential_done(ret);
	return r;
}

/* ---- secrets of the node ---- */

/* As it is named, or without the six characters that Secrets Manager adds. */
static int read_secret_file(const char *dir, const char *name, struct buf *ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	size_t len = strlen(name);
	struct err failed = {0};
	int r = fs_read(AT_FDCWD, path, ret, &failed);

	if (r == -ENOENT && len > SUFFIX_LEN && name[len - SUFFIX_LEN] == '-') {
		path[strlen(path) - SUFFIX_LEN] = '\0';
		return fs_read(AT_FDCWD, path, ret, e);
	}
	if (r < 0)
		*e = failed;
	return r;
}

int credential_of_secret(const struct agent_options *o, const char *parameter,
			 struct credential *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(ANSWER_MAX);
	auto_json json_t *doc = NULL;
	char name[ECS_SECRET_NAME_SIZE];
	const char *username, *password;
	int r;

	if (!ecs_secret_name(parameter, name))
		return err_set(e, EINVAL, "'%.200s' is no secret's name", parameter);
	r = read_secret_file(o->secrets_dir, name, &b, e);
	if (r == 0)
		r = js_parse(buf_str(&b), b.size, FILE_DEPTH, &doc, e);
	if (b.size)
		explicit_bzero(b.data, b.size);
	if (r < 0)
		return err_wrap(e, "repositoryCredentials: secret %s of this node", name);
	username = json_string_value(json_object_get(doc, "username"));
	password = json_string_value(json_object_get(doc, "password"));
	if (!username || !password)
		return err_set(e, EINVAL,
			       "repositoryCredentials: secret %s of this node has no \"username\" "
			       "and \"password\"",
			       name);
	ret->username = xstrdup(username);
	ret->password = xstrdup(password);
	return 0;
}

/* ---- helpers: docker/docker-credential-helpers, "get" ---- */

static char *find_program(const char *name)
{
	auto_free char *path = xstrdup(getenv("PATH") ? getenv("PATH") : HELPER_PATH);
	char *save = NULL;

	for (char *dir = strtok_r(path, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		auto_free char *program = xasprintf("%s/%s", dir, name);

		if (access(program, X_OK) == 0)
			return take_ptr(program);
	}
	return NULL;
}

static int read_answer(int fd, struct buf *ret, struct err *e)
{
	int64_t end_ms = clock_mono_ms() + HELPER_MS;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left_ms = end_ms - clock_mono_ms();
		void *room = buf_reserve(ret, 4096);
		ssize_t n;

		if (!room)
			return err_set(e, E2BIG, "its answer is too long");
		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0)
			return err_set(e, ETIMEDOUT, "no answer in %d s", HELPER_MS / 1000);
		n = read(fd, room, 4096);
		if (n < 0 && errno != EINTR)
			return err_sys(e, "read its answer");
		if (n == 0)
			return 0;
		buf_commit(ret, n > 0 ? (size_t)n : 0);
	}
}

static int read_secret(const struct buf *answer, struct credential *c, struct err *e)
{
	auto_json json_t *doc = NULL;
	const char *username, *secret;

	if (js_parse(buf_str((struct buf *)(uintptr_t)answer), answer->size, FILE_DEPTH, &doc, e) <
	    0)
		return -e->code;
	username = json_string_value(json_object_get(doc, "Username"));
	secret = json_string_value(json_object_get(doc, "Secret"));
	if (!username || !secret)
		return err_set(e, EPROTO, "its answer has no Username and Secret");
	c->username = xstrdup(username);
	c->password = xstrdup(secret);
	return 0;
}

static int run_helper(struct credential *c, const char *program, struct err *e)
{
	char *const argv[] = {c->helper, (char[]){"get"}, NULL};
	auto_buf struct buf answer = BUF_INIT(ANSWER_MAX);
	auto_close int in_r = -1, in_w = -1, out_r = -1, out_w = -1, pidfd = -1;
	int in[2], out[2], status = 0, r;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	in_r = in[0];
	in_w = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	out_r = out[0];
	out_w = out[1];
	{
		const struct proc_fd fds[] = {{in_r, 0}, {out_w, 1}, {2, 2}};
		const struct proc_spawn s = {.path = program,
					     .argv = argv,
					     .envp = environ,
					     .fds = fds,
					     .fd_count = ARRAY_COUNT(fds)};

		if (proc_spawn(&s, &pid, &pidfd, e) < 0)
			return -e->code;
	}
	close_fd(&in_r);
	close_fd(&out_w);
	(void)write_all(in_w, c->host, strlen(c->host)); /* it fits; who does not read ends */
	close_fd(&in_w);
	r = read_answer(out_r, &answer, e);
	if (r < 0)
		(void)proc_pidfd_kill(pidfd, SIGKILL);
	if (r < 0 || (r = proc_wait(pidfd, &status, e)) < 0)
		return r;
	r = status ? CREDENTIAL_NONE : read_secret(&answer, c, e); /* it knows nothing of it */
	if (answer.size)
		explicit_bzero(answer.data, answer.size);
	return r;
}

int credential_ask(struct credential *c, struct err *e)
{
	auto_free char *program = find_program(c->helper);
	int r = program ? run_helper(c, program, e) : err_set(e, ENOENT, "is not in PATH");

	return r < 0 ? err_wrap(e, "credential helper %s", c->helper) : r;
}
