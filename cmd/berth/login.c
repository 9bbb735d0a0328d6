/* cmd/berth/login.c - login and logout: credentials for registries
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kept in etc/berth/auth.json of the node's root, in the form that Docker and
 * Podman have; the node looks there at each pull.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define FILE_BYTES     (1 << 20)
#define FILE_DEPTH     16
#define PASSWORD_BYTES 65536
#define HUB            "docker.io"

struct login_options {
	const char *username;
	bool password_stdin;
};

static const struct option_row login_rows[] = {
	{"username", 'u', OPTION_STRING, offsetof(struct login_options, username), "NAME",
	 "who asks; for ECR: AWS"},
	{"password-stdin", 0, OPTION_FLAG, offsetof(struct login_options, password_stdin), NULL,
	 "read the password from standard input (default: ask for it)"},
};

/* ---- the file ---- */

static char *path_of(const struct context *c)
{
	return xasprintf("%s/etc/berth/auth.json", strcmp(c->root, "/") == 0 ? "" : c->root);
}

static int read_file(const char *path, json_t **ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(FILE_BYTES);
	int r = fs_read(AT_FDCWD, path, &b, e);

	if (r == -ENOENT) {
		*ret = json_object();
		return 0;
	}
	if (r == 0)
		r = js_parse(buf_str(&b), b.size, FILE_DEPTH, ret, e);
	return r < 0 ? err_wrap(e, "%s", path) : 0;
}

static int write_file(const char *path, const json_t *doc, struct err *e)
{
	auto_free char *text = json_dumps(doc, JSON_INDENT(4));
	int r = fs_replace(AT_FDCWD, path, text, strlen(text), 0600, FS_DURABLE, e);

	explicit_bzero(text, strlen(text));
	return r;
}

static json_t *auths_of(json_t *doc)
{
	json_t *auths = json_object_get(doc, "auths");

	if (auths)
		return auths;
	(void)json_object_set_new(doc, "auths", json_object());
	return json_object_get(doc, "auths");
}

/* ---- the password ---- */

static int read_line(struct buf *ret, struct err *e)
{
	char c;
	ssize_t n;

	while ((n = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
		buf_putc(ret, c);
	if (n < 0)
		return err_sys(e, "read the password");
	if (buf_overflow(ret))
		return err_set(e, E2BIG, "the password is too long");
	if (ret->size && ret->data[ret->size - 1] == '\r')
		ret->size--;
	return ret->size ? 0 : err_set(e, EINVAL, "the password is empty");
}

/* Nothing that is typed is shown. */
static int ask(struct buf *ret, struct err *e)
{
	struct termios before, silent;
	int r;

	if (tcgetattr(STDIN_FILENO, &before) < 0)
		return err_set(e, ENOTTY,
			       "there is nobody to ask for a password: --password-stdin");
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	(void)fputs("Password: ", stderr);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	r = read_line(ret, e);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	(void)fputc('\n', stderr);
	return r;
}

/* ---- login ---- */

static int keep(const struct context *c, const char *registry, const char *username,
		const struct buf *password, struct err *e)
{
	auto_free char *path = path_of(c);
	auto_free char *plain = xasprintf("%s:%.*s", username, (int)password->size, password->data);
	auto_free char *encoded = base64_encode(plain, strlen(plain));
	auto_json json_t *doc = NULL;
	int r = read_file(path, &doc, e);

	explicit_bzero(plain, strlen(plain));
	if (r == 0) {
		(void)json_object_set_new(auths_of(doc), registry,
					  json_pack("{s:s}", "auth", encoded));
		r = write_file(path, doc, e);
	}
	explicit_bzero(encoded, strlen(encoded));
	if (r == 0)
		(void)printf("Kept in %s; the next pull from %s uses it.\n", path, registry);
	return r;
}

static int login(struct context *c, const void *options, char **words, int count)
{
	const struct login_options *o = options;
	auto_buf struct buf password = BUF_INIT(PASSWORD_BYTES);
	const char *registry = count ? words[0] : HUB;
	struct err e = {0};
	int r;

	if (!o->username || !*o->username || strchr(o->username, ':'))
		return fail_usage("login: --username says who asks, without a colon");
	if (strstr(registry, "://") || !*registry)
		return fail_usage("login: a registry is HOST or HOST:PORT, not '%s'", registry);
	r = o->password_stdin ? read_line(&password, &e) : ask(&password, &e);
	if (r == 0)
		r = keep(c, registry, o->username, &password, &e);
	if (password.size)
		explicit_bzero(password.data, password.size);
	return r < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_login = {
	.name = "login",
	.arguments = "--username NAME [OPTIONS] [REGISTRY]",
	.summary =
		"Keep a name and a password for a registry (default docker.io), for this node's pulls.",
	.options = login_rows,
	.option_count = ARRAY_COUNT(login_rows),
	.size = sizeof(struct login_options),
	.max_words = 1,
	.run = login,
};

/* ---- logout ---- */

static int logout(struct context *c, const void *options, char **words, int count)
{
	auto_free char *path = path_of(c);
	auto_json json_t *doc = NULL;
	const char *registry = count ? words[0] : HUB;
	struct err e = {0};

	(void)options;
	if (read_file(path, &doc, &e) < 0)
		return fail(&e);
	if (json_object_del(auths_of(doc), registry) < 0) {
		(void)err_set(&e, ENOENT, "%s has nothing for %s", path, registry);
		return fail(&e);
	}
	return write_file(path, doc, &e) < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_logout = {
	.name = "logout",
	.arguments = "[REGISTRY]",
	.summary = "Forget the name and the password for a registry.",
	.size = 1,
	.max_words = 1,
	.run = logout,
};
