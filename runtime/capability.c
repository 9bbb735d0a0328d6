/* runtime/capability.c - capabilities: names, sets, giving them up
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/capability.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/config.h"
#include "runtime/runtime.h"

#define CAPABILITY_COUNT 64 /* two words of the kernel's interface */

bool capability_find(const char *name, unsigned *ret)
{
	cap_value_t value;

	/* libcap takes lower case, bare numbers and what stands behind a blank too. */
	if (!str_starts(name, "CAP_") || name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")])
		return false;
	if (cap_from_name(name, &value) < 0 || value < 0 || value >= CAPABILITY_COUNT)
		return false;
	*ret = (unsigned)value;
	return true;
}

/* The sets of a config, by name. */
struct named_set {
	const struct js_strings *names;
	uint64_t *bits;
};
#define SET_COUNT 5

static void name_sets(const struct config_capabilities *c, struct capability_sets *s,
		      struct named_set rows[SET_COUNT])
{
	rows[0] = (struct named_set){&c->bounding, &s->bounding};
	rows[1] = (struct named_set){&c->effective, &s->effective};
	rows[2] = (struct named_set){&c->inheritable, &s->inheritable};
	rows[3] = (struct named_set){&c->permitted, &s->permitted};
	rows[4] = (struct named_set){&c->ambient, &s->ambient};
}

static uint64_t to_bits(const struct js_strings *names)
{
	uint64_t bits = 0;
	unsigned n;

	for (size_t i = 0; i < names->count; i++)
		if (capability_find(names->items[i], &n))
			bits |= 1ull << n;
	return bits;
}

int capability_sets_of(const struct config_capabilities *c, struct capability_sets *ret,
		       struct err *e)
{
	struct capability_sets sets = {0};
	struct named_set rows[SET_COUNT];

	if (c) {
		name_sets(c, &sets, rows);
		for (size_t i = 0; i < SET_COUNT; i++)
			*rows[i].bits = to_bits(rows[i].names);
	}
	if (sets.effective & ~sets.permitted)
		return err_set(e, EINVAL, "process.capabilities: effective is more than permitted");
	/* As runc: an ambient capability that the rules do not allow is left out. */
	sets.ambient &= sets.permitted & sets.inheritable;
	*ret = sets;
	return 0;
}

/* "CAP_CHOWN, CAP_FOWNER" of the bits; for messages. */
static void describe(uint64_t bits, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (int i = 0; i < CAPABILITY_COUNT && len < size; i++) {
		char *name = bits >> i & 1 ? cap_to_name(i) : NULL;

		if (!name)
			continue;
		for (char *p = name; *p; p++)
			if (*p >= 'a' && *p <= 'z')
				*p = (char)(*p - 'a' + 'A');
		len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", name);
		(void)cap_free(name);
	}
}

/* What of these the kernel knows, and what we could give to a child. */
static void look_at_own(uint64_t wanted, uint64_t *ret_known, uint64_t *ret_bounding,
			uint64_t *ret_permitted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2] = {{0}};

	*ret_known = *ret_bounding = 0;
	for (int i = 0; i < CAPABILITY_COUNT; i++) {
		int held = wanted >> i & 1 ? prctl(PR_CAPBSET_READ, i, 0, 0, 0) : -1;

		if (held < 0)
			continue;
		*ret_known |= 1ull << i;
		*ret_bounding |= (uint64_t)held << i;
	}
	(void)capget(&header, now);
	*ret_permitted = (uint64_t)now[1].permitted << 32 | now[0].permitted;
}

static const char *first_unknown(const struct named_set rows[SET_COUNT])
{
	for (size_t i = 0; i < SET_COUNT; i++)
		for (size_t k = 0; k < rows[i].names->count; k++)
			if (!capability_find(rows[i].names->items[k], &(unsigned){0}))
				return rows[i].names->items[k];
	return NULL;
}

bool capability_grant(const struct config_capabilities *c, bool all_held,
		      struct capability_sets *sets, struct err *ret_doubt)
{
	uint64_t known, bounding, permitted, wanted = 0, missing = 0;
	struct named_set rows[SET_COUNT];
	const char *unknown;
	char names[256];

	if (!c)
		return false;
	name_sets(c, sets, rows);
	for (size_t i = 0; i < SET_COUNT; i++)
		wanted |= *rows[i].bits;
	look_at_own(wanted, &known, &bounding, &permitted);
	if (all_held)
		bounding = permitted = known;
	for (size_t i = 0; i < SET_COUNT; i++) {
		uint64_t have = rows[i].bits == &sets->bounding ? bounding : permitted;

		missing |= *rows[i].bits & ~have;
		*rows[i].bits &= have;
	}
	unknown = first_unknown(rows);
	describe(missing, names, sizeof(names));
	if (unknown)
		(void)err_set(ret_doubt, EINVAL, "process.capabilities: '%.64s' is unknown",
			      unknown);
	else if (missing)
		(void)err_set(ret_doubt, EPERM,
			      "capabilities that the runtime itself does not have: %s", names);
	return unknown || missing;
}

int capability_bound(const struct capability_sets *want, struct err *e)
{
	for (int i = 0; i < CAPABILITY_COUNT; i++) {
		if (want->bounding >> i & 1 || prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* the kernel's last one is behind us */
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) != 0)
			return err_sys(e, "drop capability %d from the bounding set", i);
	}
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, "keep capabilities over the change of user");
	return 0;
}

static int set_sets(uint64_t effective, uint64_t permitted, uint64_t inheritable, struct err *e)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2], now[2];
	char names[256];
	uint64_t have;

	for (unsigned i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> 32 * i);
		data[i].permitted = (uint32_t)(permitted >> 32 * i);
		data[i].inheritable = (uint32_t)(inheritable >> 32 * i);
	}
	if (capset(&header, data) == 0)
		return 0;
	if (errno != EPERM || capget(&header, now) < 0)
		return err_sys(e, "set capabilities");
	have = (uint64_t)now[1].permitted << 32 | now[0].permitted;
	if (!(permitted & ~have)) {
		describe(inheritable, names, sizeof(names));
		return err_set(e, EPERM,
			       "process.capabilities: inheritable is more than bounding: %s",
			       names);
	}
	describe(permitted & ~have, names, sizeof(names));
	return err_set(e, EPERM, "capabilities that the runtime itself does not have: %s", names);
}

int capability_narrow(const struct capability_sets *want, uint64_t keep, struct err *e)
{
	const uint64_t all = want->permitted | keep;

	return set_sets(all, all, want->inheritable, e);
}

int capability_finish(const struct capability_sets *want, struct err *e)
{
	if (set_sets(want->effective, want->permitted, want->inheritable, e) < 0)
		return -e->code;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, "clear ambient capabilities");
	for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
		if ((want->ambient >> i & 1) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return err_sys(e, "raise ambient capability %u", i);
	return 0;
}

const char *const *runtime_all_capabilities(void)
{
	static const char *names[CAPABILITY_COUNT + 1];
	static bool filled;
	size_t count = 0;

	for (unsigned n = 0; n < CAPABILITY_COUNT && !filled; n++) {
		char *name = prctl(PR_CAPBSET_READ, n) == 1 ? cap_to_name((cap_value_t)n) : NULL,
		     *copy;

		if (!name || !str_starts(name, "cap_")) {
			cap_free(name); /* one that libcap is too old for */
			continue;
		}
		copy = xstrdup(name); /* kept for ever: it is a static list */
		cap_free(name);
		for (char *c = copy; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		names[count++] = copy;
	}
	filled = true;
	return names;
}
