/* scheduler/core/account.c - account settings
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each setting has the one value that is true of Berth.  To set it to that is
 * accepted and remembered; any other value is refused by name, because it would
 * be ignored.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define KEY "account/settings"

#define PRINCIPAL_MAX 2048 /* characters of an ARN of IAM */

static const struct {
	const char *name, *value;
} settings[] = {
	{"serviceLongArnFormat", "enabled"},
	{"taskLongArnFormat", "enabled"},
	{"containerInstanceLongArnFormat", "enabled"},
	{"awsvpcTrunking", "enabled"}, /* there is no limit of interfaces that it could lift */
	{"containerInsights", "disabled"},
	{"fargateFIPSMode", "disabled"},
	{"tagResourceAuthorization", "off"},
	{"fargateTaskRetirementWaitPeriod", "7"},
	{"guardDutyActivate", "off"},
	{"defaultLogDriverMode", "blocking"},
};

int account_load(struct core *c, json_t *own_doc, struct err *e)
{
	if (!json_is_object(json_object_get(own_doc, "principals")))
		return err_set(e, EUCLEAN, "is not whole");
	record_init(&c->account, own_doc, KEY);
	return 0;
}

/* Who has set what: principal to names, in the document. */
static json_t *principals(struct core *c)
{
	if (!c->account.doc)
		record_init(&c->account, json_pack("{s:{}}", "principals"), KEY);
	return json_object_get(c->account.doc, "principals");
}

static json_t *show(size_t i, const char *principal)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "name", settings[i].name, "value",
			 settings[i].value, "principalArn", principal, "type", "user");
}

static char *root_of(const struct core *c)
{
	return xasprintf("arn:aws:iam::%s:root", c->o.identity.account);
}

static int find(const char *name, size_t *ret, struct ecs_fault *f)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		if (str_eq(settings[i].name, name)) {
			*ret = i;
			return 0;
		}
	}
	return ecs_fault_set(f, ECS_FAULT_CLIENT, "%s is not supported by this version of Berth",
			     name);
}

/* A user, a role or the root of this account: "arn:aws:iam::ACCOUNT:user/name". */
static int check_principal(const struct core *c, const char *arn, struct ecs_fault *f)
{
	auto_free char *prefix = xasprintf("arn:aws:iam::%s:", c->o.identity.account);
	const char *who = str_starts(arn, prefix) ? arn + strlen(prefix) : "";

	if (strlen(arn) <= PRINCIPAL_MAX &&
	    (strcmp(who, "root") == 0 || (str_starts(who, "user/") && who[5]) ||
	     (str_starts(who, "role/") && who[5])))
		return 0;
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "principalArn '%.300s' is not a user, a role or the root of account "
			     "%s.",
			     arn, c->o.identity.account);
}

json_t *put_account_setting(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_free char *root = root_of(c);
	const char *value = doc_string(request, "value"),
		   *principal = doc_string(request, "principalArn");
	json_t *of;
	size_t i;

	if (!principal)
		principal = root;
	if (find(doc_string(request, "name"), &i, f) < 0 || check_principal(c, principal, f) < 0)
		return NULL;
	if (!str_eq(value, settings[i].value)) {
		(void)ecs_fault_set(f, ECS_FAULT_CLIENT,
				    "%s can only be '%s' in this version of Berth",
				    settings[i].name, settings[i].value);
		return NULL;
	}
	of = json_object_get(principals(c), principal);
	if (!of) {
		of = json_object();
		(void)json_object_set_new(principals(c), principal, of);
	}
	(void)json_object_set_new(of, settings[i].name, json_true());
	record_touch(c, &c->account);
	return json_pack("{s:o}", "setting", show(i, principal));
}

json_t *delete_account_setting(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_free char *root = root_of(c);
	const char *principal = doc_string(request, "principalArn");
	size_t i;

	if (!principal)
		principal = root;
	if (find(doc_string(request, "name"), &i, f) < 0)
		return NULL;
	if (json_object_del(json_object_get(principals(c), principal), settings[i].name) == 0)
		record_touch(c, &c->account);
	return json_pack("{s:o}", "setting", show(i, principal));
}

/* The page has lower-case "maxResults", which is 10 here unless said otherwise. */
json_t *list_account_settings(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_free char *root = root_of(c);
	const char *name = doc_string(request, "name"), *value = doc_string(request, "value"),
		   *principal = doc_string(request, "principalArn");
	bool effective = doc_true(request, "effectiveSettings");
	json_t *list;

	if (value && !name) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "value needs the name of an account setting.");
		return NULL;
	}
	list = json_array();
	if (!principal)
		principal = root;
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		bool set = json_object_get(json_object_get(principals(c), principal),
					   settings[i].name) != NULL;

		if ((set || effective) && (!name || str_eq(name, settings[i].name)) &&
		    (!value || str_eq(value, settings[i].value)))
			(void)json_array_append_new(list, show(i, principal));
	}
	return page_of_objects(list, request, PAGE_MAX_FEWER, "settings", f);
}
