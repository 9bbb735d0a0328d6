/* runtime/rlimits.c - resource limits of a process
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/rlimits.h"

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

int rlimits_raise(const struct js_list *rlimits, struct err *e)
{
	for (size_t i = 0; i < rlimits->count; i++) {
		const struct config_rlimit *r = JS_AT(*rlimits, struct config_rlimit, i);
		struct rlimit value;
		int resource = -1;

		(void)rlimit_find(r->type, &resource); /* checked with the config */
		if (getrlimit(resource, &value) < 0)
			return err_sys(e, "get %s", r->type);
		if ((rlim_t)r->hard <= value.rlim_max)
			continue;
		value.rlim_max = (rlim_t)r->hard;
		if (setrlimit(resource, &value) < 0)
			return err_sys(
				e,
				"process.rlimits: raise the hard limit %s to %llu, which takes "
				"CAP_SYS_RESOURCE",
				r->type, (unsigned long long)value.rlim_max);
	}
	return 0;
}

int rlimits_apply(const struct js_list *rlimits, struct err *e)
{
	for (size_t i = 0; i < rlimits->count; i++) {
		const struct config_rlimit *r = JS_AT(*rlimits, struct config_rlimit, i);
		const struct rlimit value = {(rlim_t)r->soft, (rlim_t)r->hard};
		int resource = -1;

		(void)rlimit_find(r->type, &resource);
		if (setrlimit(resource, &value) < 0)
			return err_sys(e, "process.rlimits: set %s", r->type);
	}
	return 0;
}
