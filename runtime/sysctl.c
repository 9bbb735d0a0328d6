/* runtime/sysctl.c - kernel parameters of a container's own namespaces
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/sysctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/procfs.h"

#define SYSCTL_PATH_MAX 256

/* A '/' or '*' at the end takes all that begins so. */
static const struct {
	const char *path;
	enum ns_kind kind;
} parameters[] = {
	{"net/*", NS_NETWORK},  {"kernel/msg*", NS_IPC}, {"kernel/shm*", NS_IPC},
	{"kernel/sem", NS_IPC}, {"fs/mqueue/*", NS_IPC}, {"kernel/domainname", NS_UTS},
};

/*
 * "net.ipv4.conf.eth0/1.forwarding" to "net/ipv4/conf/eth0.1/forwarding", as
 * sysctl(8): the first separator says which of the two it is.
 */
static int to_path(const char *key, char out[SYSCTL_PATH_MAX], struct err *e)
{
	size_t len = strlen(key);
	bool dotted = key[strcspn(key, "./")] == '.';

	if (len >= SYSCTL_PATH_MAX)
		return err_set(e, EINVAL, "'%.32s...': too long", key);
	for (size_t i = 0; i <= len; i++) {
		out[i] = key[i];
		if (dotted && key[i] == '.')
			out[i] = '/';
		else if (dotted && key[i] == '/')
			out[i] = '.';
	}
	for (const char *p = out;;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n <= 2 && strspn(p, ".") >= n))
			return err_set(e, EINVAL, "'%s' is not the name of a parameter", key);
		if (!p[n])
			return 0;
		p += n + 1;
	}
}

static bool matches(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] != '*')
		return strcmp(pattern, path) == 0;
	return strncmp(pattern, path, len - 1) == 0;
}

int sysctl_check(const char *key, const struct ns_wish wishes[NS_COUNT], struct err *e)
{
	char path[SYSCTL_PATH_MAX];

	if (to_path(key, path, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_COUNT(parameters); i++) {
		enum ns_kind kind = parameters[i].kind;

		if (!matches(parameters[i].path, path))
			continue;
		if (!wishes[kind].wanted)
			return err_set(e, EINVAL,
				       "'%s' needs a %s namespace that is not the host's", key,
				       ns_types[kind].name);
		return 0;
	}
	return err_set(e, EINVAL, "'%s' is not a parameter of a namespace", key);
}

int sysctl_apply(const struct js_map *sysctls, int proc_fd, struct err *e)
{
	for (size_t i = 0; i < sysctls->count; i++) {
		char path[SYSCTL_PATH_MAX], full[SYSCTL_PATH_MAX + 4];

		if (to_path(sysctls->items[i].key, path, e) < 0)
			return err_wrap(e, "linux.sysctl");
		(void)snprintf(full, sizeof(full), "sys/%s", path);
		if (procfs_write(proc_fd, full, sysctls->items[i].value, e) < 0)
			return err_wrap(e, "linux.sysctl: %s", sysctls->items[i].key);
	}
	return 0;
}
