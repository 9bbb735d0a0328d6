/* cmd/berth/main.c - the command for people
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

static const struct command *const commands[] = {
	&command_run,     &command_ps,    &command_logs,   &command_stop,     &command_inspect,
	&command_images,  &command_pull,  &command_push,   &command_image,    &command_doctor,
	&command_capture, &command_nodes, &command_node,   &command_describe, &command_top,
	&command_events,  &command_login, &command_logout, &command_version};

static const struct option_row global_options[] = {
	{"root", 0, OPTION_STRING, offsetof(struct context, root), "DIR",
	 "talk to the daemon of this root by its socket (default /, or BERTH_ROOT)"},
	{"endpoint", 0, OPTION_STRING, offsetof(struct context, endpoint), "URL",
	 "talk to a server by HTTP, with the AWS variables' credentials"},
	{"cluster", 0, OPTION_STRING, offsetof(struct context, cluster), "NAME",
	 "default: default"},
	{"node", 0, OPTION_STRING, offsetof(struct context, node), "NODE",
	 "of ps, images, image, pull, push: which node (default: this host; ps: all)"},
	{"output", 'o', OPTION_STRING, offsetof(struct context, output_name), "table|json",
	 "default: table"},
	{"help", 'h', OPTION_FLAG, offsetof(struct context, help), NULL, "this text"},
};

/* ---- telling ---- */

int fail(const struct err *e)
{
	(void)fprintf(stderr, "berth: %s\n", e->msg);
	switch (e->code) {
	case ENOENT:
		return EXIT_NOT_FOUND;
	case EACCES:
		return EXIT_DENIED;
	case EHOSTUNREACH:
		return EXIT_UNREACHABLE;
	case EINTR:
		return EXIT_INTERRUPTED;
	default:
		return EXIT_FAILED;
	}
}

int fail_usage(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("berth: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputs("; try --help\n", stderr);
	return EXIT_USAGE;
}

static void print_option(const struct option_row *o)
{
	auto_free char *left = xasprintf("%s%c%s--%s%s%s", o->letter ? "-" : "",
					 o->letter ? o->letter : ' ', o->letter ? ", " : "   ",
					 o->name, o->argument ? " " : "",
					 o->argument ? o->argument : "");

	(void)printf("  %-26s %s\n", left, o->help);
}

static void print_options(const char *title, const struct option_row *options, size_t count)
{
	if (!count)
		return;
	(void)printf("\n%s:\n", title);
	for (size_t i = 0; i < count; i++)
		print_option(&options[i]);
}

static void print_usage(void)
{
	(void)puts("usage: berth COMMAND [OPTIONS] [ARGUMENTS]\n\ncommands:");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		(void)printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	print_options("options of all commands", global_options, ARRAY_COUNT(global_options));
	(void)puts(
		"\nberth COMMAND --help tells more. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found,\n"
		"5 not allowed, 6 nobody answers; run: the command's own, or 125 to 127 as docker has them.");
}

/* "berth image COMMAND": what belongs to it. */
static void print_subcommands(const struct command *c)
{
	(void)printf("usage: berth %s %s\n\ncommands:\n", c->name, c->arguments);
	for (const struct command *const *s = c->subcommands; *s; s++)
		(void)printf("  %-15s %s\n", (*s)->name, (*s)->summary);
}

static void print_command_usage(const struct command *c)
{
	(void)printf("usage: berth %s %s\n\n%s\n", c->name, c->arguments, c->summary);
	print_options("options", c->options, c->option_count);
	print_options("options of all commands", global_options, ARRAY_COUNT(global_options));
}

/* ---- options ---- */

static void strings_add(struct strings *s, const char *text)
{
	s->items = xgrow(s->items, s->count, &s->capacity, sizeof(*s->items));
	s->items[s->count++] = text;
}

/* Where options are looked for, and the struct that each table fills. */
struct tables {
	const struct option_row *rows[2];
	size_t counts[2];
	void *structs[2];
};

static const struct option_row *find_long(const struct tables *t, const char *name, size_t len,
					  void **ret_struct)
{
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < t->counts[k]; i++) {
			if (strncmp(t->rows[k][i].name, name, len) == 0 &&
			    !t->rows[k][i].name[len]) {
				*ret_struct = t->structs[k];
				return &t->rows[k][i];
			}
		}
	}
	return NULL;
}

static const struct option_row *find_letter(const struct tables *t, char letter, void **ret_struct)
{
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < t->counts[k]; i++) {
			if (t->rows[k][i].letter == letter) {
				*ret_struct = t->structs[k];
				return &t->rows[k][i];
			}
		}
	}
	return NULL;
}

static void set_option(const struct option_row *o, void *into, const char *value)
{
	void *field = (char *)into + o->offset;

	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		break;
	case OPTION_STRING:
		*(const char **)field = value;
		break;
	case OPTION_LIST:
		strings_add(field, value);
		break;
	}
}

static void free_lists(const struct option_row *rows, size_t count, void *from)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].kind == OPTION_LIST)
			free(((struct strings *)(void *)((char *)from + rows[i].offset))->items);
}

/*
 * One argument that begins with '-', with the next one where it takes a value.
 * Returns how many arguments were used, or -1 after telling what is wrong.
 */
static int take_option(const struct tables *t, char *const *args, int left)
{
	const char *arg = args[0], *value = NULL;
	const struct option_row *o;
	void *into = NULL;

	if (arg[1] == '-') {
		size_t len = strcspn(arg + 2, "=");

		o = find_long(t, arg + 2, len, &into);
		value = arg[2 + len] ? arg + 3 + len : NULL;
	} else {
		o = find_letter(t, arg[1], &into);
		value = arg[2] ? arg + 2 : NULL;
	}
	if (!o) {
		(void)fail_usage("unknown option %s", arg);
		return -1;
	}
	if (o->kind == OPTION_FLAG) {
		if (value && arg[1] != '-') { /* "-df": the letters one by one */
			char rest[64];
			char *again[] = {rest};

			(void)snprintf(rest, sizeof(rest), "-%s", value);
			set_option(o, into, NULL);
			return take_option(t, again, 1) < 0 ? -1 : 1;
		}
		set_option(o, into, NULL);
		return 1;
	}
	if (!value && left < 2) {
		(void)fail_usage("option %s needs a value: %s", arg, o->argument);
		return -1;
	}
	set_option(o, into, value ? value : args[1]);
	return value ? 1 : 2;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* "inspect" is "image inspect", "ls" is "images". */
static const struct command *find_subcommand(const struct command *c, const char *word)
{
	const char *name = strcmp(word, "ls") == 0 ? "images" : word;

	for (const struct command *const *s = c->subcommands; *s; s++) {
		const char *blank = strrchr((*s)->name, ' ');

		if (strcmp(blank ? blank + 1 : (*s)->name, name) == 0)
			return *s;
	}
	return NULL;
}

/* The words that are no options, in the order given; < 0: wrong usage. */
static int parse(const struct tables *t, bool words_end_options, char **args, int count,
		 char **words)
{
	int n = 0;

	for (int i = 0; i < count;) {
		bool ended = words_end_options && n > 0;
		int used;

		if (!ended && strcmp(args[i], "--") == 0) {
			while (++i < count)
				words[n++] = args[i];
			break;
		}
		if (ended || args[i][0] != '-' || !args[i][1]) {
			words[n++] = args[i++];
			continue;
		}
		used = take_option(t, args + i, count - i);
		if (used < 0)
			return -1;
		i += used;
	}
	return n;
}

/* ---- main ---- */

static int check_context(struct context *c, struct err *e)
{
	if (!c->output_name || strcmp(c->output_name, "table") == 0)
		c->output = OUTPUT_TABLE;
	else if (strcmp(c->output_name, "json") == 0)
		c->output = OUTPUT_JSON;
	else
		return err_set(e, EINVAL, "output '%s' is neither table nor json", c->output_name);
	if (c->root && c->endpoint)
		return err_set(e, EINVAL, "--root and --endpoint exclude each other");
	if (!c->root)
		c->root = getenv("BERTH_ROOT");
	if (!c->root)
		c->root = "/";
	return 0;
}

static int run_command(struct context *c, const struct command *command, const void *options,
		       char **words, int count)
{
	const struct client_options o = {.root = c->root, .endpoint = c->endpoint};
	auto_json json_t *node = NULL;
	struct err e = {0};
	int r = 0;

	if (client_open(&o, &c->client, &e) < 0)
		return fail(&e);
	if (c->node)
		r = node_resolve(c, c->node, &node, &e);
	if (node)
		c->instance = text_of(node, "containerInstanceArn");
	r = r < 0 ? fail(&e) : command->run(c, options, words, count);
	client_free(c->client);
	return r;
}

/* The first word names the command; options of all commands may stand before it. */
static int find_word(char **argv, int argc, struct context *c)
{
	const struct tables t = {
		{global_options, NULL}, {ARRAY_COUNT(global_options), 0}, {c, NULL}};
	int i = 1;

	while (i < argc && argv[i][0] == '-') {
		int used = take_option(&t, argv + i, argc - i);

		if (used < 0)
			return -1;
		i += used;
	}
	return i;
}

static int parse_and_run(struct context *c, const struct command *command, void *options,
			 char **args, int arg_count, char **words)
{
	/* A command's own come first: `image save -o FILE` is no output of a table. */
	const struct tables t = {{command->options, global_options},
				 {command->option_count, ARRAY_COUNT(global_options)},
				 {options, c}};
	int count = parse(&t, command->words_end_options, args, arg_count, words);
	struct err e = {0};

	if (count < 0)
		return EXIT_USAGE;
	if (c->help) {
		print_command_usage(command);
		return EXIT_OK;
	}
	if (count < command->min_words || (command->max_words >= 0 && count > command->max_words))
		return fail_usage("usage: berth %s %s", command->name, command->arguments);
	if (check_context(c, &e) < 0)
		return fail_usage("%s", e.msg);
	if (c->node && !command->of_node)
		return fail_usage("%s: there is no --node for it", command->name);
	return run_command(c, command, options, words, count);
}

/* What goes into JSON would be left out there, or be something else. */
static int check_words(char *const *argv, int argc)
{
	for (int i = 1; i < argc; i++) {
		auto_json json_t *text = json_string(argv[i]);

		if (!text)
			return fail_usage("the word '%s' is not UTF-8", argv[i]);
	}
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct context c = {0};
	const struct command *command;
	auto_free void *options = NULL;
	auto_free char **words = NULL;
	static char version[] = "version";
	int at, r;

	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		argv[1] = version;
	at = check_words(argv, argc) == EXIT_OK ? find_word(argv, argc, &c) : -1;
	if (at < 0)
		return EXIT_USAGE;
	if (at == argc) {
		print_usage();
		return c.help ? EXIT_OK : EXIT_USAGE;
	}
	if (strcmp(argv[at], "help") == 0) {
		c.help = true;
		at++;
	}
	if (at == argc) {
		print_usage();
		return EXIT_OK;
	}
	command = find_command(argv[at]);
	if (!command)
		return fail_usage("'%s' is not a command of berth", argv[at]);

	if (command->subcommands) {
		const struct command *sub = ++at < argc ? find_subcommand(command, argv[at]) : NULL;

		if (!sub && (at == argc || argv[at][0] == '-')) {
			print_subcommands(command);
			return at == argc ? EXIT_USAGE : EXIT_OK;
		}
		if (!sub)
			return fail_usage("'%s' is not a command of berth %s", argv[at],
					  command->name);
		command = sub;
	}

	options = xcalloc(1, command->size);
	words = xcalloc((size_t)argc + 1, sizeof(*words));
	r = parse_and_run(&c, command, options, argv + at + 1, argc - at - 1, words);
	free_lists(command->options, command->option_count, options);
	return r;
}
