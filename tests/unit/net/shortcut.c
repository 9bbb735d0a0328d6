/* tests/unit/net/shortcut.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel runs the programs with frames that are made here (BPF_PROG_TEST_RUN), as if
 * they had come in by lo.  Nothing of it reaches a link.
 */
#include "tests/unit/unit.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/shortcut.h"

#define LINK     1 /* lo */
#define TRIES    2000
#define FIN      0x01
#define SYN      0x02
#define RST      0x04
#define ACK      0x10
#define LONG_WAY ((uint32_t)TC_ACT_UNSPEC)

static struct shortcut programs = SHORTCUT_NONE;

static int close_programs(void **state)
{
	(void)state;
	shortcut_close(&programs);
	return 0;
}

/* As root only. */
static struct shortcut *open_programs(void)
{
	struct err e = {0};
	int r = programs.ways_fd < 0 ? shortcut_open(&programs, &e) : 0;

	if (r == -EPERM || r == -EACCES || r == -ENOSYS)
		skip();
	assert_ok(r);
	shortcut_forget(&programs, 0);
	return &programs;
}

struct frame {
	unsigned char data[128];
	uint32_t size;
};

/* 172.28.0.3:1024 to 172.28.0.4:80, or fd00::3 to fd00::4. */
static struct frame frame_of(uint8_t protocol, uint8_t tcp_flags, bool v6)
{
	static const unsigned char ports[] = {4, 0, 0, 80};
	static const unsigned char v4[] = {0x45, 0,    0,   60, 0, 7, 0x40, 0,  64, 0,
					   0x12, 0x34, 172, 28, 0, 3, 172,  28, 0,  4};
	struct frame f = {.size = 100};
	unsigned char *ip = f.data + ETH_HLEN, *transport = ip + (v6 ? 40 : 20);

	f.data[12] = v6 ? 0x86 : 0x08;
	f.data[13] = v6 ? 0xdd : 0x00;
	memcpy(ip, v4, v6 ? 0 : sizeof(v4));
	if (v6) {
		ip[0] = 0x60;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfd;
		ip[23] = 3;
		ip[39] = 4;
	}
	ip[v6 ? 6 : 9] = protocol;
	memcpy(transport, ports, sizeof(ports));
	transport[13] = tcp_flags;
	return f;
}

static struct shortcut_key key_of(uint8_t protocol, bool v6)
{
	struct shortcut_key k = {.link = LINK,
				 .ports = {4, 0, 0, 80},
				 .source = {[12] = 172, 28, 0, 3},
				 .destination = {[12] = 172, 28, 0, 4},
				 .protocol = protocol};
	struct shortcut_key k6 = {.link = LINK,
				  .ports = {4, 0, 0, 80},
				  .source = {0xfd, [15] = 3},
				  .destination = {0xfd, [15] = 4},
				  .protocol = SHORTCUT_IPV6 | protocol};

	return v6 ? k6 : k;
}

static void put_way(struct shortcut *s, const struct shortcut_key *key)
{
	const struct shortcut_way way = {.place = shortcut_place(key, LINK),
					 .macs = {2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4}};

	shortcut_put(s, key, &way);
}

/* What the program says; the frame becomes what it made of it. */
static uint32_t run(struct shortcut *s, bool receiving, struct frame *f)
{
	struct __sk_buff context = {.ingress_ifindex = LINK};
	unsigned char out[sizeof(f->data)] = {0};
	union bpf_attr attr = {.test = {.prog_fd = (uint32_t)s->program_fds[receiving ? 0 : 1],
					.data_in = (uintptr_t)f->data,
					.data_size_in = f->size,
					.data_out = (uintptr_t)out,
					.data_size_out = sizeof(out),
					.ctx_in = (uintptr_t)&context,
					.ctx_size_in = sizeof(context)}};

	assert_int_equal(syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
	memcpy(f->data, out, f->size);
	return attr.test.retval;
}

static bool is_short(struct shortcut *s, const struct frame *f)
{
	struct frame copy = *f;
	uint32_t verdict = run(s, true, &copy);

	assert_true(verdict == TC_ACT_REDIRECT || verdict == LONG_WAY);
	if (verdict == LONG_WAY)
		assert_memory_equal(copy.data, f->data, f->size);
	return verdict == TC_ACT_REDIRECT;
}

/* It goes the long way, again and again. */
static void pass(struct shortcut *s, const struct frame *f)
{
	for (int i = 0; i < TRIES; i++) {
		struct frame copy = *f;

		assert_int_equal(run(s, false, &copy), LONG_WAY);
	}
}

static void a_way_is_used_once_a_packet_has_passed_beside_it(void **state)
{
	static const struct {
		uint8_t protocol;
		bool v6;
	} cases[] = {{IPPROTO_TCP, false},
		     {IPPROTO_UDP, false},
		     {IPPROTO_TCP, true},
		     {IPPROTO_UDP, true}};
	struct shortcut *s = open_programs();

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		const struct shortcut_key key = key_of(cases[i].protocol, cases[i].v6);
		const struct frame f = frame_of(cases[i].protocol, ACK, cases[i].v6);

		assert_false(is_short(s, &f));
		put_way(s, &key);
		assert_false(is_short(s, &f));
		pass(s, &f);
		assert_true(is_short(s, &f));
	}
}

static uint16_t sum_of(const unsigned char *header)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < 20; i += 2)
		sum += (uint32_t)(header[i] << 8 | header[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static void the_frame_is_as_routing_makes_it(void **state)
{
	const unsigned char macs[] = {2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4};
	struct shortcut *s = open_programs();

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		const struct shortcut_key key = key_of(IPPROTO_TCP, v6);

		/* All sums of the header, where carries come and go. */
		for (unsigned id = 0; id < (v6 ? 1 : 0x10000); id += 0x35) {
			struct frame f = frame_of(IPPROTO_TCP, ACK, v6), before;

			f.data[ETH_HLEN + 4] = v6 ? 0 : (unsigned char)(id >> 8);
			f.data[ETH_HLEN + 5] = (unsigned char)id;
			before = f;
			put_way(s, &key);
			if (id == 0)
				pass(s, &f);
			assert_int_equal(run(s, true, &f), TC_ACT_REDIRECT);
			assert_memory_equal(f.data, macs, sizeof(macs));
			assert_int_equal(f.data[ETH_HLEN + (v6 ? 7 : 8)], 63);
			if (!v6)
				assert_int_equal(sum_of(f.data + ETH_HLEN) % 0xffff,
						 sum_of(before.data + ETH_HLEN) % 0xffff);
			assert_memory_equal(f.data + ETH_HLEN + 20, before.data + ETH_HLEN + 20,
					    60);
		}
	}
}

static void what_is_not_as_in_the_key_goes_the_long_way(void **state)
{
	static const struct {
		unsigned at, value;
	} changes[] = {
		{ETH_HLEN, 0x46},     /* options */
		{ETH_HLEN, 0x65},     /* another version */
		{ETH_HLEN + 6, 0x20}, /* more fragments */
		{ETH_HLEN + 7, 1},    /* a later one */
		{ETH_HLEN + 8, 1},    /* its last hop */
		{ETH_HLEN + 9, 1},    /* ICMP */
		{ETH_HLEN + 9, 17},   /* UDP */
		{ETH_HLEN + 9, 132},  /* SCTP */
		{ETH_HLEN + 15, 9},   /* forged */
		{ETH_HLEN + 19, 9},   /* to another */
		{ETH_HLEN + 21, 9},   /* ports */
		{ETH_HLEN + 23, 9},
		{13, 6}, /* ARP */
		{0, 2},  /* to another MAC */
		{0, 255},
	};
	struct shortcut *s = open_programs();
	const struct shortcut_key key = key_of(IPPROTO_TCP, false);
	const struct frame right = frame_of(IPPROTO_TCP, ACK, false);

	(void)state;
	put_way(s, &key);
	pass(s, &right);
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		struct frame f = right;

		f.data[changes[i].at] = (unsigned char)changes[i].value;
		if (is_short(s, &f))
			fail_msg("%u at %u has a shortcut", changes[i].value, changes[i].at);
	}
	for (uint32_t size = ETH_HLEN + 20; size < ETH_HLEN + 34; size++) {
		struct frame f = right;

		f.size = size;
		assert_false(is_short(s, &f));
	}
	assert_true(is_short(s, &right));
}

static void what_begins_or_ends_a_connection_takes_the_way_away(void **state)
{
	static const uint8_t flags[] = {SYN, SYN | ACK, FIN | ACK, RST, RST | ACK};
	struct shortcut *s = open_programs();
	const struct shortcut_key key = key_of(IPPROTO_TCP, false);
	const struct frame middle = frame_of(IPPROTO_TCP, ACK, false);

	(void)state;
	for (size_t i = 0; i < sizeof(flags); i++) {
		const struct frame end = frame_of(IPPROTO_TCP, flags[i], false);

		put_way(s, &key);
		pass(s, &middle);
		assert_true(is_short(s, &middle));
		assert_false(is_short(s, &end));
		assert_false(is_short(s, &middle));
		pass(s, &middle);
		assert_false(is_short(s, &middle));
	}
}

static void ways_are_forgotten_by_link(void **state)
{
	struct shortcut *s = open_programs();
	const struct shortcut_key key = key_of(IPPROTO_TCP, false);
	const struct frame f = frame_of(IPPROTO_TCP, ACK, false);

	(void)state;
	for (uint32_t link = 0; link <= LINK; link++) {
		put_way(s, &key);
		pass(s, &f);
		shortcut_forget(s, LINK + 1);
		assert_true(is_short(s, &f));
		shortcut_forget(s, link);
		assert_false(is_short(s, &f));
	}
}

/* A way that was another's a moment ago, in the same memory. */
static void a_way_to_somebody_else_is_not_used(void **state)
{
	struct shortcut *s = open_programs();
	const struct shortcut_key key = key_of(IPPROTO_TCP, false);
	const struct frame f = frame_of(IPPROTO_TCP, ACK, false);
	struct shortcut_key other = key;
	struct shortcut_way way;

	(void)state;
	other.destination[15] = 9;
	way = (struct shortcut_way){.place = shortcut_place(&other, LINK)};
	shortcut_put(s, &key, &way);
	pass(s, &f);
	assert_false(is_short(s, &f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_way_is_used_once_a_packet_has_passed_beside_it),
		cmocka_unit_test(the_frame_is_as_routing_makes_it),
		cmocka_unit_test(what_is_not_as_in_the_key_goes_the_long_way),
		cmocka_unit_test(what_begins_or_ends_a_connection_takes_the_way_away),
		cmocka_unit_test(ways_are_forgotten_by_link),
		cmocka_unit_test(a_way_to_somebody_else_is_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, close_programs);
}
