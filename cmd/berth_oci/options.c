/* cmd/berth_oci/options.c - the command line, by tables
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth_oci/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

static const struct option *find(const struct option *table, size_t count, const char *name,
				 size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return &table[i];
		if (len == 1 && table[i].letter == name[0])
			return &table[i];
	}
	return NULL;
}

bool option_bool(const char *word, bool *ret)
{
	static const char *const words[][6] = {{"0", "f", "F", "false", "False", "FALSE"},
					       {"1", "t", "T", "true", "True", "TRUE"}};

	for (unsigned yes = 0; yes < ARRAY_COUNT(words); yes++)
		for (size_t i = 0; i < ARRAY_COUNT(words[yes]); i++)
			if (str_eq(words[yes][i], word)) {
				*ret = yes;
				return true;
			}
	return false;
}

static int store_flag(const struct option *o, const char *value, bool *to, struct err *e)
{
	if (value && !option_bool(value, to))
		return err_set(e, EINVAL, "--%s: '%s' is neither true nor false", o->name, value);
	if (!value)
		*to = true;
	return 0;
}

static int store_list(const struct option *o, const char *value, const char **to, struct err *e)
{
	size_t n = 0;

	while (to[n])
		n++;
	if (n == OPTION_LIST_MAX)
		return err_set(e, EINVAL, "--%s: given more than %d times", o->name,
			       OPTION_LIST_MAX);
	to[n] = value;
	return 0;
}

static int store(const struct option *o, const char *value, struct arguments *ret, struct err *e)
{
	void *to = (char *)ret + o->offset;

	switch (o->kind) {
	case OPTION_FLAG:
		return store_flag(o, value, to, e);
	case OPTION_STRING:
		*(const char **)to = value;
		return 0;
	case OPTION_NUMBER:
		if (!parse_u32(value, UINT32_MAX, to))
			return err_set(e, EINVAL, "--%s: '%s' is not a number", o->name, value);
		return 0;
	case OPTION_LIST:
		return store_list(o, value, to, e);
	}
	return 0;
}

int options_parse(const struct option *table, size_t count, char **argv, struct arguments *ret,
		  struct err *e)
{
	int i = 0;

	for (; argv[i] && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *name = argv[i] + 1 + (argv[i][1] == '-'), *value;
		size_t len = strcspn(name, "=");
		const struct option *o;

		if (!*name)
			return i + 1; /* "--" */
		o = find(table, count, name, len);
		if (!o)
			return err_set(e, EINVAL, "unknown option %s", argv[i]);
		value = name[len] ? name + len + 1 : NULL;
		if (!value && o->kind != OPTION_FLAG) {
			value = argv[++i];
			if (!value)
				return err_set(e, EINVAL, "--%s: needs a value", o->name);
		}
		if (store(o, value, ret, e) < 0)
			return -e->code;
	}
	return i;
}

void options_print(const struct option *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s%s%s%s%c", table[i].name,
			       table[i].value ? " " : "", table[i].value ? table[i].value : "",
			       table[i].letter ? ", -" : "",
			       table[i].letter ? table[i].letter : ' ');
		printf("  %-30s %s\n", left, table[i].help);
	}
}
