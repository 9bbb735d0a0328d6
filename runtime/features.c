/* runtime/features.c - what this runtime can do, and a config to begin with
 * SPDX-License-Identifier: Apache-2.0
 *
 * `features` follows features.md of the runtime-spec.  Lists come from the
 * tables that decide, so that nothing is claimed that is not so.
 */
#include <stdio.h>
#include <sys/capability.h>

#include "base/auto.h"
#include "base/js.h"
#include "runtime/capability.h"
#include "runtime/filter.h"
#include "runtime/mount_options.h"
#include "runtime/namespaces.h"
#include "runtime/priority.h"
#include "runtime/runtime.h"

#define CAPABILITY_COUNT 64

static const char *const hooks[] = {"prestart",       "createRuntime", "createContainer",
				    "startContainer", "poststart",     "poststop"};

static json_t *strings(const char *const *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, json_string(list[i]));
	return array;
}

static json_t *enabled(bool yes)
{
	return json_pack("{s:b}", "enabled", yes);
}

static json_t *namespace_names(void)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < NS_COUNT; i++)
		(void)json_array_append_new(array, json_string(ns_types[i].name));
	return array;
}

static json_t *capability_names(void)
{
	json_t *array = json_array();

	for (int i = 0; i < CAPABILITY_COUNT; i++) {
		char *name = cap_to_name(i);

		for (char *p = name; p && *p; p++)
			if (*p >= 'a' && *p <= 'z')
				*p = (char)(*p - 'a' + 'A');
		if (name && capability_find(name, &(unsigned){0}))
			(void)json_array_append_new(array, json_string(name));
		(void)cap_free(name);
	}
	return array;
}

static json_t *linux_features(void)
{
	json_t *doc = json_object();

	(void)json_object_set_new(doc, "namespaces", namespace_names());
	(void)json_object_set_new(doc, "capabilities", capability_names());
	(void)json_object_set_new(doc, "cgroup",
				  json_pack("{s:b,s:b,s:b,s:b,s:b}", "v1", 1, "v2", 1, "systemd", 1,
					    "systemdUser", 1, "rdma", 1));
	(void)json_object_set_new(doc, "seccomp", filter_features());
	(void)json_object_set_new(doc, "apparmor", enabled(true));
	(void)json_object_set_new(doc, "selinux", enabled(true));
	(void)json_object_set_new(
		doc, "intelRdt",
		json_pack("{s:b,s:b,s:b}", "enabled", 1, "schemata", 1, "monitoring", 1));
	(void)json_object_set_new(doc, "mountExtensions",
				  json_pack("{s:o}", "idmap", enabled(true)));
	(void)json_object_set_new(doc, "memoryPolicy", priority_memory_features());
	(void)json_object_set_new(doc, "netDevices", enabled(true));
	return doc;
}

json_t *runtime_features(void)
{
	json_t *doc = json_object();

	(void)json_object_set_new(doc, "ociVersionMin", json_string("1.0.0"));
	(void)json_object_set_new(doc, "ociVersionMax", json_string(RUNTIME_SPEC_VERSION));
	(void)json_object_set_new(doc, "hooks", strings(hooks, ARRAY_COUNT(hooks)));
	(void)json_object_set_new(doc, "mountOptions", mount_option_names());
	(void)json_object_set_new(doc, "linux", linux_features());
	return doc;
}
