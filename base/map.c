/* base/map.c - names to pointers, in the order of insertion
 * SPDX-License-Identifier: Apache-2.0
 *
 * Entries lie in an array in order of insertion; a table of slots with linear
 * probing finds them.  Removing frees the key and leaves the entry as a
 * tombstone for both; a rebuild drops the tombstones when they are half.
 * The hash is SipHash-1-3 with a key of this process, because names come from
 * outside.
 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"

#define SLOTS_MIN 16

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static uint64_t hash_of(const char *key)
{
	static uint64_t secret[2];
	uint64_t v[4], word = 0;
	size_t len = strlen(key), i;

	if (!secret[0])
		random_bytes(secret, sizeof(secret));
	v[0] = secret[0] ^ 0x736f6d6570736575;
	v[1] = secret[1] ^ 0x646f72616e646f6d;
	v[2] = secret[0] ^ 0x6c7967656e657261;
	v[3] = secret[1] ^ 0x7465646279746573;

	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&word, key + i, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)len << 56;
	for (size_t j = 0; i + j < len; j++)
		word |= (uint64_t)(unsigned char)key[i + j] << (8 * j);
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;

	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot of the key, or the free one where it would go. */
static size_t slot_of(const struct map *m, const char *key, uint64_t hash)
{
	size_t slot = hash & (m->slot_count - 1);

	for (; m->slots[slot]; slot = (slot + 1) & (m->slot_count - 1)) {
		const struct map_entry *entry = &m->entries[m->slots[slot] - 1];

		if (entry->key && entry->hash == hash && strcmp(entry->key, key) == 0)
			break;
	}
	return slot;
}

/* Drop the tombstones and make the table fit. */
static void rebuild(struct map *m)
{
	size_t kept = 0, slots = SLOTS_MIN;

	for (size_t i = 0; i < m->used; i++)
		if (m->entries[i].key)
			m->entries[kept++] = m->entries[i];
	m->used = kept;

	while (slots < (kept + 1) * 4)
		slots *= 2;
	free(m->slots);
	m->slots = xcalloc(slots, sizeof(*m->slots));
	m->slot_count = slots;
	for (size_t i = 0; i < kept; i++)
		m->slots[slot_of(m, m->entries[i].key, m->entries[i].hash)] = (uint32_t)i + 1;
}

void map_done(struct map *m)
{
	for (size_t i = 0; i < m->used; i++)
		free(m->entries[i].key);
	free(m->entries);
	free(m->slots);
	*m = (struct map){0};
}

static struct map_entry *find(const struct map *m, const char *key)
{
	size_t slot;

	if (!m->count)
		return NULL;
	slot = slot_of(m, key, hash_of(key));
	return m->slots[slot] ? &m->entries[m->slots[slot] - 1] : NULL;
}

void *map_find(const struct map *m, const char *key)
{
	const struct map_entry *entry = find(m, key);

	return entry ? entry->value : NULL;
}

void *map_put(struct map *m, const char *key, void *value)
{
	struct map_entry *entry = find(m, key);
	void *old;

	assert(value);

	if (entry) {
		old = entry->value;
		entry->value = value;
		return old;
	}
	if ((m->used + 1) * 2 > m->slot_count)
		rebuild(m);
	m->entries = xgrow(m->entries, m->used, &m->capacity, sizeof(*m->entries));
	entry = &m->entries[m->used++];
	*entry = (struct map_entry){xstrdup(key), value, hash_of(key)};
	m->slots[slot_of(m, key, entry->hash)] = (uint32_t)m->used;
	m->count++;
	return NULL;
}

void *map_remove(struct map *m, const char *key)
{
	struct map_entry *entry = find(m, key);
	void *value;

	if (!entry)
		return NULL;
	value = entry->value;
	free(entry->key);
	entry->key = NULL;
	entry->value = NULL;
	m->count--;
	return value;
}

bool map_next_(const struct map *m, size_t *i, void **ret_value)
{
	while (*i < m->used) {
		const struct map_entry *entry = &m->entries[(*i)++];

		if (entry->key) {
			*ret_value = entry->value;
			return true;
		}
	}
	return false;
}
