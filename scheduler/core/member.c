/* scheduler/core/member.c - nodes join the cluster and leave it
 * SPDX-License-Identifier: Apache-2.0
 *
 * A member is a node elsewhere that has joined: a name, which is that of its
 * container instance, and the SHA-256 of its key.  As long as the record is
 * there, who proves the key may say hello by the name; without it nobody may,
 * whatever certificate is shown.  So removing a node is removing a record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

void member_free(struct member *m)
{
	record_done(&m->record);
	free(m->id);
	free(m);
}

int member_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "_id");
	struct member *m;

	if (!id || !doc_string(own_doc, "key"))
		return err_set(e, EUCLEAN, "is not whole");
	m = xcalloc(1, sizeof(*m));
	m->id = xstrdup(id);
	record_init(&m->record, own_doc, "member/%s", id);
	(void)map_put(&c->members, id, m);
	(void)map_put(&c->members_by_key, doc_string(own_doc, "key"), m);
	return 0;
}

/* ---- joining ---- */

static struct member *make(struct core *c, const struct cluster *cl, const struct activation *a,
			   const char *key, const char *hostname)
{
	char id[ECS_ID_LEN + 1];
	struct err e;
	json_t *doc;

	instance_make_id(c, id);
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "_id", id, "key", key, "cluster",
			cl->name, "activation", a->id, "hostname", hostname, "joinedAt",
			(json_int_t)c->now_ms);
	(void)json_object_set(doc, "tags", json_object_get(a->record.doc, "_tags"));
	(void)member_load(c, doc, &e);
	record_touch(c, &((struct member *)map_find(&c->members, id))->record);
	return map_find(&c->members, id);
}

int core_node_join(struct core *c, const struct ecs_node_join *j, const char *key, int64_t now_ms,
		   const char **ret_instance, struct err *e)
{
	struct activation *a;
	const struct member *m = map_find(&c->members_by_key, key);
	const struct cluster *cl;
	const char *cluster;
	struct ecs_fault f;

	c->now_ms = now_ms;
	if (j->protocol != ECS_NODE_PROTOCOL)
		return err_set(e, EPROTO, "the node speaks protocol %lld, the server %d",
			       (long long)j->protocol, ECS_NODE_PROTOCOL);
	a = activation_find(c, j->activation_id, j->code, e);
	if (!a)
		return -e->code;
	if (!m) {
		cluster = doc_string(a->record.doc, "_cluster");
		cl = cluster_by_name(c, cluster ? cluster : j->cluster, &f);
		if (!cl)
			return err_set(e, ENOENT, "there is no cluster '%.255s'",
				       cluster ? cluster : j->cluster);
		if (activation_use(c, a, e) < 0)
			return -e->code;
		m = make(c, cl, a, key, j->hostname);
	} else if (!str_eq(doc_string(m->record.doc, "activation"), a->id)) {
		return err_set(e, EEXIST, "the node has joined with another token before");
	}
	*ret_instance = m->id; /* its answer was lost: it is told again */
	return 0;
}

struct cluster *member_cluster(struct core *c, const char *id, const char *key)
{
	const struct member *m = id ? map_find(&c->members, id) : NULL;

	if (!m || !str_eq(doc_string(m->record.doc, "key"), key))
		return NULL;
	return map_find(&c->clusters, doc_string(m->record.doc, "cluster"));
}

bool member_is(struct core *c, const char *id)
{
	return id && map_find(&c->members, id);
}

const json_t *member_tags(struct core *c, const char *id)
{
	const struct member *m = map_find(&c->members, id);

	return m ? json_object_get(m->record.doc, "tags") : NULL;
}

/* ---- leaving ---- */

static void forget(struct core *c, struct instance *i)
{
	struct member *m = map_remove(&c->members, i->id);
	struct task *t;

	while ((t = task_at(c, i->first_task))) {
		if (t->last_status != TASK_STOPPED) {
			core_task_give_up(c, t, "UserInitiated",
					  "Container instance deregistration forced by user");
			core_task_stopped(c, t);
		}
		core_task_release(c, t);
		core_task_take_off(c, t);
	}
	interfaces_forget(c, i);
	peers_forget(c, i);
	host_address_take_back(c, i);
	if (m) {
		(void)map_remove(&c->members_by_key, doc_string(m->record.doc, "key"));
		record_delete(c, &m->record);
		member_free(m);
	}
	table_remove(&i->cluster->table, i);
	(void)map_remove(&i->cluster->instances, i->id);
	record_delete(c, &i->record);
	if (i->reported.doc)
		record_delete(c, &i->reported);
	instance_free(i);
}

static bool has_tasks(const struct core *c, const struct instance *i)
{
	for (struct task *t = task_at(c, i->first_task); t; t = task_at(c, t->next_there))
		if (t->last_status != TASK_STOPPED)
			return true;
	return false;
}

json_t *deregister_container_instance(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	struct ecs_node_refused refused = {.reason = (char[]){"the node was removed"},
					   .removed = true};
	struct instance *i;
	json_t *reply;

	if (!cl)
		return NULL;
	i = instance_named(cl, c, doc_string(request, "containerInstance"), f);
	if (!i)
		return NULL;
	if (!doc_true(request, "force") && has_tasks(c, i)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Found running tasks on the instance.");
		return NULL;
	}
	effect_refuse(c, i, &refused);
	i->connected = i->active = false;
	doc_set_string(i->record.doc, "status", "INACTIVE");
	reply = json_pack("{s:o}", "containerInstance", instance_show(c, i, request));
	forget(c, i);
	return reply;
}
