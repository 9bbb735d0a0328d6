/* tests/unit/net/netlink.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "net/netlink.h"

/* One datagram of the kernel. */
struct datagram {
	_Alignas(8) char data[1024];
	size_t size;
};

static void add(struct datagram *d, uint16_t type, uint16_t flags, uint32_t seq, const void *body,
		size_t size)
{
	struct nlmsghdr h = {.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + size),
			     .nlmsg_type = type,
			     .nlmsg_flags = flags,
			     .nlmsg_seq = seq};

	memcpy(d->data + d->size, &h, sizeof(h));
	if (size)
		memcpy(d->data + d->size + NLMSG_HDRLEN, body, size);
	d->size += NLMSG_ALIGN(h.nlmsg_len);
}

static void add_error(struct datagram *d, uint32_t seq, int error, const char *text)
{
	struct {
		struct nlmsgerr err;
		struct nlattr attr;
		char text[64];
	} body = {.err = {.error = -error}};
	size_t len = text ? strlen(text) + 1 : 0;

	body.attr = (struct nlattr){.nla_type = NLMSGERR_ATTR_MSG,
				    .nla_len = (uint16_t)(NLA_HDRLEN + len)};
	if (len)
		memcpy(body.text, text, len);
	add(d, NLMSG_ERROR, text ? NLM_F_ACK_TLVS | NLM_F_CAPPED : NLM_F_CAPPED, seq, &body,
	    sizeof(body.err) + (text ? NLA_HDRLEN + len : 0));
}

static int count_object(const struct nlmsghdr *h, void *arg, struct err *e)
{
	(void)h;
	(void)e;
	++*(int *)arg;
	return 0;
}

static void the_last_acknowledgement_ends_a_batch(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 12};
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add_error(&d, 10, 0, NULL);
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_false(a.done);
	add_error(&d, 12, 0, NULL);
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_true(a.done);
	assert_int_equal(a.code, 0);
}

static void the_first_error_is_kept_with_the_kernels_words(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 12};
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add_error(&d, 11, EEXIST, "there is one");
	add_error(&d, 12, EINVAL, "and then this");
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_true(a.done);
	assert_int_equal(a.code, EEXIST);
	assert_int_equal(a.seq, 11);
	assert_string_equal(a.text, "there is one");
}

static void an_error_may_be_passed_over(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 11, .pass_over = ESRCH};
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add_error(&d, 10, ESRCH, NULL);
	add_error(&d, 11, ESRCH, NULL);
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_true(a.done);
	assert_int_equal(a.code, 0);
}

static void an_error_of_the_bracket_ends_all(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 12, .bracketed = true};
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add_error(&d, 10, EPERM, NULL);
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_true(a.done);
	assert_int_equal(a.code, EPERM);
}

static void answers_to_others_are_passed_over(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 11};
	struct datagram d = {0};
	struct err e = {0};
	int count = 0;
	const struct netlink_dump dump = {count_object, NULL, &count};

	(void)state;
	add_error(&d, 9, EPERM, NULL);
	add_error(&d, 12, EPERM, NULL);
	add(&d, RTM_NEWLINK, 0, 9, "xxxx", 4);
	assert_ok(netlink_read(&a, d.data, d.size, &dump, &e));
	assert_false(a.done);
	assert_int_equal(a.code, 0);
	assert_int_equal(count, 0);
}

static void a_dump_gives_each_object_and_says_when_it_changed(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 10};
	struct datagram d = {0};
	struct err e = {0};
	int count = 0, zero = 0;
	const struct netlink_dump dump = {count_object, NULL, &count};

	(void)state;
	add(&d, RTM_NEWLINK, NLM_F_MULTI, 10, "xxxx", 4);
	add(&d, RTM_NEWLINK, NLM_F_MULTI | NLM_F_DUMP_INTR, 10, "xxxx", 4);
	add(&d, NLMSG_DONE, NLM_F_MULTI, 10, &zero, sizeof(zero));
	assert_ok(netlink_read(&a, d.data, d.size, &dump, &e));
	assert_true(a.done);
	assert_true(a.interrupted);
	assert_int_equal(count, 2);
}

static void a_dump_may_end_with_an_error(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 10};
	struct datagram d = {0};
	struct err e = {0};
	int code = -ENOENT;

	(void)state;
	add(&d, NLMSG_DONE, NLM_F_MULTI, 10, &code, sizeof(code));
	assert_ok(netlink_read(&a, d.data, d.size, NULL, &e));
	assert_true(a.done);
	assert_int_equal(a.code, ENOENT);
}

static void what_is_cut_off_is_refused(void **state)
{
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add_error(&d, 10, EPERM, "words");
	for (size_t size = 1; size < d.size - 3; size++) {
		struct netlink_answer a = {.first = 10, .last = 10};

		assert_fails(netlink_read(&a, d.data, size, NULL, &e), EBADMSG);
		assert_false(a.done && a.code == 0);
	}
}

static void a_short_error_is_refused(void **state)
{
	struct netlink_answer a = {.first = 10, .last = 10};
	struct datagram d = {0};
	struct err e = {0};

	(void)state;
	add(&d, NLMSG_ERROR, 0, 10, "xx", 2);
	assert_fails(netlink_read(&a, d.data, d.size, NULL, &e), EBADMSG);
}

static void a_batch_is_requests_one_behind_the_other(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 5};
	auto_batch struct batch b = BATCH_INIT;
	const struct nlmsghdr *h;
	const struct buf *bytes;

	(void)state;
	batch_add(&b, RTM_NEWLINK, NLM_F_CREATE, &link, sizeof(link), "first");
	batch_text(&b, 3, "eth0");
	batch_add(&b, RTM_SETLINK, 0, &link, sizeof(link), "second %d", 2);
	bytes = batch_bytes(&b);

	h = (const void *)bytes->data;
	assert_int_equal(h->nlmsg_type, RTM_NEWLINK);
	assert_int_equal(h->nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE);
	assert_int_equal(h->nlmsg_len, 16 + 16 + 12);
	h = (const void *)(bytes->data + 44);
	assert_int_equal(h->nlmsg_type, RTM_SETLINK);
	assert_int_equal(bytes->size, 44 + 32);
	assert_int_equal(b.count, 2);
	assert_string_equal(b.notes[1], "second 2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_acknowledgement_ends_a_batch),
		cmocka_unit_test(the_first_error_is_kept_with_the_kernels_words),
		cmocka_unit_test(an_error_may_be_passed_over),
		cmocka_unit_test(an_error_of_the_bracket_ends_all),
		cmocka_unit_test(answers_to_others_are_passed_over),
		cmocka_unit_test(a_dump_gives_each_object_and_says_when_it_changed),
		cmocka_unit_test(a_dump_may_end_with_an_error),
		cmocka_unit_test(what_is_cut_off_is_refused),
		cmocka_unit_test(a_short_error_is_refused),
		cmocka_unit_test(a_batch_is_requests_one_behind_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
