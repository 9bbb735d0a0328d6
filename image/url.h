/* image/url.h - the little that we do with URLs ourselves
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* "https://host:port" of an http or https URL: how long it is; 0: it is none. */
size_t url_origin_len(const char *url);
bool url_is_https(const char *url);
bool url_same_origin(const char *a, const char *b);

/*
 * Where a redirect from 'from' leads; malloc'ed.  Refused: anything but http
 * and https, from https to http, a user in it, control characters.
 */
int url_redirect(const char *from, const char *location, char **ret, struct err *e);

/* Is "host[:port]" (of the URL) this machine, by its name: localhost, 127.0.0.0/8, ::1? */
bool host_is_loopback(const char *host);
bool url_is_loopback(const char *url);

/* 'text' with all but unreserved characters as %XX; malloc'ed. */
char *url_escape(const char *text);
