/* base/js.h - JSON, by tables
 * SPDX-License-Identifier: Apache-2.0
 *
 * A shape is a C struct described member by member.  One table decodes,
 * checks and encodes it; nobody walks a document by hand.
 *
 *   struct port { char *protocol; uint32_t container_port; };
 *
 *   static const struct js_field port_fields[] = {
 *           {"containerPort", JS_U32,    offsetof(struct port, container_port), JS_REQUIRED},
 *           {"protocol",      JS_STRING, offsetof(struct port, protocol)},
 *   };
 *   static const struct js_shape port_shape = JS_SHAPE("Port", struct port, port_fields);
 *
 * Decoded objects own everything in the arena given.  Members that the table
 * does not name are passed over.  JSON null counts as absent.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum js_kind {
	JS_STRING,  /* char *, NULL when absent */
	JS_BOOL,    /* bool */
	JS_U32,     /* uint32_t */
	JS_I64,     /* int64_t */
	JS_DOUBLE,  /* double; JSON integers too */
	JS_OBJECT,  /* struct of .shape, in place */
	JS_STRINGS, /* struct js_strings */
	JS_OBJECTS, /* struct js_list of .shape */
	JS_MAP,     /* struct js_map: an object whose values are strings */
	JS_JSON,    /* json_t *, borrowed from the document decoded; NULL when absent */
};

enum {
	JS_REQUIRED = 1,
	/*
	 * The member is a pointer to its kind (bool *, int64_t *, struct x *),
	 * NULL when absent: where absent means something else than zero.
	 */
	JS_POINTER = 2,
	/* Encode even when it is zero, empty or false (strings: when NULL, as ""). */
	JS_ALWAYS = 4,
};

struct js_shape;

struct js_field {
	const char *name;
	enum js_kind kind;
	size_t offset;
	unsigned flags;
	const struct js_shape *shape; /* JS_OBJECT, JS_OBJECTS */
};

struct js_shape {
	const char *name;
	size_t size;
	const struct js_field *fields;
	size_t count;
};

#define JS_SHAPE(shape_name, type, table)                                      \
	{                                                                      \
		.name = (shape_name), .size = sizeof(type), .fields = (table), \
		.count = sizeof(table) / sizeof((table)[0])                    \
	}

struct js_strings {
	char **items; /* count of them, then NULL: an argv */
	size_t count;
};

struct js_list {
	void *items; /* array of structs */
	size_t count;
};

struct js_pair {
	char *key, *value;
};

struct js_map {
	struct js_pair *items;
	size_t count;
};

/* The i-th struct of a js_list. */
#define JS_AT(list, type, i) (&((type *)(list).items)[i])

/*
 * Text to a document.  Refuses duplicate keys, more than 'depth' levels of
 * nesting, invalid UTF-8 and anything behind the value; the error has the
 * position.  The document is the caller's (json_decref).
 */
int js_parse(const char *text, size_t size, unsigned depth, json_t **ret, struct err *e);

/*
 * The same for documents whose integers are unsigned 64 bit wide: one above
 * INT64_MAX arrives as the int64_t with the same bits.  Above 2^64-1: refused.
 */
int js_parse_u64(const char *text, size_t size, unsigned depth, json_t **ret, struct err *e);

/*
 * From now on what documents take is never given back: for a process that reads
 * few of them and ends.  To be called before there is one.
 */
void js_keep(void);

/* json_decref() of a whole document, which does not touch it where nothing is given back. */
void js_done(json_t *doc);

/* The document as compact text, malloc'ed; keys in the order of insertion. */
char *js_dump(const json_t *doc);

/*
 * Document to struct.  *ret is zeroed first.  Errors name the member by its
 * path: "containerDefinitions[0].cpu: expected an integer".
 */
int js_decode(const json_t *doc, const struct js_shape *shape, struct arena *a, void *ret,
	      struct err *e);

/* js_parse and js_decode in one; JS_JSON members are not allowed (nothing would own them). */
int js_decode_text(const char *text, size_t size, const struct js_shape *shape, struct arena *a,
		   void *ret, struct err *e);

/* Any bytes as a JSON string: what is not UTF-8 becomes U+FFFD. */
json_t *js_string(const char *text, size_t size);

/* Struct to document; members that are absent, zero or empty are left out. */
json_t *js_encode(const struct js_shape *shape, const void *object);

static inline void auto_json_(json_t **p)
{
	js_done(*p);
}
#define auto_json __attribute__((cleanup(auto_json_)))
