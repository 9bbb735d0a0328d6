/* cmd/berth/run_options.c - what the options of run mean: a task definition, and where its tasks go
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth/run.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define MEMORY_RESERVATION_MIB 16 /* where no limit is asked for; ECS wants a number */

/* "8000-8100": a range, which ECS gives ports of the host of its choice. */
static bool is_range(const char *text)
{
	const char *dash = strchr(text, '-');
	auto_free char *first = dash ? xstrndup(text, (size_t)(dash - text)) : NULL;
	int64_t from, to;

	return dash && parse_i64(first, 1, UINT16_MAX, &from) &&
	       parse_i64(dash + 1, from + 1, UINT16_MAX, &to);
}

static int add_port(json_t *ports, const char *text, struct err *e)
{
	auto_free char *copy = xstrdup(text);
	char *slash = strchr(copy, '/'), *colon;
	const char *protocol = "tcp";
	int64_t host = 0, container;

	if (slash) {
		*slash = '\0';
		protocol = slash + 1;
	}
	if (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0)
		return err_set(e, EINVAL, "--publish '%s': '%s' is neither tcp nor udp", text,
			       protocol);
	if (is_range(copy)) {
		(void)json_array_append_new(ports, json_pack("{s:s, s:s}", "containerPortRange",
							     copy, "protocol", protocol));
		return 0;
	}
	colon = strchr(copy, ':');
	if (colon && strchr(colon + 1, ':'))
		return err_set(e, EINVAL,
			       "--publish '%s': a port is that of all addresses of the host, as in "
			       "ECS: HOST:PORT",
			       text);
	if (colon)
		*colon = '\0';
	if ((colon && !parse_i64(copy, 0, UINT16_MAX, &host)) ||
	    !parse_i64(colon ? colon + 1 : copy, 1, UINT16_MAX, &container))
		return err_set(e, EINVAL,
			       "--publish '%s' is not PORT, HOST:PORT or FIRST-LAST, with /udp or "
			       "without",
			       text);
	(void)json_array_append_new(ports, json_pack("{s:I, s:I, s:s}", "containerPort",
						     (json_int_t)container, "hostPort",
						     (json_int_t)host, "protocol", protocol));
	return 0;
}

static int add_variable(json_t *environment, const char *text, struct err *e)
{
	size_t len = strcspn(text, "=");
	auto_free char *name = xstrndup(text, len);
	const char *value = text[len] ? text + len + 1 : getenv(name);
	json_t *variable;

	if (!len)
		return err_set(e, EINVAL, "--env '%s' has no name", text);
	if (!value)
		return 0;
	variable = json_pack("{s:s, s:s}", "name", name, "value", value);
	if (!variable)
		return err_set(e, EINVAL, "--env '%s': its value is not UTF-8", text);
	(void)json_array_append_new(environment, variable);
	return 0;
}

static int add_volume(json_t *volumes, json_t *points, const char *text, struct err *e)
{
	auto_free char *copy = xstrdup(text), *name = xasprintf("v%zu", json_array_size(volumes)),
		       *real = NULL;
	char *destination = strchr(copy, ':'), *mode;

	if (!destination || destination == copy)
		return err_set(e, EINVAL, "--volume '%s' is not SRC:DST or SRC:DST:ro", text);
	*destination++ = '\0';
	mode = strchr(destination, ':');
	if (mode)
		*mode++ = '\0';
	if (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0)
		return err_set(e, EINVAL, "--volume '%s': '%s' is neither ro nor rw", text, mode);
	real = copy[0] == '/' ? xstrdup(copy) : realpath(copy, NULL);
	if (!real)
		return err_set(e, ENOENT, "--volume '%s': no directory %s", text, copy);
	(void)json_array_append_new(
		volumes, json_pack("{s:s, s:{s:s}}", "name", name, "host", "sourcePath", real));
	(void)json_array_append_new(points, json_pack("{s:s, s:s, s:b}", "sourceVolume", name,
						      "containerPath", destination, "readOnly",
						      mode && strcmp(mode, "ro") == 0));
	return 0;
}

/* "127.0.0.1:5000/team/web:1" to "web". */
static char *name_of(const char *image)
{
	const char *slash = strrchr(image, '/');
	auto_free char *name = xstrdup(slash ? slash + 1 : image);

	name[strcspn(name, ":@")] = '\0';
	for (char *c = name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", *c))
			*c = '-';
	return xstrdup(*name ? name : "task");
}

static int add_number(json_t *container, const char *member, const char *option, const char *text,
		      struct err *e)
{
	int64_t value;

	if (!text)
		return 0;
	if (!parse_i64(text, 0, INT32_MAX, &value))
		return err_set(e, EINVAL, "--%s '%s' is not a number", option, text);
	(void)json_object_set_new(container, member, json_integer(value));
	return 0;
}

static int add_lists(const struct run_options *o, json_t *ports, json_t *environment,
		     json_t *volumes, json_t *points, struct err *e)
{
	for (size_t i = 0; i < o->publish.count; i++)
		if (add_port(ports, o->publish.items[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < o->env.count; i++)
		if (add_variable(environment, o->env.items[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < o->volume.count; i++)
		if (add_volume(volumes, points, o->volume.items[i], e) < 0)
			return -e->code;
	return 0;
}

int run_definition(const struct run_options *o, char **words, int count, json_t **ret,
		   struct err *e)
{
	auto_free char *derived = name_of(words[0]);
	const char *name = o->name ? o->name : derived;
	json_t *ports = json_array(), *environment = json_array(), *volumes = json_array(),
	       *points = json_array(), *command = json_array(), *container;
	auto_json json_t *doc = NULL;

	container = json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:s*, s:s*}", "name", name,
			      "image", words[0], "portMappings", ports, "environment", environment,
			      "mountPoints", points, "readonlyRootFilesystem", o->read_only,
			      "privileged", o->privileged, "user", o->user, "workingDirectory",
			      o->workdir);
	doc = json_pack("{s:s, s:s, s:[o], s:o}", "family", name, "networkMode",
			o->network ? o->network : "bridge", "containerDefinitions", container,
			"volumes", volumes);
	for (int i = 1; i < count; i++)
		(void)json_array_append_new(command, js_string(words[i], strlen(words[i])));
	if (json_array_size(command))
		(void)json_object_set(container, "command", command);
	json_decref(command);
	if (o->entrypoint)
		(void)json_object_set_new(container, "entryPoint", json_pack("[s]", o->entrypoint));
	if (!o->memory)
		(void)json_object_set_new(container, "memoryReservation",
					  json_integer(MEMORY_RESERVATION_MIB));
	if (o->gpus)
		(void)json_object_set_new(
			container, "resourceRequirements",
			json_pack("[{s:s, s:s}]", "type", "GPU", "value", o->gpus));
	if (add_number(container, "cpu", "cpu", o->cpu, e) < 0 ||
	    add_number(container, "memory", "memory", o->memory, e) < 0 ||
	    add_lists(o, ports, environment, volumes, points, e) < 0)
		return -e->code;
	*ret = json_incref(doc);
	return 0;
}

int run_placement(const struct run_options *o, json_t *request, struct err *e)
{
	json_t *constraints = json_array(), *strategies = json_array(), *providers = json_array();

	(void)json_object_set_new(request, "placementConstraints", constraints);
	(void)json_object_set_new(request, "placementStrategy", strategies);
	(void)json_object_set_new(request, "capacityProviderStrategy", providers);
	for (size_t i = 0; i < o->constraint.count; i++)
		(void)json_array_append_new(constraints,
					    json_pack("{s:s, s:s}", "type", "memberOf",
						      "expression", o->constraint.items[i]));
	if (o->distinct)
		(void)json_array_append_new(constraints,
					    json_pack("{s:s}", "type", "distinctInstance"));
	for (size_t i = 0; i < o->strategy.count; i++) {
		const char *text = o->strategy.items[i];
		size_t len = strcspn(text, ":");

		(void)json_array_append_new(strategies,
					    json_pack("{s:s#, s:s*}", "type", text, (int)len,
						      "field", text[len] ? text + len + 1 : NULL));
	}
	for (size_t i = 0; i < o->provider.count; i++) {
		const char *text = o->provider.items[i];
		size_t len = strcspn(text, ":");
		int64_t weight = 1;

		if (text[len] && !parse_i64(text + len + 1, 0, INT32_MAX, &weight))
			return err_set(e, EINVAL, "--capacity-provider '%s' is not NAME:WEIGHT",
				       text);
		(void)json_array_append_new(providers,
					    json_pack("{s:s#, s:I}", "capacityProvider", text,
						      (int)len, "weight", (json_int_t)weight));
	}
	return 0;
}
