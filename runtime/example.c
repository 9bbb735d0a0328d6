/* runtime/example.c - the config.json that `spec` writes
 * SPDX-License-Identifier: Apache-2.0
 */
#include <unistd.h>

#include "base/js.h"
#include "base/text.h"
#include "runtime/runtime.h"

/* A shell with little to lose; the lists that do not depend on it are added below. */
static const char example[] =
	"{\"ociVersion\":\"" RUNTIME_SPEC_VERSION "\","
	"\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"sh\"],"
	"\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\","
	"\"TERM=xterm\"],\"cwd\":\"/\",\"capabilities\":{},"
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],"
	"\"noNewPrivileges\":true},"
	"\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
	"\"hostname\":\"berth\","
	"\"mounts\":["
	"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
	"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
	"\"options\":[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
	"\"options\":[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
	"{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
	"{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
	"{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
	"{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\","
	"\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
	"\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"
	"{\"type\":\"mount\"},{\"type\":\"cgroup\"}]}}";

static const char *const example_capabilities[] = {"CAP_AUDIT_WRITE", "CAP_KILL",
						   "CAP_NET_BIND_SERVICE", NULL};
static const char *const example_sets[] = {"bounding", "effective", "permitted", NULL};

static json_t *strings(const char *const *list)
{
	json_t *array = json_array();

	for (; *list; list++)
		(void)json_array_append_new(array, json_string(*list));
	return array;
}

/* As runc has it: root is who we are, nothing is limited, and /sys is the host's. */
static void make_rootless(json_t *doc)
{
	static const char sys[] = "{\"destination\":\"/sys\",\"type\":\"none\",\"source\":\"/sys\","
				  "\"options\":[\"rbind\",\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}";
	json_t *on_linux = json_object_get(doc, "linux"), *mounts = json_object_get(doc, "mounts");
	json_t *kinds = json_object_get(on_linux, "namespaces");

	(void)json_object_del(on_linux, "resources");
	(void)json_object_set_new(on_linux, "uidMappings",
				  json_pack("[{s:i,s:I,s:i}]", "containerID", 0, "hostID",
					    (json_int_t)geteuid(), "size", 1));
	(void)json_object_set_new(on_linux, "gidMappings",
				  json_pack("[{s:i,s:I,s:i}]", "containerID", 0, "hostID",
					    (json_int_t)getegid(), "size", 1));
	(void)json_array_append_new(kinds, json_pack("{s:s}", "type", "user"));
	for (size_t i = json_array_size(kinds); i-- > 0;)
		if (str_eq(json_string_value(json_object_get(json_array_get(kinds, i), "type")),
			   "network"))
			(void)json_array_remove(kinds, i);
	for (size_t i = json_array_size(mounts); i-- > 0;) {
		json_t *m = json_array_get(mounts, i);
		const char *at = json_string_value(json_object_get(m, "destination"));

		if (str_eq(at, "/sys/fs/cgroup"))
			(void)json_array_remove(mounts, i);
		else if (str_eq(at, "/sys"))
			(void)json_array_set_new(mounts, i, json_loads(sys, 0, NULL));
		else if (str_eq(at, "/dev/pts")) /* group 5 is nobody there */
			(void)json_array_remove(json_object_get(m, "options"), 5);
	}
}

json_t *runtime_example_config(bool rootless)
{
	json_t *doc = json_loads(example, JSON_REJECT_DUPLICATES, NULL), *caps, *on_linux;

	caps = json_object_get(json_object_get(doc, "process"), "capabilities");
	for (const char *const *set = example_sets; *set; set++)
		(void)json_object_set_new(caps, *set, strings(example_capabilities));
	on_linux = json_object_get(doc, "linux");
	(void)json_object_set_new(on_linux, "maskedPaths", strings(runtime_default_masked_paths()));
	(void)json_object_set_new(on_linux, "readonlyPaths",
				  strings(runtime_default_readonly_paths()));
	if (rootless)
		make_rootless(doc);
	return doc;
}
