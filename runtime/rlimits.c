/* runtime/rlimits.c - resource limits of a process
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/rlimits.h"

#include <errno.h>
#include <sys/resource.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/config.h"

#define LIMIT(name)         \
	{                   \
#name, name \
	}

static const struct {
	const char *name;
	int resource;
} limits[] = {
	LIMIT(RLIMIT_AS),      LIMIT(RLIMIT_CORE),     LIMIT(RLIMIT_CPU),
	LIMIT(RLIMIT_DATA),    LIMIT(RLIMIT_FSIZE),    LIMIT(RLIMIT_LOCKS),
	LIMIT(RLIMIT_MEMLOCK), LIMIT(RLIMIT_MSGQUEUE), LIMIT(RLIMIT_NICE),
	LIMIT(RLIMIT_NOFILE),  LIMIT(RLIMIT_NPROC),    LIMIT(RLIMIT_RSS),
	LIMIT(RLIMIT_RTPRIO),  LIMIT(RLIMIT_RTTIME),   LIMIT(RLIMIT_SIGPENDING),
	LIMIT(RLIMIT_STACK),
};

bool rlimit_find(const char *name, int *ret)
{
	for (size_t i = 0; i < ARRAY_COUNT(limits); i++)
		if (str_eq(limits[i].name, name)) {
			*ret = limits[i].resource;
			return true;
		}
	return false;
}

int rlimits_apply(const struct js_list *rlimits, struct err *e)
{
	for (size_t i = 0; i < rlimits->count; i++) {
		const struct config_rlimit *r = JS_AT(*rlimits, struct config_rlimit, i);
		struct rlimit value = {(rlim_t)r->soft, (rlim_t)r->hard}, now;
		int resource = -1;

		(void)rlimit_find(r->type, &resource);
		if (setrlimit(resource, &value) == 0)
			continue;
		if (errno == EPERM && getrlimit(resource, &now) == 0)
			return err_set(
				e, EPERM,
				"%s: hard limit %llu is over the runtime's own %llu, which only "
				"CAP_SYS_RESOURCE may raise",
				r->type, (unsigned long long)value.rlim_max,
				(unsigned long long)now.rlim_max);
		return err_sys(e, "set %s to %llu:%llu", r->type,
			       (unsigned long long)value.rlim_cur,
			       (unsigned long long)value.rlim_max);
	}
	return 0;
}
