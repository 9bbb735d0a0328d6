/* agent/cdi.h - specifications of devices (Container Device Interface)
 * SPDX-License-Identifier: Apache-2.0
 *
 * Vendors' tools write, into directories of the host, files that say which devices there
 * are and what a container needs that is to have one. Those in JSON are read here, of
 * versions 0.3.0 to 1.x.
 */
#pragma once

#include "base/js.h"

#define CDI_FILE_MAX    (4 << 20) /* bytes */
#define CDI_FILES_MAX   64        /* of all directories */
#define CDI_DEVICES_MAX 1024      /* of a file */
#define CDI_ITEMS_MAX   1024      /* of each list of edits */
#define CDI_NAME_MAX    128       /* of a device */
#define CDI_KIND_MAX    253

struct cdi_node {
	char *path, *host_path, *type, *permissions; /* type: "b", "c", "u", "p"; NULL: as it is */
	int64_t *major, *minor, *file_mode, *uid, *gid;
};

struct cdi_mount {
	char *host_path, *container_path, *type;
	struct js_strings options;
};

struct cdi_hook {
	char *name, *path; /* "createContainer", ... */
	struct js_strings args, env;
	int64_t *timeout; /* seconds */
};

/* What is done to the configuration of a container. */
struct cdi_edits {
	struct js_strings env;
	struct js_list nodes, mounts, hooks;
	json_t *gids; /* array of numbers, or NULL; borrowed from the specification's document */
};

struct cdi_device {
	char *name;
	struct cdi_edits edits;
	json_t *annotations;
};

struct cdi_spec {
	char *version, *kind;   /* "nvidia.com/gpu" */
	struct cdi_edits edits; /* whichever of its devices a container has */
	struct js_list devices; /* cdi_device */
	json_t *annotations;
	size_t dir; /* where it was found, by number: devices of later ones have precedence */
	const char *path;
};

/* All that was found; zero is empty. */
struct cdi {
	struct arena arena;
	struct cdi_spec *specs;
	json_t **docs; /* of each */
	size_t count, capacity, files;
	struct js_strings problems; /* files that are passed over, and why */
	size_t problem_capacity;
};

/* One file; what is not as the specification wants it is refused. *ret borrows from 'doc'. */
int cdi_decode(const json_t *doc, struct arena *a, struct cdi_spec *ret, struct err *e);

/* Read the files of directories, the last of which has precedence; one that is absent is empty. */
void cdi_load(struct cdi *ret, const char *const *dirs, size_t count);
void cdi_done(struct cdi *c);
#define auto_cdi __attribute__((cleanup(cdi_done)))

/*
 * The device "KIND=NAME".  -ENOENT: there is none; -EEXIST: two files of one directory
 * say what it is.
 */
int cdi_find(const struct cdi *c, const char *name, const struct cdi_spec **ret_spec,
	     const struct cdi_device **ret_device, struct err *e);
