/* scheduler/authority.c - who signs the certificates of nodes
 * SPDX-License-Identifier: Apache-2.0
 *
 * One key for the cluster, in authority.pem of the state directory.  Nodes know
 * it by the SHA-256 of its certificate, which each token has in it.  The
 * server's own key and certificate are made anew at each start and are never
 * on a disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/fs.h"
#include "scheduler/internal.h"

#define NAME        "Berth cluster"
#define SERVER_DAYS 3650 /* nodes judge it by the authority, not by the time */
#define DAY_MS      (24 * 3600 * 1000LL)

struct authority {
	struct cert_authority *ca;
	struct tls_credentials *credentials;
	char fingerprint[SHA256_HEX];
};

static int make(const char *path, char **ret, struct err *e)
{
	auto_free char *pem = NULL;

	if (cert_authority_make(NAME, &pem, e) < 0 ||
	    fs_replace(AT_FDCWD, path, pem, strlen(pem), 0600, FS_DURABLE, e) < 0)
		return -e->code;
	*ret = take_ptr(pem);
	return 0;
}

static int read_or_make(const char *dir, char **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/authority.pem", dir);
	auto_buf struct buf b = BUF_INIT(CERT_PEM_MAX);
	int r = fs_read(AT_FDCWD, path, &b, e);

	if (r == -ENOENT)
		return make(path, ret, e);
	if (r < 0)
		return r;
	*ret = xstrdup(buf_str(&b));
	explicit_bzero(b.data, b.size);
	return 0;
}

static int make_own(struct authority *a, struct err *e)
{
	struct tls_options o = {.server = true, .authority = a->fingerprint};
	auto_free char *key = NULL, *request = NULL, *certificate = NULL;
	int64_t now_ms = clock_wall_ms();
	int r;

	if (cert_key_make(&key, e) < 0)
		return -e->code;
	r = cert_request_make(key, &request, e);
	if (r == 0)
		r = cert_authority_sign(a->ca, request, TLS_SERVER_NAME, CERT_SERVER, now_ms,
					now_ms + SERVER_DAYS * DAY_MS, &certificate, e);
	if (r == 0) {
		o.certificate = certificate;
		o.key = key;
		r = tls_credentials_open(&o, &a->credentials, e);
	}
	explicit_bzero(key, strlen(key));
	return r;
}

int authority_open(const char *dir, struct authority **ret, struct err *e)
{
	struct authority *a = xcalloc(1, sizeof(*a));
	auto_free char *pem = NULL;
	int r = read_or_make(dir, &pem, e);

	if (r == 0)
		r = cert_authority_open(pem, &a->ca, e);
	if (r == 0)
		r = cert_fingerprint(cert_authority_certificate(a->ca), a->fingerprint, e);
	if (r == 0)
		r = make_own(a, e);
	if (pem)
		explicit_bzero(pem, strlen(pem));
	if (r < 0) {
		authority_free(a);
		return err_wrap(e, "authority of the cluster");
	}
	*ret = a;
	return 0;
}

void authority_free(struct authority *a)
{
	if (!a)
		return;
	tls_credentials_free(a->credentials);
	cert_authority_free(a->ca);
	free(a);
}

const char *authority_fingerprint(const struct authority *a)
{
	return a->fingerprint;
}

const struct tls_credentials *authority_credentials(const struct authority *a)
{
	return a->credentials;
}

int authority_certify(const struct authority *a, const char *request, const char *instance,
		      int64_t until_ms, char **ret, struct err *e)
{
	return cert_authority_sign(a->ca, request, instance, CERT_CLIENT, clock_wall_ms(), until_ms,
				   ret, e);
}
