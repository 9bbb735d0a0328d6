/* cmd/berthd/registries.h - sections [registry HOST] of berth.conf
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stddef.h>

#include "agent/agent.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/mem.h"

struct registry_config {
	char *host;
	char *mirrors;                     /* "a.example, b.example/hub"; NULL: none */
	char *mirrors_for_tags, *insecure; /* yes, no; NULL */
	char *ca_file, *certificate_file, *key_file;
};

extern const struct conf_group registries_group;

/* Check what was read; *ret is as long as 'items' and the arena are there. */
int registries_parse(const struct registry_config *items, size_t count, struct arena *a,
		     const struct agent_registry **ret, struct err *e);
