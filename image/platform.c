/* image/platform.c - machines, by Go's names
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/manifest.h"
#include "image/reason.h"

/* uname -m and what images call it. */
static const struct {
	const char *machine, *architecture, *variant;
} machines[] = {
	{"x86_64", "amd64", ""},        {"aarch64", "arm64", "v8"}, {"armv7l", "arm", "v7"},
	{"armv6l", "arm", "v6"},        {"i686", "386", ""},        {"i386", "386", ""},
	{"ppc64le", "ppc64le", ""},     {"s390x", "s390x", ""},     {"riscv64", "riscv64", ""},
	{"loongarch64", "loong64", ""}, {"mips64", "mips64le", ""},
};

static int this_machine(struct platform *ret, struct err *e)
{
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "uname");
	for (size_t i = 0; i < ARRAY_COUNT(machines); i++) {
		if (!str_eq(machines[i].machine, u.machine))
			continue;
		(void)snprintf(ret->os, sizeof(ret->os), "linux");
		(void)snprintf(ret->architecture, sizeof(ret->architecture), "%s",
			       machines[i].architecture);
		(void)snprintf(ret->variant, sizeof(ret->variant), "%s", machines[i].variant);
		return 0;
	}
	return err_set(e, ENOTSUP, "images for a machine of type '%s'", u.machine);
}

/* Lower-case letters and digits, some. */
static bool take_word(const char **text, char *ret, size_t size)
{
	size_t len = strspn(*text, "abcdefghijklmnopqrstuvwxyz0123456789");

	if (len == 0 || len >= size)
		return false;
	memcpy(ret, *text, len);
	ret[len] = '\0';
	*text += len;
	return true;
}

int platform_parse(const char *text, struct platform *ret, struct err *e)
{
	struct platform p = {{0}, {0}, {0}};
	const char *rest = text;
	bool ok;

	if (!text)
		return this_machine(ret, e);

	ok = take_word(&rest, p.os, sizeof(p.os)) && *rest++ == '/' &&
	     take_word(&rest, p.architecture, sizeof(p.architecture));
	if (ok && *rest == '/') {
		rest++;
		ok = take_word(&rest, p.variant, sizeof(p.variant));
	}
	if (!ok || *rest)
		return err_set(e, EINVAL, "platform '%s' is not os/architecture[/variant]", text);
	*ret = p;
	return 0;
}

void platform_format(const struct platform *p, char ret[PLATFORM_SIZE])
{
	(void)snprintf(ret, PLATFORM_SIZE, "%s/%s%s%s", p->os, p->architecture,
		       p->variant[0] ? "/" : "", p->variant);
}

/* "v7": 7.  What says nothing is the architecture's first. */
static uint32_t variant_number(const struct platform *p)
{
	uint32_t n;

	if (p->variant[0] == 'v' && parse_u32(p->variant + 1, 99, &n))
		return n;
	return str_eq(p->architecture, "arm64") ? 8 : str_eq(p->architecture, "arm") ? 7 : 1;
}

unsigned platform_match(const struct platform *machine, const struct platform *made)
{
	uint32_t have = variant_number(machine), need = variant_number(made);

	if (!str_eq(machine->os, made->os) || !str_eq(machine->architecture, made->architecture))
		return 0;
	return need <= have ? need + 1 : 0;
}
