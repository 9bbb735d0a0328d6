/* agent/sharing.c - images from and for other nodes of the cluster
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A pull says of each blob that it wants it.  The server is asked where it is to be had, and
 * names another node, or the registry; as long as another node fetches it, it says nothing.
 * Without a server everything comes from registries.  What came is told, so others get it here.
 *
 * Nodes know each other by keys that are for nothing else: made anew at each start, told the
 * server in hello, which tells them to whom they meet.  So neither the process that talks to
 * registries nor the one that serves strangers holds the key by which the server knows us.
 *
 * Who serves (image/server.c) is started when the first visitor is announced, and ended when
 * none has been for long.  The listening socket is ours, so that nobody is turned away meanwhile.
 *
 * A node that was no good is avoided for a while, whatever it has.  Where several in a row
 * were none (a site behind a firewall has no way to the others) nobody is asked for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"

#define IDLE_MS     (30 * 60 * 1000LL) /* without a visitor nobody serves */
#define HOLDS_MS    (5 * 60 * 1000LL)  /* between two looks at what is held */
#define CHANGED_MS  2000               /* until what was removed has gone */
#define AVOID_MS    (10 * 60 * 1000LL)
#define BAD_MAX     3 /* nodes in a row that were no good: then the registry has it */
#define KEY_LIFE_MS (10LL * 365 * 24 * 3600 * 1000)

struct want {
	struct want *next;
	struct image_pull *pull; /* borrowed */
	char *digest;
	uint64_t size;
	bool serves;
	bool waits; /* for the server's answer */
	char from[IMAGE_PEER_TEXT];
};

struct avoided {
	char instance[IMAGE_PEER_TEXT];
	int64_t until_ms;
};

struct sharing {
	struct agent *agent;
	char *file; /* key and certificates, for fetchers */
	char *key, *certificate;
	char id[SHA256_HEX];
	int64_t port; /* 0: we serve nobody */
	bool connected;
	struct image_server *server;
	struct loop_fd *watch;
	struct loop_timer *idle, *look;
	struct want *wants;
	struct avoided avoided[ECS_NODE_AVOID_MAX];
	size_t avoided_next;
	unsigned bad;     /* nodes since one was good */
	int64_t rests_ms; /* monotonic: until then nobody is asked */
	uint64_t told;    /* a sum of what was said to be held */
	bool told_more;   /* blobs that came since */
};

/* ---- who we are ---- */

static int make_key(struct sharing *s, struct err *e)
{
	auto_free char *authority_pem = NULL, *request = NULL;
	struct cert_authority *authority = NULL;
	int64_t now_ms = clock_wall_ms();
	int r;

	if (cert_authority_make("Berth node", &authority_pem, e) < 0 ||
	    cert_key_make(&s->key, e) < 0 || cert_request_make(s->key, &request, e) < 0 ||
	    cert_request_key(request, s->id, e) < 0 ||
	    cert_authority_open(authority_pem, &authority, e) < 0)
		return -e->code;
	r = cert_authority_sign(authority, request, "node", CERT_SERVER, now_ms,
				now_ms + KEY_LIFE_MS, &s->certificate, e);
	cert_authority_free(authority);
	return r;
}

/* Where the fetcher finds it as root; it is worth nothing beyond this run of ours. */
static int write_key(struct sharing *s, struct err *e)
{
	auto_free char *text = xasprintf("%s%s", s->key, s->certificate);
	int r;

	s->file = xasprintf("%s/share.pem", s->agent->o->run_dir);
	r = fs_replace(AT_FDCWD, s->file, text, strlen(text), 0600, FS_QUICK, e);
	explicit_bzero(text, strlen(text));
	return r;
}

static int64_t port_of(int fd)
{
	struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(addr);

	if (fd < 0 || getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
						: ((struct sockaddr_in *)&addr)->sin_port);
}

void sharing_describe(const struct sharing *s, struct arena *arena, struct ecs_node_hello *hello)
{
	if (!s)
		return;
	hello->share_port = s->port;
	hello->share_key = arena_strdup(arena, s->id);
}

/* ---- what is held ---- */

struct holding {
	struct arena arena;
	struct js_strings digests;
	size_t capacity;
	uint64_t sum;
};

static void add_held(void *ctx, const char *digest)
{
	struct holding *h = ctx;
	unsigned char bytes[SHA256_SIZE];
	uint64_t part;

	if (h->digests.count == ECS_NODE_HOLDS_MAX ||
	    !hex_decode(digest + strlen("sha256:"), bytes, sizeof(bytes)))
		return;
	memcpy(&part, bytes, sizeof(part));
	h->sum += part;
	h->digests.items = xgrow(h->digests.items, h->digests.count, &h->capacity, sizeof(char *));
	h->digests.items[h->digests.count++] = arena_strdup(&h->arena, digest);
}

/* Unless that is what the server knows. */
static void tell_held(struct sharing *s, bool always)
{
	struct holding h = {.capacity = 0};
	struct err e = {0};

	if (s->connected && s->port) {
		if (image_each_content(s->agent->images, add_held, &h, &e) < 0) {
			log_warn("sharing: %s", e.msg);
		} else if (always || s->told_more || h.sum != s->told) {
			const struct ecs_node_holds message = {.full = true, .digests = h.digests};

			(void)channel_send(s->agent->channel, ECS_NODE_HOLDS, &message);
			s->told = h.sum;
			s->told_more = false;
		}
	}
	free(h.digests.items);
	arena_done(&h.arena);
}

static void on_look(void *ctx)
{
	struct sharing *s = ctx;

	tell_held(s, false);
	loop_timer_set(s->look, HOLDS_MS);
}

void sharing_changed(struct sharing *s)
{
	if (s)
		loop_timer_set(s->look, CHANGED_MS);
}

/* ---- wants ---- */

static struct want *find_want(struct sharing *s, const struct image_pull *pull, const char *digest)
{
	struct want *w = s->wants;

	while (w && (w->pull != pull || strcmp(w->digest, digest) != 0))
		w = w->next;
	return w;
}

static void free_want(struct sharing *s, struct want *w)
{
	struct want **p = &s->wants;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	free(w->digest);
	free(w);
}

/* The pull hears it; one that has gone does not care. */
static void answer(struct want *w, const struct image_peer *peer)
{
	struct err ignored;

	w->waits = false;
	(void)snprintf(w->from, sizeof(w->from), "%s", peer ? peer->name : "");
	(void)image_pull_from(w->pull, w->digest, peer, &ignored);
}

static void ask(struct sharing *s, struct want *w)
{
	char *avoid[ECS_NODE_AVOID_MAX];
	struct ecs_node_want message = {.digest = w->digest,
					.size = (int64_t)(w->size < INT64_MAX ? w->size : 0),
					.serves = w->serves,
					.avoid.items = avoid};

	for (size_t i = 0; i < ECS_NODE_AVOID_MAX; i++)
		if (s->avoided[i].until_ms > clock_mono_ms())
			avoid[message.avoid.count++] = s->avoided[i].instance;
	w->waits = channel_send(s->agent->channel, ECS_NODE_WANT, &message);
	if (!w->waits)
		answer(w, NULL);
}

static void tell_got(struct sharing *s, const char *digest, bool failed)
{
	const struct ecs_node_got message = {.digest = (char *)(uintptr_t)digest, .failed = failed};

	(void)channel_send(s->agent->channel, ECS_NODE_GOT, &message);
}

const char *sharing_file(const struct sharing *s)
{
	return s && s->connected && s->rests_ms <= clock_mono_ms() ? s->file : NULL;
}

void sharing_want(struct sharing *s, struct image_pull *pull, const char *digest, uint64_t size,
		  bool keeps_blobs)
{
	struct want *w = find_want(s, pull, digest);

	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->pull = pull;
		w->digest = xstrdup(digest);
		w->size = size;
		w->serves = s->port && (keeps_blobs || s->agent->image_form == IMAGE_INDEXED);
		w->next = s->wants;
		s->wants = w;
	}
	if (s->rests_ms <= clock_mono_ms()) {
		ask(s, w);
		return;
	}
	tell_got(s, digest, true);
	answer(w, NULL);
}

/* False: it was avoided already. */
static bool avoid(struct sharing *s, const char *instance)
{
	struct avoided *a = NULL;
	int64_t now_ms = clock_mono_ms();
	bool is_new;

	for (size_t i = 0; i < ECS_NODE_AVOID_MAX; i++)
		if (strcmp(s->avoided[i].instance, instance) == 0)
			a = &s->avoided[i];
	if (!a)
		a = &s->avoided[s->avoided_next++ % ECS_NODE_AVOID_MAX];
	is_new = strcmp(a->instance, instance) != 0 || a->until_ms <= now_ms;
	(void)snprintf(a->instance, sizeof(a->instance), "%s", instance);
	a->until_ms = now_ms + AVOID_MS;
	return is_new;
}

void sharing_bad(struct sharing *s, const struct image_pull *pull, const char *digest,
		 const char *why)
{
	struct want *w = find_want(s, pull, digest);

	if (!w || !w->from[0])
		return;
	log_warn("node=%s digest=%s: passed over: %s", w->from, digest, why);
	s->bad += avoid(s, w->from);
	w->from[0] = '\0';
	if (s->bad < BAD_MAX)
		return;
	s->bad = 0;
	s->rests_ms = clock_mono_ms() + AVOID_MS;
	log_warn("sharing: %d nodes in a row were no good: registries alone are asked for %lld s",
		 BAD_MAX, AVOID_MS / 1000);
}

void sharing_got(struct sharing *s, const struct image_pull *pull, const char *digest)
{
	struct want *w = find_want(s, pull, digest);

	if (w && w->from[0]) {
		log_info("node=%s digest=%s: came from there", w->from, digest);
		s->bad = 0;
	}
	tell_got(s, digest, false);
	s->told_more = true;
	if (w)
		free_want(s, w);
}

void sharing_over(struct sharing *s, const struct image_pull *pull)
{
	for (struct want *w = s ? s->wants : NULL, *next; w; w = next) {
		next = w->next;
		if (w->pull != pull)
			continue;
		tell_got(s, w->digest, true);
		free_want(s, w);
	}
}

/* ---- what the server says ---- */

void sharing_welcomed(struct sharing *s)
{
	if (!s)
		return;
	s->connected = true;
	tell_held(s, true);
}

void sharing_lost(struct sharing *s)
{
	if (!s)
		return;
	s->connected = false;
	for (struct want *w = s->wants; w; w = w->next)
		if (w->waits)
			answer(w, NULL);
}

/* One that makes no sense is none: the registry has it. */
static bool read_peer(const struct ecs_node_source *m, struct image_peer *ret)
{
	unsigned char key[SHA256_SIZE];
	struct ip_prefix address;

	if (!m->instance_id || !m->address || !m->key || m->port < 1 || m->port > UINT16_MAX ||
	    strlen(m->instance_id) >= sizeof(ret->name) || !hex_decode(m->key, key, sizeof(key)) ||
	    !ip_address_parse(m->address, &address))
		return false;
	(void)snprintf(ret->name, sizeof(ret->name), "%s", m->instance_id);
	(void)snprintf(ret->address, sizeof(ret->address), address.v6 ? "[%s]:%lld" : "%s:%lld",
		       m->address, (long long)m->port);
	hex_encode(key, sizeof(key), ret->key);
	return true;
}

void sharing_on_source(struct sharing *s, const struct ecs_node_source *m)
{
	struct image_peer peer;
	bool is_peer = read_peer(m, &peer);

	for (struct want *w = s ? s->wants : NULL; w; w = w->next)
		if (w->waits && strcmp(w->digest, m->digest) == 0)
			answer(w, is_peer ? &peer : NULL);
}

/* ---- visitors ---- */

static void stop_serving(struct sharing *s)
{
	loop_unwatch(take_ptr(s->watch));
	image_server_stop(take_ptr(s->server));
	loop_timer_stop(s->idle);
}

static void on_idle(void *ctx)
{
	stop_serving(ctx);
}

static void on_server(void *ctx, int events)
{
	struct sharing *s = ctx;
	struct err e = {0};

	(void)events;
	if (image_server_run(s->server, &e) == 0)
		return;
	log_error("sharing: who serves images to other nodes: %s", e.msg);
	stop_serving(s);
}

static int start_serving(struct sharing *s, struct err *e)
{
	const struct image_server_options o = {.store = s->agent->images,
					       .listen_fd = s->agent->o->share_fd,
					       .certificate = s->certificate,
					       .key = s->key,
					       .bytes_per_second = s->agent->o->share_rate};

	if (image_server_start(&o, &s->server, e) < 0)
		return -e->code;
	if (loop_watch(s->agent->loop, image_server_fd(s->server), LOOP_READ, on_server, s,
		       &s->watch, e) == 0)
		return 0;
	image_server_stop(take_ptr(s->server));
	return -e->code;
}

void sharing_on_introduce(struct sharing *s, const struct ecs_node_introduce *m)
{
	unsigned char key[SHA256_SIZE];
	struct err e = {0};

	if (!s || !s->port || !hex_decode(m->key, key, sizeof(key)))
		return;
	if (!s->server && m->gone)
		return;
	if (!s->server && start_serving(s, &e) < 0) {
		log_error("sharing: %s", e.msg);
		return;
	}
	image_server_introduce(s->server, m->key, m->gone);
	if (!m->gone)
		loop_timer_set(s->idle, IDLE_MS);
}

/* ---- life ---- */

struct sharing *sharing_new(struct agent *a)
{
	struct sharing *s;
	struct err e = {0};

	if (!a->o->shares) {
		doctor_tell(a, "sharing", "this node shares no images with others", "");
		return NULL;
	}
	s = xcalloc(1, sizeof(*s));
	s->agent = a;
	s->idle = loop_timer_new(a->loop, on_idle, s);
	s->look = loop_timer_new(a->loop, on_look, s);
	if (make_key(s, &e) < 0 || write_key(s, &e) < 0) {
		doctor_tell(a, "sharing", "this node shares no images with others: ", e.msg);
		sharing_free(s);
		return NULL;
	}
	s->port = port_of(a->o->share_fd);
	doctor_tell(a, "sharing",
		    s->port ? "images come from other nodes, and go to them"
			    : "images come from other nodes, and go to none",
		    "");
	loop_timer_set(s->look, HOLDS_MS);
	return s;
}

void sharing_free(struct sharing *s)
{
	if (!s)
		return;
	stop_serving(s);
	while (s->wants)
		free_want(s, s->wants);
	loop_timer_free(s->idle);
	loop_timer_free(s->look);
	if (s->key)
		explicit_bzero(s->key, strlen(s->key));
	if (s->file)
		(void)unlink(s->file);
	free(s->key);
	free(s->certificate);
	free(s->file);
	free(s);
}
