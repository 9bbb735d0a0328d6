/* cmd/berth/output.c - tables and documents on standard output
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "cmd/berth/command.h"

#define COLUMN_GAP 2

void print_json(const json_t *doc)
{
	(void)json_dumpf(doc, stdout, JSON_INDENT(4));
	(void)putchar('\n');
}

const char *text_of(const json_t *doc, const char *member)
{
	const char *value = json_string_value(json_object_get(doc, member));

	return value ? value : "";
}

long long number_of(const json_t *doc, const char *member)
{
	return (long long)json_integer_value(json_object_get(doc, member));
}

void table_add(struct table *t, char *own_cell)
{
	t->cells = xgrow(t->cells, t->count, &t->capacity, sizeof(*t->cells));
	t->cells[t->count++] = own_cell;
}

/* Characters, not bytes: those that do not begin with 10. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, size_t column_width, bool last)
{
	if (last)
		(void)printf("%s\n", text);
	else
		(void)printf("%s%*s", text, (int)(column_width - width(text) + COLUMN_GAP), "");
}

void table_print(struct table *t)
{
	auto_free size_t *widths = xcalloc(t->columns, sizeof(*widths));

	for (size_t i = 0; i < t->columns; i++)
		widths[i] = width(t->headers[i]);
	for (size_t i = 0; i < t->count; i++)
		if (width(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = width(t->cells[i]);

	for (size_t i = 0; i < t->columns; i++)
		print_cell(t->headers[i], widths[i], i + 1 == t->columns);
	for (size_t i = 0; i < t->count; i++) {
		print_cell(t->cells[i], widths[i % t->columns], (i + 1) % t->columns == 0);
		free(t->cells[i]);
	}
	free(t->cells);
}

char *age_of(const json_t *timestamp)
{
	static const struct {
		const char *name;
		long long seconds;
	} units[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}};
	long long s;

	if (!timestamp)
		return xstrdup("-");
	s = (long long)((double)clock_wall_ms() / 1000 - json_number_value(timestamp));
	for (size_t i = 0; i < ARRAY_COUNT(units); i++)
		if (s >= units[i].seconds)
			return xasprintf("%lld %s%s", s / units[i].seconds, units[i].name,
					 s / units[i].seconds == 1 ? "" : "s");
	return xstrdup("now");
}
