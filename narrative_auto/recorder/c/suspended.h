/* Suspended calls by the identity of their frames, which a generator keeps: in no thread's stack meanwhile. */

#ifndef NARRATIVE_SUSPENDED_H
#define NARRATIVE_SUSPENDED_H

#include "lane.h"

typedef struct {
    Entry *slots; /* open addressing by frame; a free slot has no frame */
    uint32_t mask, count, oldest;
    uint8_t boxed, in_box;
    uint64_t forgotten; /* calls for which there was no room */
} Suspended;

static inline uint32_t suspended_slot(const Suspended *table, const void *frame) {
    return (uint32_t)(((uint64_t)(uintptr_t)frame * 0x9E3779B97F4A7C15u) >> 32) & table->mask;
}

/* Whoever reads the black box finds the whole entry there, or none. */
static inline void entry_put(Entry *slot, const Entry *entry) {
    Entry whole = *entry;
    whole.frame = NULL;
    slot->frame = NULL;
    PUBLISH();
    *slot = whole;
    PUBLISH();
    slot->frame = entry->frame;
}

static void suspended_remove(Suspended *table, uint32_t hole) {
    uint32_t at = hole;
    table->count--;
    for (;;) { /* what was put behind its place because of this entry moves up */
        at = (at + 1) & table->mask;
        if (table->slots[at].frame == NULL)
            break;
        uint32_t home = suspended_slot(table, table->slots[at].frame);
        if (((at - home) & table->mask) >= ((at - hole) & table->mask)) {
            entry_put(&table->slots[hole], &table->slots[at]);
            hole = at;
        }
    }
    table->slots[hole].frame = NULL;
}

static int suspended_grow(Suspended *table) {
    uint32_t size = table->slots == NULL ? 256 : 2 * (table->mask + 1);
    uint64_t at;
    Entry *old = table->slots, *slots = table->boxed ? box_take(BLOCK_FREE, size * sizeof *slots, &at) : NULL;
    uint8_t in_box = slots != NULL;
    if (!in_box && (slots = calloc(size, sizeof *slots)) == NULL)
        return 0;
    uint32_t old_size = old == NULL ? 0 : table->mask + 1;
    table->slots = slots;
    table->mask = size - 1;
    for (uint32_t at = 0; at < old_size; at++) {
        if (old[at].frame == NULL)
            continue;
        uint32_t slot = suspended_slot(table, old[at].frame);
        while (slots[slot].frame != NULL)
            slot = (slot + 1) & table->mask;
        slots[slot] = old[at];
    }
    if (in_box)
        box_turn(slots, BLOCK_SUSPENDED);
    if (table->in_box)
        box_turn(old, BLOCK_FREE);
    else
        free(old);
    table->in_box = in_box;
    return 1;
}

static void suspended_put(Suspended *table, const Entry *entry) {
    if ((table->slots == NULL || table->count >= (table->mask + 1) / 2) && !suspended_grow(table))
        return;
    if (table->count >= SUSPENDED_LIMIT) { /* ends that were never seen have piled up */
        while (table->slots[table->oldest & table->mask].frame == NULL)
            table->oldest++;
        suspended_remove(table, table->oldest++ & table->mask);
        table->forgotten++;
    }
    uint32_t slot = suspended_slot(table, entry->frame);
    while (table->slots[slot].frame != NULL && table->slots[slot].frame != entry->frame)
        slot = (slot + 1) & table->mask;
    table->count += table->slots[slot].frame == NULL;
    entry_put(&table->slots[slot], entry);
}

/* The entry of a frame; NULL for none. */
static inline Entry *suspended_find(const Suspended *table, const void *frame) {
    if (table->count == 0)
        return NULL;
    uint32_t slot = suspended_slot(table, frame);
    while (table->slots[slot].frame != frame) {
        if (table->slots[slot].frame == NULL)
            return NULL;
        slot = (slot + 1) & table->mask;
    }
    return &table->slots[slot];
}

static int suspended_take(Suspended *table, const void *frame, Entry *entry) {
    Entry *found = suspended_find(table, frame);
    if (found == NULL)
        return 0;
    *entry = *found;
    suspended_remove(table, (uint32_t)(found - table->slots));
    return 1;
}

#endif
