/* agent/internal.h - the parts of the agent, seen by each other
 * SPDX-License-Identifier: Apache-2.0
 *
 *   agent.c      life: opens everything, finds what was there before
 *   channel.c    the stream to the server
 *   identity.c   who this node is to a server elsewhere, and the way there
 *   task.c       what a task does next, from what it should be and what it is
 *   container.c  one container: made, started, stopped, taken apart
 *   removal.c    what it leaves, taken away by threads
 *   bundle.c     its config.json; files.c: hosts, hostname, resolv.conf
 *   network.c    its network: of the container, of the task, of the host; security groups
 *   service.c    what tasks find at link-local addresses
 *   metadata.c   what a task may ask of itself; metadata_document.c: and is told
 *   resolver.c   whom a task asks for names
 *   hosts.c      other hosts, and where addresses of their tasks lead
 *   flow.c       flow logs of tasks with interfaces of their own
 *   links.c      what it is told of the containers that it links to
 *   ids.c        whose ids its users are on the host
 *   storage.c    how much a task may write
 *   gpu.c        GPUs of the host, and what a container needs that has some; cdi.c
 *   roots.c      roots for the next containers, made ahead; ahead.c: and containers of them
 *   pulls.c      images on their way
 *   credentials.c  with which name and password a registry is asked
 *   images.c       what is held: for callers
 *   garbage.c      images that nobody uses any more
 *   registries.c   where images come from: mirrors and registries, as configured
 *   sharing.c      and from other nodes; what is held is for them, too
 *   ship.c       lines of containers to log streams; spool.c: reading them for callers
 *   ask.c        questions to the node: of the server, and of root on this host, which local.c takes
 *   records.c    the node's own truth on disk
 *   node.c       what this host has to offer
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "agent/agent.h"
#include "agent/sharing.h"
#include "base/db.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/rate.h"
#include "ecs/arn.h"
#include "ecs/metadata.h"
#include "ecs/node.h"
#include "ecs/resolver.h"
#include "image/image.h"
#include "keeper/keeper.h"
#include "net/net.h"
#include "runtime/runtime.h"

#define CONTAINER_ID_SIZE 48 /* "<task id>-<index>" */

/* Ids of the host that tasks may have, a range for each: those of systemd's containers. */
#define IDS_FIRST  524288u
#define IDS_COUNT  65536u
#define IDS_RANGES 28664u /* the last id is 1879048191 */

struct id_ranges {
	uint64_t used[(IDS_RANGES + 63) / 64];
	uint32_t next;
};

/* A range, and what shows the host's files with its ids. */
struct id_view {
	uint32_t first_id;        /* 0: none */
	int userns_fd, layers_fd; /* -1: not made */
};
#define ID_VIEW_NONE ((struct id_view){.userns_fd = -1, .layers_fd = -1})

/* Views for the next tasks. */
#define IDS_READY 4
struct id_pool {
	struct id_view ready[IDS_READY], making[IDS_READY]; /* the last: by a thread */
	size_t ready_count, making_count;
	bool broken; /* none can be made */
	struct loop_timer *rest;
};

/* What a container that is made ahead is to be like. */
struct ahead_wish {
	char *like;                   /* what two have in common whom one may be made for */
	enum net_mode mode;           /* of its network */
	json_t *config;               /* of the one that was made last */
	struct runtime_limits limits; /* of its task */
};

/* A container that waits in the keeper for whoever is like it. */
struct ahead {
	uint64_t number;  /* its name there; 0: none waits */
	bool begun;       /* it has what only the loop can give it */
	uint32_t network; /* net_reserve(); 0: none */
	int netns_fd;     /* its network */
	int root_fd;      /* until the keeper has it */
};
#define AHEAD_NONE ((struct ahead){.netns_fd = -1, .root_fd = -1})

/* A root that no container has yet. */
struct ready_root {
	struct agent *agent;
	struct image *image;
	struct id_view ids;
	char *dir; /* as that of a task with this container; its last name may be a task's cgroup */
	char *cgroup, *bundle;   /* of a container that is made of it ahead */
	struct ahead_wish *wish; /* NULL: no container is to be made of it ahead */
	unsigned tries;          /* to get it a network */
	struct ahead ahead;
	int index_fd;  /* of the image; -1: it has none */
	int rootfs_fd; /* -1: not made */
	int copy_fd;   /* of it, for the container that is made ahead; -1: none any more */
	bool making;   /* a thread has it */
	bool unwanted; /* it goes when it is made */
};

/* One for each of the images that were used last. */
#define ROOTS_READY 4
struct roots {
	struct ready_root *items[ROOTS_READY]; /* used last at the end */
	size_t count;
	bool ending; /* threads may still make some, and nothing else of the agent is there */
	struct loop_timer *rest;
};

/* Mounted indexes of images, used last at the end. */
#define INDEXES_OPEN 32
struct indexes {
	struct open_index {
		char *path;
		ino_t inode; /* of the file: a check of the store may make it anew */
		int fd;
	} items[INDEXES_OPEN];
	size_t count;
};

struct agent {
	const struct agent_options *o; /* borrowed */
	struct loop *loop;
	struct image_store *images;
	struct net *net;
	struct runtime *runtime;
	struct keeper *keeper;
	struct loop_fd *keeper_watch; /* NULL: the keeper is gone, commands fail */
	struct loop_timer *keeper_retry;
	bool keeper_renewed; /* it was asked to execute our program, for it speaks another protocol */
	struct loop_fd *firewall_watch; /* of what others do to it */
	struct loop_timer *firewall_rest;
	struct loop_fd *shortcut_watch; /* of flows that ask for one */
	struct loop_timer *shortcut_rest;
	unsigned keeper_failures;
	struct records *records;
	struct identity *identity; /* NULL: the server is on this machine */
	struct channel *channel;
	struct pulls *pulls;
	struct garbage *garbage;
	struct sharing *sharing; /* NULL: images come from registries alone */
	enum image_form image_form;
	struct buf doctor; /* what `berth doctor` tells */
	struct shipping *shipping;
	struct flows *flows;
	struct service *metadata, *resolver;
	struct tags_question *tags_questions; /* that wait for the server, the last one first */
	int64_t tags_asked;                   /* the id of the last one */
	struct rate tags_rate;
	struct loop_timer *tags_patience;
	struct map tasks;      /* by id */
	struct map containers; /* by id */
	struct loop_timer *sweep;
	int64_t networks_ms;  /* when the networks were last looked at; monotonic */
	char *networks_told;  /* what was wrong with them then; "": nothing */
	char *shortcuts_told; /* the same of shortcuts; NULL: not yet */
	struct id_ranges ranges;
	struct id_pool id_pool;
	struct roots roots;
	bool swept; /* of what was ready before us */
	struct indexes indexes;
	char *tasks_dir;   /* state_dir/tasks */
	char *ready_dir;   /* state_dir/ready: of roots */
	char *layers_dir;  /* of all images */
	char *gpus;        /* ids, a line each, and problems, when they were last looked for */
	bool gpus_changed; /* and the server may not know it yet */
	const char *storage_attribute; /* NULL: what a task writes cannot be limited here */
	char *cgroup_base;             /* "/berth-1a2b3c", or the scope that systemd gave */
	char *boot_id, *runtime_root;
	char *bundles_dir;  /* run_dir/bundles */
	char *filters_dir;  /* run_dir/filters */
	struct map filters; /* by path: those that we have compiled */
	bool rebooted;      /* the host was started again since the last agent */
	struct ask *asks;
	struct loop_timer *ask_timer;
	struct http_server *local; /* NULL: the server beside us has the socket */
	bool listing;              /* the keeper is telling what it has: nothing is begun before */
	bool ready_told;
	bool leaving; /* removed from the cluster: it ends with its last task */
	struct err failure;
};

/* In the order in which a container goes through them. */
enum phase {
	PHASE_PENDING, /* waits for its turn */
	PHASE_PULLING,
	PHASE_PULLED,   /* the image is here */
	PHASE_CREATING, /* the keeper was asked */
	PHASE_STARTING, /* made; the keeper was asked to let it go */
	PHASE_RUNNING,
	PHASE_STOPPED,  /* its process is gone */
	PHASE_REMOVING, /* the keeper was asked to take it apart */
	PHASE_CLEAN,    /* nothing of it is left but its log */
};

struct container {
	struct task *task;
	unsigned index; /* in the definition */
	const struct ecs_container_definition *def;
	struct ecs_container_state *state; /* what is told of it; in task->state */
	char id[CONTAINER_ID_SIZE];
	enum phase phase;
	struct pull_waiter *pull; /* PHASE_PULLING */
	struct image *image;      /* PHASE_PULLED */
	struct ready_root *root;  /* while it is being made; NULL: it makes its own */
	struct ahead ahead;       /* the same, of the container itself */
	char *image_digest, *stop_signal;
	pid_t pid;
	bool in_keeper; /* it was asked to make it */
	bool listed;    /* it was told of in the list under way */
	bool signalled, killed;
	bool removing;               /* a thread takes away what it left */
	bool mapped;                 /* its ids are the task's own */
	char *unmapped;              /* why they are not; in the task's arena */
	bool failed;                 /* it never ran */
	bool output_complete;        /* all that it wrote is in the spool */
	struct loop_timer *patience; /* from the stop signal to SIGKILL */
	int output_fds[2];           /* duplicates of its pipes, if holds_output; never read */
	bool holds_output;
	int *held_fds; /* duplicates of the sockets that hold its host ports */
	size_t held_count;
	struct shipper *shipper[2];      /* awslogs: of stdout, stderr */
	bool stream_ready;               /* its log stream is there, or it needs none */
	struct keeper_cursor shipped[2]; /* what the server has acknowledged */
	uint64_t discarded;              /* records whose bytes were given back */
	int64_t started_ms, ended_ms;    /* wall clock; 0: not yet, or not known */
	struct metadata_sample *sample;  /* what it had used when it was asked last; NULL: never */
};

struct task {
	struct agent *agent;
	char *id;
	struct arena arena; /* owns all strings of it */
	struct ecs_node_task wanted;
	struct ecs_task_state state;
	struct container *containers;
	size_t count;
	struct id_view ids;
	uint32_t project; /* of what it writes; 0: it has no limit */
	char *place;      /* the name of its cgroup, where that was made ahead; NULL: its id */
	int netns_fd;     /* awsvpc: the network that its containers share; -1: not made */
	bool stop;        /* it should not run */
	bool kept;        /* it has a record */
	bool untold;      /* state is ahead of what the server has acknowledged */
	bool in_flight;   /* its state is in the report that is under way */
	bool stepping;
	bool cleaning, clean; /* a thread takes away its cgroup and volumes; they are gone */
	bool dropping;        /* and the rest, for ever */
};

/* ---- task.c ---- */

/* A task that should be: new, or known. */
void task_want(struct agent *a, const struct ecs_node_task *wanted);
/* The full list has come: what is not in it should not be. */
void tasks_keep_only(struct agent *a, const struct ecs_node_tasks *full);
/* All of them are to end. */
void tasks_stop_all(struct agent *a, const char *stop_code, const char *reason);
bool tasks_are_over(const struct agent *a);
/* Do what is to be done next. */
void task_step(struct task *t);
/* Begin to stop, with ECS's code and reason, unless it was begun before. */
void task_stop(struct task *t, const char *stop_code, const char *reason);
struct task *task_from_record(struct agent *a, const json_t *doc, struct err *e);
json_t *task_to_record(const struct task *t);
/* It is on disk as it is. */
void task_keep(struct task *t);
/* What changed is on disk and on its way to the server. */
void task_note(struct task *t);
void task_free(struct task *t);
bool task_is_over(const struct task *t);
/* Directory of a task, or of one of its containers. */
char *task_dir(const struct task *t);
char *container_dir(const struct container *c);

/* ---- container.c ---- */

void container_pull(struct container *c);
void container_create(struct container *c);
void container_stop(struct container *c);
void container_take_apart(struct container *c);
void container_on_event(struct container *c, const struct keeper_event *ev);
/* After a restart: what the keeper says of it, or NULL: it does not know it. */
void container_found(struct container *c, const struct keeper_event *ev);
void container_fail(struct container *c, const char *prefix, const char *why);
void container_done(struct container *c);
char *task_cgroup(const struct task *t);
char *container_cgroup(const struct container *c);
char *container_log_dir(const struct container *c);
/* Be told when the spool has something behind the cursor. */
void container_follow(const struct container *c, const struct keeper_cursor *cursor);

/* ---- removal.c ---- */

/* In a thread: cgroups, directories.  All parts, then 'on_done' in the loop; 'e' NULL: all gone. */
struct removal;
typedef void removal_fn(struct agent *a, const char *id, const struct err *e);
typedef int removal_part(const char *path, struct err *e);
struct removal *removal_new(struct agent *a, const char *id, removal_fn *on_done);
void removal_add(struct removal *r, removal_part *remove, char *own_path);
int removal_of_tree(const char *path, struct err *e);
void removal_run(struct removal *own_r);

/* ---- bundle.c, files.c ---- */

#define BUNDLE_FILES 3
struct bundle_options {
	const struct container *container;
	const struct image *image;
	const struct image_user *user;
	const struct net_endpoint *endpoint; /* NULL: the host's network */
	const char *metadata;                /* metadata_url() */
	const char *resolver;                /* resolver_address() */
	const char *bundle;                  /* directory of config.json */
	const char *dir;                     /* of the files below */
};

extern const char *const bundle_files[BUNDLE_FILES]; /* "hosts", ... */

/* NAME=VALUE in a process's "env"; a variable that is there is replaced if 'replace'. */
void bundle_set_variable(json_t *env, const char *text, bool replace);
/* Write config.json, which is the caller's then, too. */
int bundle_write(const struct bundle_options *o, json_t **ret, struct err *e);
/* Write hosts, hostname and resolv.conf. */
int files_write(const struct bundle_options *o, struct err *e);
/* Where the task's volume of this name lies on the host; a directory that is ours is made. */
int volume_of(const struct task *t, const char *name, char **ret, struct err *e);
const char *bundle_hostname(const struct container *c);

/* ---- links.c ---- */

/* Those that it links to run, or have run. */
bool links_may_be_made(const struct container *c);
/* They run. */
int links_check(const struct container *c, struct err *e);
/* Lines of a hosts file. */
void links_write_hosts(const struct container *c, struct buf *b);
/* NAME=VALUE for the i-th link of the definition, in an arena. */
struct js_strings links_variables(const struct container *c, size_t i, struct arena *a);

/* The parts of it, seen by tests. */
struct link_port {
	uint16_t port;
	bool udp;
};
struct link_ports {
	struct link_port *items; /* sorted */
	size_t count, capacity;
};
struct link_told {
	const char *from, *alias, *address; /* name of the container that links */
	const struct ecs_container_definition *to;
	const struct link_ports *ports;
	const struct js_strings *image_env;
};
int link_port_compare(const void *a, const void *b);
struct js_strings link_variables(const struct link_told *told, struct arena *a);

/* ---- network.c ---- */

/* What a container has of it, and what becomes of that. */
struct container_network {
	struct net_endpoint endpoint; /* its own one; in awsvpc without descriptors */
	int netns_fd;                 /* borrowed; -1: the host's */
	bool has_endpoint;
};

#define NETWORK_NONE                                          \
	{                                                     \
		.endpoint = NET_ENDPOINT_NONE, .netns_fd = -1 \
	}

/* The port mappings of a definition as they stand in it; how many. */
size_t network_ports(const struct ecs_container_definition *d, struct net_port ret[NET_PORTS_MAX]);
int network_make(struct container *c, struct container_network *ret, struct err *e);
/* Would capabilities over its network, if it asks for any, be just that with the task's ids? */
int network_check_rights(struct container *c, struct err *e);
/* Nothing of the container, or of the task, needs it any more. */
int network_remove(const struct container *c, struct err *e);
int network_remove_task(struct task *t, struct err *e);
/* Which endpoints should be there: ids, borrowed from tasks; malloc'ed. */
const char **network_live(const struct agent *a, size_t *ret_count);

/*
 * From which address of IPv4 its connections come to services of this host: "": the host's own;
 * false: it has no network.
 */
bool network_source(const struct container *c, char ret[NET_ADDRESS_MAX]);
/* Of a task with an interface: do they come from there, of either family? */
bool network_comes_from(const struct task *t, const char *address);

/* "ip-10-0-0-5.ec2.internal"; false: its task has no interface with an address of IPv4. */
bool network_private_name(const struct task *t, char ret[ECS_PRIVATE_NAME_SIZE]);

/* For DescribeTaskNetwork: interfaces, their counters, a process in each; the caller's. */
json_t *network_describe(const struct task *t);

/* What the server says of security groups, and what it said last. */
int network_take_groups(struct agent *a, const struct ecs_node_groups *message, struct err *e);
int network_load_groups(struct agent *a, struct err *e);

/* ---- hosts.c ---- */

/* What the server says of other hosts, and what it said last. */
int hosts_take(struct agent *a, const struct ecs_node_peers *message, struct err *e);
int hosts_load(struct agent *a, struct err *e);

/* ---- flow.c ---- */

struct flows *flows_new(struct agent *a);
void flows_free(struct flows *f);
/* The task's interface is logged as its record says; 'resumed': it was before the agent began. */
void flows_take(struct task *t, bool resumed);
/* The server names a known task's interface again, with the flow logs that it has now. */
void flows_change(struct task *t, const struct ecs_node_interface *now);
/* The task's network is gone. */
void flows_end(struct task *t);
void flows_on_ack(struct flows *f, const struct ecs_node_log_ack *ack);
/* The server is there again: what was not acknowledged is sent again. */
void flows_resume(struct flows *f);

/* ---- service.c ---- */

#define SERVICE_PORTS_MAX   2
#define SERVICE_MESSAGE_MAX 256

struct service_port {
	enum net_protocol protocol;
	uint16_t port;
};

/*
 * A program in libexec_dir.  Its descriptors are from 3 on the sockets of its ports, in their
 * order, and behind them a seqpacket socket to the agent.
 */
struct service_kind {
	const char *id;                 /* of its endpoint; in the log, and for `berth doctor` */
	const char *address, *address6; /* NULL: not of IPv6 */
	const char *program;
	const char *told, *untold; /* what `berth doctor` says when it is there, or not */
	struct service_port ports[SERVICE_PORTS_MAX];
	size_t port_count, message_size; /* of what it says: other messages are none */
	/* Negative: what it says makes no sense, or it hears nothing; it is ended. */
	int (*on_message)(void *ctx, int sock, const void *message);
	int64_t idle_ms; /* it is ended when it has said nothing for so long; 0: never */
	/*
	 * Not NULL: it is started at once, and goes on when the agent ends.  This tells it to begin.
	 */
	int (*begin)(int sock);
};

/* 'kind' is borrowed. */
struct service *service_new(struct agent *a, const struct service_kind *kind, void *ctx);
void service_free(struct service *s); /* NULL is fine */
/* We end, but the tasks are still there when we are again: so is who goes on without us. */
void service_leave(struct service *s);
/* One of an agent before us that went on without it is ended. */
void service_end_former(const struct agent_options *o, const char *id);
/* It is there from now on; false: it could not be made, or its program does not live. */
bool service_want(struct service *s);
/* Another one, where somebody has taken its link away. */
void service_look(struct service *s);
/* Its id among the endpoints that should be; NULL: it is not there. */
const char *service_live(const struct service *s);
const struct net_endpoint *service_endpoint(const struct service *s); /* NULL: there is none */

/* ---- metadata.c, resolver.c ---- */

struct service *metadata_new(struct agent *a);
/* What the server says of the tags of a task. */
void metadata_on_answer(struct agent *a, const struct ecs_node_answer *answer);
void metadata_end(struct agent *a); /* nobody is answered any more */
struct service *resolver_new(struct agent *a);
#define RESOLVER_ID "resolver"
/* The nameserver of the container; NULL: what the host's resolv.conf says. */
const char *resolver_address(const struct container *c);
/* "http://169.254.170.2", where the container finds it; malloc'ed; NULL: it does not. */
char *metadata_url(const struct container *c);

/* ---- metadata_document.c ---- */

/* What is told of the container or its task, but for tags; the caller's. */
json_t *metadata_document(struct container *c, enum ecs_metadata_topic topic);
struct metadata_error {
	const char *code; /* "ServerException" */
	int status;
	const char *message;
};
/* Of its task, with {"taskTags", "containerInstanceTags"}; NULL: 'why' they are not known. */
json_t *metadata_with_tags(const struct container *c, const json_t *tags,
			   const struct metadata_error *why);
void metadata_forget(struct container *c);

/* ---- ids.c ---- */

/* The first id of a range that nobody has; 0: all are in use. */
uint32_t ids_take(struct id_ranges *r);
/* A record has it: the next one that is taken lies behind it. */
void ids_found(struct id_ranges *r, uint32_t first_id, bool in_use);
void ids_give(struct id_ranges *r, uint32_t first_id);

/*
 * Will it have ids of the task's own?  Then 'mapped' is set and the task has a
 * range and descriptors; else 'unmapped' says why.  The caller notes the task.
 */
void ids_decide(struct container *c);
/* It turned out that it cannot. */
void ids_refuse(struct container *c, const char *why);
/* 0: the user is one of a range. */
int ids_check_user(const struct image_user *u, struct err *e);
/* Nothing of the task is left: others may have its range. */
void ids_give_back(struct task *t);
/* For a root that is made ahead: a range, and perhaps its descriptors; then, in a thread, those. */
struct id_view ids_take_view(struct agent *a);
int ids_open(const struct agent *a, struct id_view *v, struct err *e);
void ids_close(struct id_view *v);
/* Make views ahead, a while after one was taken. */
void ids_pool_start(struct agent *a);
void ids_pool_done(struct agent *a); /* when no thread works any more */

/* ---- storage.c ---- */

/* Whether what a task writes can be limited on this host; logs why not. */
void storage_look(struct agent *a);
bool storage_is_limited(const struct task *t);
/* In this order: a project, before it is on record; its limit, when it is; a scratch in it. */
int storage_lease(struct task *t, struct err *e);
int storage_limit(const struct task *t, struct err *e);
int storage_join(const struct task *t, const char *scratch, struct err *e);
/* Nothing of the task is left; of all tasks, without an agent. */
void storage_give_back(const struct task *t);
int storage_give_back_all(const char *state_dir, struct err *e);

/* ---- gpu.c ---- */

/* Ids of the GPUs that containers of this host can have, in an arena. */
struct js_strings gpus_find(const struct agent *a, struct arena *arena);
void gpus_look(struct agent *a); /* what has changed is logged, and told to the server */
/* Those that the server has given to the container. */
const struct js_strings *gpus_of(const struct container *c);
/* What they need is in the container's config.json. */
int gpus_add(const struct container *c, json_t *config, struct err *e);

/* ---- indexes.c ---- */

/* In which form this host holds layers; logs why. */
enum image_form indexes_choose(struct agent *a);
/* A line "TOPIC: WHAT WHY" in the log, and where `berth doctor` finds it, for another one of the topic. */
void doctor_tell(struct agent *a, const char *topic, const char *what, const char *why);
/* The image's index, mounted: *ret_fd is the caller's; -1 when the image has none. */
int indexes_open(struct agent *a, const struct image *image, int *ret_fd, struct err *e);
void indexes_forget(struct agent *a); /* all: images are to be removed */

/* ---- roots.c ---- */

void roots_start(struct agent *a);
void roots_end(struct agent *a);  /* none are wanted any more */
void roots_done(struct agent *a); /* when no thread works any more */
/* The keeper is there: what an agent before us had ready is taken away. */
void roots_sweep(struct agent *a);
/* There will be a root of this image, soon, and perhaps a container (NULL: none). */
void roots_want(struct agent *a, struct image *own_image, struct ahead_wish *own_wish);
/*
 * The one that is ready, or NULL.  The caller renames its directory and takes its
 * descriptors (root_free), or it goes (root_drop).
 */
struct ready_root *roots_take(struct agent *a, const char *digest);
void root_drop(struct agent *a, struct ready_root *own_root);
void root_free(struct ready_root *r); /* nothing is left of it: all was taken */
void roots_forget(struct agent *a);   /* all: images are to be removed */

/* ---- ahead.c ---- */

/* How many containers this node makes ahead. */
size_t ahead_count(const struct agent_options *o);
/* One like this container; NULL: not of this kind.  'own_config': its config.json, or NULL. */
struct ahead_wish *ahead_wish(const struct container *c, json_t *own_config);
void ahead_wish_free(struct ahead_wish *own_wish);
/* Is one to be made of it?  Before a thread makes the parts; by it; when it has. */
bool ahead_is_missing(const struct ready_root *r);
void ahead_begin(struct ready_root *r);
int ahead_make_parts(struct ready_root *r, struct err *e);
void ahead_hand_over(struct ready_root *r);
/* The container that comes with its root is for it, if it is like it; else it goes. */
void ahead_take(struct container *c);
/* A root is taken without a container: what was made for one goes. */
void ahead_leave(struct ready_root *r);
void ahead_drop(struct agent *a, struct ahead *ahead);
/* Context: any thread. */
void ahead_remove(const char *cgroup, const char *bundle);
struct runtime_limits task_limits(const struct task *t);
/* Can its network be made ahead?  And which it is. */
bool network_may_wait(const struct container *c, enum net_mode *ret);

/* ---- credentials.c ---- */

struct credential {
	char *username, *password; /* NULL: not known yet */
	char *helper, *host;       /* the program to ask, and for what; NULL: none */
};
void credential_done(struct credential *c);

/*
 * What the files say of an image's registry.  0: name and password, or a
 * helper.  CREDENTIAL_NONE: anonymous.  *ret is the caller's.
 */
enum { CREDENTIAL_NONE = 1 };
int credential_find(const struct agent_options *o, const char *reference, struct credential *ret,
		    struct err *e);
/*
 * What the secret of that name or ARN says ('repositoryCredentials'): a file of the
 * node's secrets_dir, {"username": ..., "password": ...}.
 */
int credential_of_secret(const struct agent_options *o, const char *parameter,
			 struct credential *ret, struct err *e);
/* Ask the helper, which may take half a minute: for a thread.  CREDENTIAL_NONE: it knows nothing. */
int credential_ask(struct credential *c, struct err *e);

/* ---- registries.c ---- */

/* Where an image may be had, and with which credentials; freed by sources_done(). */
struct sources {
	struct image_source items[IMAGE_SOURCES_MAX];
	struct credential credentials[IMAGE_SOURCES_MAX];
	size_t count;
	bool tags_at_last;
	bool asks; /* a helper is to be asked: sources_ask() */
};

/*
 * Of an image's registry.  'username' and 'password', where they are not NULL, are for
 * the registry itself.
 */
int sources_find(const struct agent_options *o, const char *reference, const char *username,
		 const char *password, struct sources *ret, struct err *e);
/* Ask the helpers: for a thread. */
int sources_ask(struct sources *s, struct err *e);
void sources_done(struct sources *s);

/* ---- images.c ---- */

/* Digests of the images that containers have; the caller frees the array, not what it points to. */
const char **images_in_use(const struct agent *a, size_t *ret_count);
/* Ready roots and mounted indexes let go of what they hold: images are to be removed. */
void images_let_go(struct agent *a);

/* Answers to operations, as in ask.c. */
int images_list(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e);
int images_describe(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e);
int images_tag(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e);
int images_remove(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e);
int images_prune(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e);

/* ---- garbage.c ---- */

struct garbage *garbage_new(struct agent *a);
void garbage_free(struct garbage *g); /* NULL is fine */

/* ---- pulls.c ---- */

typedef void pull_fn(void *ctx, struct image *own_image, enum image_reason reason,
		     const struct err *e);

struct pulls *pulls_new(struct agent *a);
void pulls_free(struct pulls *p);
/* We end, but the tasks are still there when we are again: what has come of their images stays. */
void pulls_leave(struct pulls *p);
/* What the store has, when that is good enough to ask nobody; else NULL. */
struct image *pulls_here(struct pulls *p, const char *reference);
/*
 * 'on_done' is called once, later, unless the waiter is cancelled first.  'secret' names
 * the credentials for the registry; NULL: as the node has them.
 */
struct pull_waiter *pulls_want(struct pulls *p, const char *reference, const char *secret,
			       pull_fn *on_done, void *ctx);
void pulls_cancel(struct pull_waiter *w);
/* For PullImage and DescribePull: a pull by its id, and what it has done so far. */
int pulls_begin_for_caller(struct pulls *p, const json_t *request, char ret_id[33], struct err *e);
/* For PushImage: described as a pull. */
int pulls_begin_push(struct pulls *p, const json_t *request, char ret_id[33], struct err *e);
json_t *pulls_describe(struct pulls *p, const char *id, int64_t version, bool *ret_changed);

/* ---- channel.c ---- */

struct channel *channel_new(struct agent *a);
/* Dial, now that the tasks' containers were looked at; again: nothing. */
void channel_start(struct channel *c);
void channel_free(struct channel *c);
/* Send a message if there is a server; false: there is none. */
bool channel_send(struct channel *c, enum ecs_node_type type, const void *message);
/* Ask the server, which says so by an answer of this id; false: there is none that answers. */
bool channel_ask(struct channel *c, int64_t id, const char *operation, json_t *request);
/* Something is untold: report it when the last report was acknowledged. */
void channel_report(struct channel *c);

/* ---- identity.c ---- */

/* Who this node is; at first it joins, which waits until the server has answered. */
int identity_open(const struct agent_options *o, struct identity **ret, struct err *e);
void identity_close(struct identity *id);
const char *identity_instance(const struct identity *id);
/* A stream to the server, by another process. */
int identity_dial(struct identity *id, int *ret_fd, struct err *e);
/* Another certificate: a request, malloc'ed, and what came of it. */
int identity_request(const struct identity *id, char **ret, struct err *e);
int identity_certified(struct identity *id, const struct ecs_node_certificate *c, struct err *e);
int identity_forget(struct identity *id, struct err *e); /* it was removed */

/* ---- ask.c ---- */

/* Who asks, and is told: once, now or later.  'fault' NULL: 'response' is the answer, or NULL. */
struct asker {
	void (*answer)(struct agent *a, const struct asker *asker, json_t *response,
		       const char *fault);
	int64_t id;                /* the server's, of the question */
	struct http_request *http; /* root's */
};
bool ask_is_known(const char *operation);
void ask_put(struct agent *a, const char *operation, json_t *request, const struct asker *asker);
/* New output, a changed task or pull: questions that wait may have an answer. */
void ask_look_again(struct agent *a);
/* Those that wait are told that the node ends. */
void ask_end(struct agent *a);

/* ---- local.c ---- */

/* Answer at the listening socket, ours from now on. */
int local_start(struct agent *a, int fd, struct http_server **ret, struct err *e);

/* ---- ship.c, spool.c ---- */

struct shipping *shipping_new(struct agent *a);
void shipping_free(struct shipping *s);
/* The container's output is to be shipped, from where it was left. */
void shipping_begin(struct container *c);
void shipping_on_output(struct container *c);
void shipping_on_ack(struct shipping *s, const struct ecs_node_log_ack *ack);
/* The server is there again: what was not acknowledged is sent again. */
void shipping_resume(struct shipping *s);
/* All output of the container has been acknowledged, or it ships none. */
bool shipping_is_over(const struct container *c);
void shipping_end(struct container *c);

/* Where a chunk began, from the cursor that it left; and some bytes on in it. */
struct keeper_cursor spool_back(const struct keeper_cursor *behind, size_t size);
void spool_forward(struct keeper_cursor *c, size_t size);
/* GetTaskLogs: chunks from the cursor of the request on. */
int spool_read(const struct task *t, const json_t *request, json_t **ret, struct err *e);

/* ---- agent.c ---- */

/* Start the keeper, and connect to it. */
int agent_spawn_keeper(const struct agent_options *o, struct keeper **ret, struct err *e);
/* It has said hello: it tells what it has, or (KEEPER_OTHER) executes our program first. */
int agent_greet_keeper(const struct agent_options *o, struct keeper *k, bool other, struct err *e);

/* ---- records.c ---- */

int records_open(const char *path, struct records **ret, struct err *e);
void records_close(struct records *r);
int records_put_task(struct records *r, const char *id, const json_t *doc, struct err *e);
int records_drop_task(struct records *r, const char *id, struct err *e);
int records_each_task(struct records *r, int (*fn)(void *ctx, const json_t *doc, struct err *e),
		      void *ctx, struct err *e);
int records_put_meta(struct records *r, const char *key, const char *value, struct err *e);
char *records_get_meta(struct records *r, const char *key); /* the caller's; NULL: absent */
int records_put_peer(struct records *r, const struct ecs_node_peer *peer, struct err *e);
int records_drop_peer(struct records *r, const char *id, struct err *e);
int records_each_peer(struct records *r,
		      int (*fn)(void *ctx, const struct ecs_node_peer *peer, struct err *e),
		      void *ctx, struct err *e);
int records_put_group(struct records *r, const struct ecs_node_group *group, struct err *e);
int records_drop_group(struct records *r, const char *id, struct err *e);
int records_change_members(struct records *r, const struct ecs_node_membership *m, struct err *e);
int records_each_group(struct records *r,
		       int (*fn)(void *ctx, const struct ecs_node_group *group, struct err *e),
		       void *ctx, struct err *e);

/* ---- node.c ---- */

/* What hello says, in an arena. */
int node_describe(const struct agent *a, struct arena *arena, struct ecs_node_hello *ret,
		  struct err *e);
char *node_boot_id(void);
int64_t node_memory_mib(void); /* of the host */
