/* image/url.c - the little that we do with URLs ourselves
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/url.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"

#define URL_LEN_MAX 16384

static size_t scheme_len(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0  ? 8
	       : strncasecmp(url, "http://", 7) == 0 ? 7
						     : 0;
}

size_t url_origin_len(const char *url)
{
	size_t scheme = scheme_len(url);
	size_t host = scheme ? strcspn(url + scheme, "/?#") : 0;

	return host ? scheme + host : 0;
}

bool url_is_https(const char *url)
{
	return scheme_len(url) == 8;
}

bool url_same_origin(const char *a, const char *b)
{
	size_t len = url_origin_len(a);

	return len && len == url_origin_len(b) && strncasecmp(a, b, len) == 0;
}

static int refuse(struct err *e, const char *location, const char *why)
{
	return image_fail(e, IMAGE_REASON_REGISTRY, "redirected to '%.*s': %s",
			  (int)strcspn(location, "?#\r\n"), location, why);
}

static int check_redirect(const char *from, const char *to, struct err *e)
{
	size_t origin = url_origin_len(to);

	if (!origin)
		return refuse(e, to, "not an http or https URL");
	if (memchr(to, '@', origin))
		return refuse(e, to, "a user in it");
	if (url_is_https(from) && !url_is_https(to))
		return refuse(e, to, "from https to http");
	return 0;
}

int url_redirect(const char *from, const char *location, char **ret, struct err *e)
{
	size_t origin = url_origin_len(from);
	char *to;

	if (strlen(location) > URL_LEN_MAX)
		return refuse(e, location, "too long");
	for (const char *p = location; *p; p++)
		if (iscntrl((unsigned char)*p) || *p == ' ')
			return refuse(e, location, "not a URL");

	if (str_starts(location, "//"))
		to = xasprintf("%s%s", url_is_https(from) ? "https:" : "http:", location);
	else if (location[0] == '/')
		to = xasprintf("%.*s%s", (int)origin, from, location);
	else
		to = xstrdup(location);
	if (check_redirect(from, to, e) < 0) {
		free(to);
		return -e->code;
	}
	*ret = to;
	return 0;
}

bool host_is_loopback(const char *host)
{
	char name[256];
	size_t len = strcspn(host, ":/?#");
	struct in_addr v4;
	struct in6_addr v6;

	if (host[0] == '[') {
		host++;
		len = strcspn(host, "]");
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	if (strcasecmp(name, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, name, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool url_is_loopback(const char *url)
{
	return host_is_loopback(url + scheme_len(url));
}

char *url_escape(const char *text)
{
	char *ret = xcalloc(strlen(text) + 1, 3), *out = ret;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~", c))
			*out++ = (char)c;
		else
			out += snprintf(out, 4, "%%%02X", c);
	}
	return ret;
}
