/* image/reference.c - names of images, read strictly
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/reference.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"

#define ALGORITHM   "sha256:"
#define DIGITS      64
#define PORT_DIGITS 5

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

bool digest_valid(const char *text)
{
	if (!str_starts(text, ALGORITHM) || strlen(text) != strlen(ALGORITHM) + DIGITS)
		return false;
	for (const char *p = digest_hex(text); *p; p++)
		if (!is_digit(*p) && !(*p >= 'a' && *p <= 'f'))
			return false;
	return true;
}

const char *digest_hex(const char *digest)
{
	return digest + strlen(ALGORITHM);
}

/* Alternating runs of [a-z0-9] and one of ".", "_", "__" or dashes. */
static bool is_path_part(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t start = i;

		while (i < len && (is_lower(s[i]) || is_digit(s[i])))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;
		if (s[i] == '-')
			while (i < len && s[i] == '-')
				i++;
		else if (s[i] == '_' && i + 1 < len && s[i + 1] == '_')
			i += 2;
		else if (s[i] == '_' || s[i] == '.')
			i++;
		else
			return false;
	}
	return false; /* empty, or a separator at the end */
}

static bool is_repository(const char *s)
{
	for (;;) {
		size_t len = strcspn(s, "/");

		if (!is_path_part(s, len))
			return false;
		if (!s[len])
			return true;
		s += len + 1;
	}
}

static bool is_port(const char *s)
{
	uint32_t port;

	return strlen(s) <= PORT_DIGITS && parse_u32(s, UINT16_MAX, &port) && port > 0;
}

static bool is_ipv6(const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	return inet_pton(AF_INET6, text, &addr) == 1;
}

/* Labels of letters, digits and inner dashes, or [IPv6]; then perhaps a port. */
static bool is_host(const char *s)
{
	size_t i = 0, start;

	if (s[0] == '[') {
		i = strcspn(s, "]");
		if (!s[i] || !is_ipv6(s + 1, i - 1))
			return false;
		i++;
	} else {
		for (;; i++) {
			start = i;
			while (is_alnum(s[i]) || (s[i] == '-' && i > start))
				i++;
			if (i == start || s[i - 1] == '-')
				return false;
			if (s[i] != '.')
				break;
		}
	}
	return !s[i] || (s[i] == ':' && is_port(s + i + 1));
}

static bool is_tag(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > TAG_LEN_MAX || s[0] == '.' || s[0] == '-')
		return false;
	for (; *s; s++)
		if (!is_alnum(*s) && *s != '_' && *s != '.' && *s != '-')
			return false;
	return true;
}

static bool looks_like_host(const char *s)
{
	if (str_eq(s, "localhost"))
		return true;
	for (; *s; s++)
		if (*s == '.' || *s == ':' || *s == '[' || (*s >= 'A' && *s <= 'Z'))
			return true;
	return false;
}

/* Cut '*text' at the last 'c' that stands behind the last slash; the part behind, or NULL. */
static char *cut_behind(char *text, char c)
{
	char *slash = strrchr(text, '/');
	char *p = strrchr(slash ? slash : text, c);

	if (!p)
		return NULL;
	*p = '\0';
	return p + 1;
}

/* What is put has been measured, so only our own mistake is cut. */
static void put(char *ret, size_t size, const char *text)
{
	size_t len = strlen(text);

	assert(len < size);
	memcpy(ret, text, len + 1);
}

static int split_host(char *name, struct reference *r, struct err *e)
{
	char *slash = strchr(name, '/');
	const char *path = name, *below = "";

	put(r->host, sizeof(r->host), "docker.io");
	if (strlen(name) > NAME_LEN_MAX)
		return err_set(e, EINVAL, "longer than %d characters", NAME_LEN_MAX);
	if (slash) {
		*slash = '\0';
		if (looks_like_host(name)) {
			if (!is_host(name))
				return err_set(e, EINVAL, "'%s' is not a host", name);
			if (!str_eq(name, "index.docker.io"))
				put(r->host, sizeof(r->host), name);
			path = slash + 1;
		} else {
			*slash = '/';
		}
	}

	if (!is_repository(path))
		return err_set(e, EINVAL, "'%s' is not a repository name", path);
	if (str_eq(r->host, "docker.io") && !strchr(path, '/'))
		below = "library/";
	if (strlen(r->host) + 1 + strlen(below) + strlen(path) > NAME_LEN_MAX)
		return err_set(e, EINVAL, "longer than %d characters", NAME_LEN_MAX);
	put(r->repository, sizeof(r->repository), below);
	put(r->repository + strlen(below), sizeof(r->repository) - strlen(below), path);
	return 0;
}

static int parse(char *text, struct reference *r, struct err *e)
{
	char *digest = strchr(text, '@'), *tag;

	if (digest) {
		*digest++ = '\0';
		if (!digest_valid(digest))
			return err_set(e, EINVAL, "'%s' is not sha256: and 64 hexadecimal digits",
				       digest);
		put(r->digest, sizeof(r->digest), digest);
	}

	tag = cut_behind(text, ':');
	if (tag && !is_tag(tag))
		return err_set(e, EINVAL, "'%s' is not a tag", tag);
	if (!digest)
		put(r->tag, sizeof(r->tag), tag ? tag : "latest");
	return split_host(text, r, e);
}

int reference_parse(const char *text, struct reference *ret, struct err *e)
{
	char copy[REFERENCE_SIZE];
	struct reference r = {{0}, {0}, {0}, {0}};

	if (strlen(text) >= sizeof(copy))
		return err_set(e, EINVAL, "image name of more than %zu characters",
			       sizeof(copy) - 1);
	put(copy, sizeof(copy), text);
	if (parse(copy, &r, e) < 0)
		return err_wrap(e, "image name '%.100s'", text);
	*ret = r;
	return 0;
}

void reference_format(const struct reference *r, char ret[REFERENCE_SIZE])
{
	(void)snprintf(ret, REFERENCE_SIZE, "%s/%s%c%s", r->host, r->repository,
		       r->digest[0] ? '@' : ':', r->digest[0] ? r->digest : r->tag);
}

int reference_at(const char *location, const struct reference *name, struct reference *ret,
		 struct err *e)
{
	auto_free char *text = NULL;

	if (!*location) {
		*ret = *name;
		return 0;
	}
	text = xasprintf("%s/%s", location, name->repository);
	if (reference_parse(text, ret, e) < 0 ||
	    strncmp(ret->host, location, strcspn(location, "/")) != 0)
		return err_set(e, EINVAL, "'%.200s' is no HOST[:PORT][/PATH] of a registry",
			       location);
	memcpy(ret->tag, name->tag, sizeof(ret->tag));
	memcpy(ret->digest, name->digest, sizeof(ret->digest));
	return 0;
}

int image_check_location(const char *location, struct err *e)
{
	struct reference ignored;
	const struct reference some = {.repository = "x", .tag = "latest"};

	return reference_at(location, &some, &ignored, e);
}

int image_name_of(const char *reference, char ret_host[IMAGE_HOST_SIZE],
		  char ret_name[IMAGE_NAME_SIZE], struct err *e)
{
	struct reference r;

	static_assert(IMAGE_HOST_SIZE == sizeof(r.host), "");
	static_assert(IMAGE_NAME_SIZE >= sizeof(r.host) + sizeof(r.repository), "");
	if (reference_parse(reference, &r, e) < 0)
		return -e->code;
	(void)snprintf(ret_host, IMAGE_HOST_SIZE, "%s", r.host);
	(void)snprintf(ret_name, IMAGE_NAME_SIZE, "%s/%s", r.host, r.repository);
	return 0;
}
