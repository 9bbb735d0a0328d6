/* image/passwd.c - who a user of an image is
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/passwd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define ID_MAX     (UINT32_MAX - 1) /* the last one means "no change" */
#define FIELDS_MAX 7
#define NUMBER_MAX 16

struct field {
	const char *text; /* not terminated */
	size_t len;
};

struct line {
	struct field fields[FIELDS_MAX];
	size_t count;
};

/* Cut the line at *text into its fields; false at the end of the text. */
static bool next_line(const char **text, struct line *ret)
{
	const char *p = *text;
	size_t left = strcspn(p, "\n");

	if (!*p)
		return false;
	*text = p[left] ? p + left + 1 : p + left;
	for (ret->count = 0; ret->count < FIELDS_MAX;) {
		const char *colon = memchr(p, ':', left);
		size_t len = colon ? (size_t)(colon - p) : left;

		ret->fields[ret->count++] = (struct field){p, len};
		if (!colon)
			break;
		p += len + 1;
		left -= len + 1;
	}
	return true;
}

static bool field_is(const struct field *f, const char *text, size_t len)
{
	return f->len == len && memcmp(f->text, text, len) == 0;
}

static bool read_id(const char *text, size_t len, uint32_t *ret)
{
	char number[NUMBER_MAX];

	if (len == 0 || len >= sizeof(number))
		return false;
	memcpy(number, text, len);
	number[len] = '\0';
	return parse_u32(number, ID_MAX, ret);
}

static bool is_number(const char *text, size_t len)
{
	return len > 0 && strspn(text, "0123456789") >= len;
}

static void set_home(struct image_user *u, const struct field *home)
{
	if (home->len == 0 || home->len >= sizeof(u->home) || home->text[0] != '/')
		return;
	memcpy(u->home, home->text, home->len);
	u->home[home->len] = '\0';
}

/* The entry for this name or number; its name, of length 0 when there is none. */
static struct field find_user(const char *passwd, const struct field *want, struct image_user *u)
{
	uint32_t number = 0, uid, gid;
	bool numeric = want->len == 0 || read_id(want->text, want->len, &number);
	struct line l;

	while (next_line(&passwd, &l)) {
		if (l.count < FIELDS_MAX || l.fields[0].len == 0 ||
		    !read_id(l.fields[2].text, l.fields[2].len, &uid) ||
		    !read_id(l.fields[3].text, l.fields[3].len, &gid))
			continue;
		if (!(numeric && uid == number) &&
		    !(want->len && field_is(&l.fields[0], want->text, want->len)))
			continue;
		u->uid = uid;
		u->gid = gid;
		set_home(u, &l.fields[5]);
		return l.fields[0];
	}
	u->uid = number;
	return (struct field){"", 0};
}

static bool find_group(const char *group, const struct field *want, uint32_t *ret)
{
	uint32_t number = 0, gid;
	bool numeric = read_id(want->text, want->len, &number);
	struct line l;

	while (next_line(&group, &l)) {
		if (l.count < 3 || l.fields[0].len == 0 ||
		    !read_id(l.fields[2].text, l.fields[2].len, &gid))
			continue;
		if ((numeric && gid == number) || field_is(&l.fields[0], want->text, want->len)) {
			*ret = gid;
			return true;
		}
	}
	*ret = number;
	return numeric;
}

static bool lists_name(const struct field *members, const struct field *name)
{
	const char *p = members->text, *end = p + members->len;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		size_t len = comma ? (size_t)(comma - p) : (size_t)(end - p);

		if (field_is(name, p, len))
			return true;
		p += len + 1;
	}
	return false;
}

static bool has_group(const struct image_user *u, uint32_t gid)
{
	for (size_t i = 0; i < u->group_count; i++)
		if (u->groups[i] == gid)
			return true;
	return u->gid == gid;
}

static int add_groups(const char *group, const struct field *name, struct image_user *u,
		      struct err *e)
{
	uint32_t gid;
	struct line l;

	while (next_line(&group, &l)) {
		if (l.count < 4 || !read_id(l.fields[2].text, l.fields[2].len, &gid) ||
		    !lists_name(&l.fields[3], name) || has_group(u, gid))
			continue;
		if (u->group_count == IMAGE_USER_GROUPS_MAX)
			return err_set(e, E2BIG, "in more than %d groups", IMAGE_USER_GROUPS_MAX);
		u->groups[u->group_count++] = gid;
	}
	return 0;
}

static int lookup(const char *passwd, const char *group, const char *user, struct image_user *u,
		  struct err *e)
{
	const char *colon = strchr(user, ':');
	const struct field want = {user, colon ? (size_t)(colon - user) : strlen(user)};
	const struct field want_group = {colon ? colon + 1 : "", colon ? strlen(colon + 1) : 0};
	struct field name;
	uint32_t id;

	if (strlen(user) > USER_LEN_MAX)
		return err_set(e, EINVAL, "longer than %d characters", USER_LEN_MAX);
	if ((is_number(want.text, want.len) && !read_id(want.text, want.len, &id)) ||
	    (is_number(want_group.text, want_group.len) &&
	     !read_id(want_group.text, want_group.len, &id)))
		return err_set(e, EINVAL, "ids end at %u", ID_MAX);

	name = find_user(passwd, &want, u);
	if (name.len == 0 && want.len && !is_number(want.text, want.len))
		return err_set(e, ENOENT, "no such user in etc/passwd");
	if (want_group.len == 0)
		return name.len ? add_groups(group, &name, u, e) : 0;
	if (!find_group(group, &want_group, &u->gid))
		return err_set(e, ENOENT, "no such group in etc/group");
	return 0;
}

int passwd_lookup(const char *passwd, const char *group, const char *user, struct image_user *ret,
		  struct err *e)
{
	struct image_user u = {.home = "/"};

	if (lookup(passwd, group, user, &u, e) < 0)
		return err_wrap(e, "user '%.*s'", USER_LEN_MAX, user);
	*ret = u;
	return 0;
}
