/* tests/unit/net/watch.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/auto.h"
#include "net/watch.h"

static void tell(struct batch *b, unsigned msg, int family, const char *table)
{
	const struct nfgenmsg nf = {.nfgen_family = (uint8_t)family};

	batch_add(b, NFNL_SUBSYS_NFTABLES << 8 | msg, 0, &nf, sizeof(nf), "x");
	batch_text(b, NFTA_TABLE_NAME, table);
}

static void a_change_is_ours_or_of_a_tool_or_nothing(void **state)
{
	static const struct {
		unsigned msg;
		int family;
		const char *table;
		bool ours, theirs;
	} rows[] = {
		{NFT_MSG_DELTABLE, NFPROTO_INET, "berth", true, false},
		{NFT_MSG_DELSETELEM, NFPROTO_INET, "berth", true, false},
		{NFT_MSG_DELTABLE, NFPROTO_IPV4, "berth", false, false},
		{NFT_MSG_NEWRULE, NFPROTO_INET, "berth-1a2b3c", false, false},
		{NFT_MSG_NEWCHAIN, NFPROTO_IPV4, "filter", false, true},
		{NFT_MSG_NEWRULE, NFPROTO_IPV6, "filter", false, true},
		{NFT_MSG_NEWRULE, NFPROTO_INET, "filter", false, false},
		{NFT_MSG_NEWRULE, NFPROTO_INET, "firewalld", false, true},
		{NFT_MSG_NEWRULE, NFPROTO_IPV4, "nat", false, false},
		{NFT_MSG_NEWGEN, NFPROTO_UNSPEC, "berth", false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_batch struct batch b = BATCH_INIT;
		bool ours = false, theirs = false;
		const struct buf *bytes;

		tell(&b, NFT_MSG_NEWTABLE, NFPROTO_INET, "other");
		tell(&b, rows[i].msg, rows[i].family, rows[i].table);
		bytes = batch_bytes(&b);
		watch_look(bytes->data, bytes->size, "berth", &ours, &theirs);
		assert_int_equal(ours, rows[i].ours);
		assert_int_equal(theirs, rows[i].theirs);
	}
}

static void what_is_not_whole_is_passed_over(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	const struct buf *bytes;

	(void)state;
	tell(&b, NFT_MSG_DELTABLE, NFPROTO_INET, "berth");
	bytes = batch_bytes(&b);
	for (size_t size = 0; size < bytes->size; size++) {
		bool ours = false, theirs = false;

		watch_look(bytes->data, size, "berth", &ours, &theirs);
		assert_false(ours || theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_is_ours_or_of_a_tool_or_nothing),
		cmocka_unit_test(what_is_not_whole_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
