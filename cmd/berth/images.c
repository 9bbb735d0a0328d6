/* cmd/berth/images.c - images and pull
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define BAR_WIDTH 24

static const char *text(const json_t *doc, const char *member)
{
	const char *value = json_string_value(json_object_get(doc, member));

	return value ? value : "";
}

static char *size_of(int64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit + 1 < ARRAY_COUNT(units)) {
		value /= 1000;
		unit++;
	}
	return xasprintf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- images ---- */

static int images(struct context *c, const void *options, char **words, int count)
{
	static const char *const headers[] = {"IMAGE", "DIGEST", "SIZE", "PULLED"};
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers)};
	auto_json json_t *reply = NULL;
	struct err e = {0};
	json_t *image;
	size_t i;

	(void)options;
	(void)words;
	(void)count;
	if (client_call(c->client, CLIENT_BERTH, "ListImages", request_new(c), &reply, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON) {
		print_json(json_object_get(reply, "images"));
		return EXIT_OK;
	}
	json_array_foreach (json_object_get(reply, "images"), i, image) {
		table_add(&t,
			  xstrdup(*text(image, "reference") ? text(image, "reference") : "<none>"));
		table_add(&t, xasprintf("%.19s", text(image, "digest")));
		table_add(&t, size_of(json_integer_value(json_object_get(image, "size"))));
		table_add(&t, age_of(json_object_get(image, "pulledAt")));
	}
	table_print(&t);
	return EXIT_OK;
}

const struct command command_images = {
	.name = "images",
	.arguments = "",
	.summary = "List the images that a node holds.",
	.size = 1,
	.run = images,
};

/* ---- pull ---- */

struct progress {
	bool terminal;
	size_t lines; /* on the terminal, to be written over */
	json_t *told; /* phases that were told, by layer, where there is no terminal */
};

static void draw_layer(const json_t *layer)
{
	int64_t bytes = json_integer_value(json_object_get(layer, "bytes"));
	int64_t total = json_integer_value(json_object_get(layer, "totalBytes"));
	bool over = str_eq(text(layer, "phase"), "DONE") || str_eq(text(layer, "phase"), "EXISTS");
	int filled = over ? BAR_WIDTH : total > 0 ? (int)(bytes * BAR_WIDTH / total) : 0;
	auto_free char *done = size_of(over && total ? total : bytes);
	auto_free char *of = size_of(total);
	char bar[BAR_WIDTH + 1];

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
	bar[BAR_WIDTH] = '\0';
	(void)fprintf(stderr, "\033[2K%.12s [%s] %s / %s %s\n",
		      text(layer, "digest") + strlen("sha256:"), bar, done, of,
		      text(layer, "phase"));
}

static void show_progress(struct progress *p, const json_t *pull)
{
	json_t *layer;
	size_t i;

	if (p->terminal && p->lines)
		(void)fprintf(stderr, "\033[%zuA", p->lines);
	p->lines = 0;
	json_array_foreach (json_object_get(pull, "layers"), i, layer) {
		const char *digest = text(layer, "digest"), *phase = text(layer, "phase");

		if (p->terminal) {
			draw_layer(layer);
			p->lines++;
		} else if (*digest && !str_eq(text(p->told, digest), phase)) {
			(void)fprintf(stderr, "%.19s %s\n", digest, phase);
			(void)json_object_set_new(p->told, digest, json_string(phase));
		}
	}
}

static int follow_pull(struct context *c, const char *id, json_t **ret, struct err *e)
{
	auto_json json_t *told = json_object();
	struct progress p = {.terminal = isatty(STDERR_FILENO), .told = told};
	int64_t version = 0;

	for (;;) {
		auto_json json_t *pull = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "pullId", json_string(id));
		(void)json_object_set_new(request, "version", json_integer(version));
		if (client_call(c->client, CLIENT_BERTH, "DescribePull", request, &pull, e) < 0)
			return -e->code;
		show_progress(&p, pull);
		version = json_integer_value(json_object_get(pull, "version"));
		if (str_eq(text(pull, "status"), "FAILED"))
			return err_set(e, EREMOTEIO, "%s: %s", text(pull, "image"),
				       text(pull, "reason"));
		if (str_eq(text(pull, "status"), "DONE")) {
			*ret = json_incref(pull);
			return 0;
		}
	}
}

static int pull(struct context *c, const void *options, char **words, int count)
{
	auto_json json_t *reply = NULL, *done = NULL;
	json_t *request = request_new(c);
	struct err e = {0};

	(void)options;
	(void)count;
	(void)json_object_set_new(request, "image", json_string(words[0]));
	if (client_call(c->client, CLIENT_BERTH, "PullImage", request, &reply, &e) < 0 ||
	    follow_pull(c, text(reply, "pullId"), &done, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON)
		print_json(done);
	else
		(void)printf("%s\n", text(done, "imageDigest"));
	return EXIT_OK;
}

const struct command command_pull = {
	.name = "pull",
	.arguments = "IMAGE",
	.summary = "Pull an image to a node.",
	.size = 1,
	.min_words = 1,
	.max_words = 1,
	.run = pull,
};
