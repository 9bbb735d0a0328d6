/* tests/unit/base/tls.c - with base/cert.c, which makes what it needs
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/tls.h"

#define HOUR_MS 3600000LL

struct authority {
	struct cert_authority *ca;
	char pin[SHA256_HEX];
};

static void make_authority(struct authority *ret)
{
	auto_free char *pem = NULL;
	struct err e = {0};

	assert_ok(cert_authority_make("a test", &pem, &e));
	assert_ok(cert_authority_open(pem, &ret->ca, &e));
	assert_ok(cert_fingerprint(cert_authority_certificate(ret->ca), ret->pin, &e));
}

struct party {
	char *key, *certificate, id[SHA256_HEX];
	struct tls_credentials *credentials;
	struct tls *tls;
	int fd;
};

static void certify(const struct authority *a, const char *name, enum cert_purpose purpose,
		    int64_t until_ms, struct party *ret)
{
	auto_free char *request = NULL;
	struct err e = {0};

	assert_ok(cert_key_make(&ret->key, &e));
	assert_ok(cert_request_make(ret->key, &request, &e));
	assert_ok(cert_request_key(request, ret->id, &e));
	assert_ok(cert_authority_sign(a->ca, request, name, purpose, clock_wall_ms(), until_ms,
				      &ret->certificate, &e));
}

static void open_party(struct party *p, bool server, const char *pin, int fd)
{
	const struct tls_options o = {
		.server = server, .authority = pin, .certificate = p->certificate, .key = p->key};
	struct err e = {0};

	assert_ok(tls_credentials_open(&o, &p->credentials, &e));
	p->fd = fd;
	p->tls = tls_new(p->credentials, fd);
}

static void party_done(struct party *p)
{
	tls_free(p->tls);
	tls_credentials_free(p->credentials);
	(void)close(p->fd);
	free(p->key);
	free(p->certificate);
}

/* Both until neither waits; results in the order server, client. */
static void shake_hands(struct party *server, struct party *client, int ret[2], struct err e[2])
{
	ret[0] = ret[1] = TLS_AGAIN;
	for (int i = 0; i < 100 && (ret[0] == TLS_AGAIN || ret[1] == TLS_AGAIN); i++) {
		if (ret[1] == TLS_AGAIN)
			ret[1] = tls_handshake(client->tls, &e[1]);
		if (ret[0] == TLS_AGAIN)
			ret[0] = tls_handshake(server->tls, &e[0]);
	}
}

static void connect_both(struct party *server, const char *server_pin, struct party *client,
			 const char *client_pin)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	open_party(server, true, server_pin, fds[0]);
	open_party(client, false, client_pin, fds[1]);
}

static void both_know_each_other_and_talk(void **state)
{
	struct authority a;
	struct party server = {0}, client = {0};
	struct err e[2] = {0};
	static char big[100000], got[100000];
	size_t sent = 0, have = 0;
	int r[2];

	(void)state;
	make_authority(&a);
	certify(&a, TLS_SERVER_NAME, CERT_SERVER, clock_wall_ms() + HOUR_MS, &server);
	certify(&a, "node-1", CERT_CLIENT, clock_wall_ms() + HOUR_MS, &client);
	connect_both(&server, a.pin, &client, a.pin);
	shake_hands(&server, &client, r, e);
	assert_int_equal(r[0], 0);
	assert_int_equal(r[1], 0);
	assert_string_equal(tls_peer(server.tls)->name, "node-1");
	assert_string_equal(tls_peer(server.tls)->key, client.id);
	assert_string_equal(tls_peer(client.tls)->name, TLS_SERVER_NAME);

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	while (have < sizeof(big)) {
		ssize_t n = sent < sizeof(big)
				    ? tls_write(client.tls, big + sent, sizeof(big) - sent)
				    : 0;

		assert_true(n >= 0 || n == -EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		n = tls_read(server.tls, got + have, sizeof(got) - have);
		assert_true(n > 0 || n == -EAGAIN);
		have += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(big, got, sizeof(big));
	party_done(&client);
	party_done(&server);
	cert_authority_free(a.ca);
}

/* A key, and a request for it whose subject is CN=somebody else. */
static const char odd_key[] = "-----BEGIN PRIVATE KEY-----\n"
			      "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKageER+omrH9CsnK\n"
			      "dKFlQqC6rBgA9bFn/cr1esBwJi2hRANCAATfuIOBdz+PRkpVE6nBKFmhzJeYyflJ\n"
			      "8PXKMAfEK+x56gFrWknvteQLGDOAyRgntd+n40tsHlOEkiAMTFviWjrQ\n"
			      "-----END PRIVATE KEY-----\n";
static const char odd_request[] =
	"-----BEGIN CERTIFICATE REQUEST-----\n"
	"MIHTMHoCAQAwGDEWMBQGA1UEAwwNc29tZWJvZHkgZWxzZTBZMBMGByqGSM49AgEG\n"
	"CCqGSM49AwEHA0IABN+4g4F3P49GSlUTqcEoWaHMl5jJ+Unw9cowB8Qr7HnqAWta\n"
	"Se+15AsYM4DJGCe136fjS2weU4SSIAxMW+JaOtCgADAKBggqhkjOPQQDAgNJADBG\n"
	"AiEAzqH62IRBU7ttkT1gc9QBRXwm0xrgLV3IgN4ZlLstnLYCIQClm9drY7MaO2lA\n"
	"1ABiC+x0GCcIJTG5xYvdK4BqFtW4cg==\n"
	"-----END CERTIFICATE REQUEST-----\n";

static void a_request_does_not_choose_its_name(void **state)
{
	struct authority a;
	struct party server = {0}, client = {.key = xstrdup(odd_key)};
	struct err e = {0}, each[2] = {0};
	int r[2];

	(void)state;
	make_authority(&a);
	certify(&a, TLS_SERVER_NAME, CERT_SERVER, clock_wall_ms() + HOUR_MS, &server);
	assert_ok(cert_authority_sign(a.ca, odd_request, "node-1", CERT_CLIENT, clock_wall_ms(),
				      clock_wall_ms() + HOUR_MS, &client.certificate, &e));
	connect_both(&server, a.pin, &client, a.pin);
	shake_hands(&server, &client, r, each);
	assert_int_equal(r[0], 0);
	assert_string_equal(tls_peer(server.tls)->name, "node-1");
	party_done(&client);
	party_done(&server);
	cert_authority_free(a.ca);
}

static void a_client_without_a_certificate_has_no_name(void **state)
{
	struct authority a;
	struct party server = {0}, client = {0};
	struct err e[2] = {0};
	int r[2];

	(void)state;
	make_authority(&a);
	certify(&a, TLS_SERVER_NAME, CERT_SERVER, clock_wall_ms() + HOUR_MS, &server);
	connect_both(&server, a.pin, &client, a.pin);
	shake_hands(&server, &client, r, e);
	assert_int_equal(r[0], 0);
	assert_int_equal(r[1], 0);
	assert_null(tls_peer(server.tls));
	party_done(&client);
	party_done(&server);
	cert_authority_free(a.ca);
}

static void who_is_not_of_the_authority_is_refused(void **state)
{
	static const struct {
		const char *what, *server_name, *client_name;
		bool foreign_server, foreign_client, swapped;
		int64_t client_ms;  /* that the client's certificate has left */
		int server, client; /* results; 0: it does not matter or works */
		const char *says;
	} cases[] = {
		{"a server of another authority", TLS_SERVER_NAME, "n", true, false, false, HOUR_MS,
		 0, EKEYREJECTED, "another authority"},
		{"a client of another authority", TLS_SERVER_NAME, "n", false, true, false, HOUR_MS,
		 EKEYREJECTED, 0, "another authority"},
		{"a node in the server's place", "n", "n", false, false, true, HOUR_MS, 0,
		 EKEYREJECTED, "not one of the authority for a server"},
		{"a server of another name", "elsewhere", "n", false, false, false, HOUR_MS, 0,
		 EKEYREJECTED, "elsewhere, not the server"},
		{"a certificate that has expired", TLS_SERVER_NAME, "n", false, false, false,
		 -HOUR_MS, EKEYEXPIRED, 0, "not of this time"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct authority ours, theirs;
		struct party server = {0}, client = {0};
		struct err e[2] = {0};
		int r[2];

		make_authority(&ours);
		make_authority(&theirs);
		certify(cases[i].foreign_server ? &theirs : &ours, cases[i].server_name,
			cases[i].swapped ? CERT_CLIENT : CERT_SERVER, clock_wall_ms() + HOUR_MS,
			&server);
		certify(cases[i].foreign_client ? &theirs : &ours, cases[i].client_name,
			CERT_CLIENT, clock_wall_ms() + cases[i].client_ms, &client);
		connect_both(&server, ours.pin, &client, ours.pin);
		shake_hands(&server, &client, r, e);
		if (cases[i].server) {
			assert_int_equal(r[0], -cases[i].server);
			assert_non_null(strstr(e[0].msg, cases[i].says));
		}
		if (cases[i].client) {
			assert_int_equal(r[1], -cases[i].client);
			assert_non_null(strstr(e[1].msg, cases[i].says));
		}
		party_done(&client);
		party_done(&server);
		cert_authority_free(ours.ca);
		cert_authority_free(theirs.ca);
	}
}

static void what_is_no_request_is_not_signed(void **state)
{
	static const char *const requests[] = {
		"", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\n",
		"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"};
	struct authority a;
	auto_free char *pem = NULL;
	char id[SHA256_HEX];
	struct err e = {0};

	(void)state;
	make_authority(&a);
	for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
		assert_fails(cert_request_key(requests[i], id, &e), EBADMSG);
		assert_fails(cert_authority_sign(a.ca, requests[i], "n", CERT_CLIENT,
						 clock_wall_ms(), clock_wall_ms(), &pem, &e),
			     EBADMSG);
	}
	cert_authority_free(a.ca);
}

static void a_changed_request_is_noticed(void **state)
{
	auto_free char *key = NULL, *request = NULL;
	char id[SHA256_HEX], *at;
	struct err e = {0};

	(void)state;
	assert_ok(cert_key_make(&key, &e));
	assert_ok(cert_request_make(key, &request, &e));
	at = strstr(request, "-----\n") + 60; /* inside the key */
	*at = *at == 'A' ? 'B' : 'A';
	assert_fails(cert_request_key(request, id, &e), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_does_not_choose_its_name),
		cmocka_unit_test(both_know_each_other_and_talk),
		cmocka_unit_test(a_client_without_a_certificate_has_no_name),
		cmocka_unit_test(who_is_not_of_the_authority_is_refused),
		cmocka_unit_test(what_is_no_request_is_not_signed),
		cmocka_unit_test(a_changed_request_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
