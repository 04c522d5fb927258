/* Blocks: what the program opens itself, `with stage(...):`. They stand on the stacks like calls, but keep to the context
   that they were opened in, as tasks and threads inherit it, and not to the activation: it may end or go on without
   them. An open block is known by the address of its object, and by a number in what outlives it. */

#ifndef NARRATIVE_BLOCKS_H
#define NARRATIVE_BLOCKS_H

#include "governor.h"

#define LIFTED_LIMIT 16u /* blocks that one activation has opened and not closed; what is above is forgotten */

/* Blocks that were taken off a stack, the lowest first. */
typedef struct {
    uint32_t count;
    Entry entries[LIFTED_LIMIT];
} Lifted;

static const Entry no_block;

/* The innermost open block of the context that runs, by its object; `no_block` where there is none. */
static const Entry *block_of_context(const Recorder *recorder) {
    PyObject *innermost = NULL;
    if (PyContextVar_Get(recorder->innermost, NULL, &innermost) < 0)
        PyErr_Clear();
    const Entry *found = innermost != NULL ? suspended_find(&recorder->blocks, innermost) : NULL;
    Py_XDECREF(innermost); /* the context has it still */
    return found != NULL ? found : &no_block;
}

/* The innermost block of the context where that is another one than the stack's; else NULL. */
static __attribute__((noinline)) const Entry *block_elsewhere(const Lane *lane) {
    if (lane->owner->innermost == NULL)
        return NULL;
    const Entry *block = block_of_context(lane->owner);
    return block->block != lane->stack[lane->top].block ? block : NULL;
}

/* A block that was opened not long ago, whether it is open or not. */
static const Entry *block_numbered(const Recorder *recorder, uint32_t number) {
    if (recorder->last_blocks == NULL || recorder->last_blocks[number % BLOCKS_KEPT].block != number)
        return &no_block;
    return &recorder->last_blocks[number % BLOCKS_KEPT];
}

static inline uint32_t entry_lane(const Entry *entry, const Lane *lane) {
    return entry->suspends ? entry->lane : lane->number;
}

/* What called an entry, or is around it: what is beneath it, if it began there, or a block of its context. */
static const Entry *caller_of(const Lane *lane, const Entry *entry, uint32_t beneath) {
    const Entry *found = &lane->stack[beneath];
    if (LIKELY(!entry->linked && found->site == entry->row->caller))
        return found;
    uint32_t number = is_block(entry) ? (uint32_t)block_numbered(lane->owner, entry->block)->below : entry->block;
    found = block_numbered(lane->owner, number);
    return found->site == entry->row->caller ? found : &no_block;
}

/* Counts the time since a call that was taken off the stack began or went on; returns it (ns). */
static inline uint64_t account(Lane *lane, const Entry *entry, uint64_t now) {
    uint64_t segment = LIKELY(now > entry->since) ? now - entry->since : 0;
    if (LIKELY(segment > entry->below)) {
        entry->row->own += segment - entry->below;
        if (UNLIKELY(segment - entry->below >= LONG_NS))
            entry->row->held += segment - entry->below;
    }
    lane->stack[lane->top].below += segment;
    return segment;
}

/* Takes the blocks off that are above an entry, and with them what was left there without an exit. */
static Lifted lift(Lane *lane, uint32_t at, uint64_t now) {
    Lifted lifted;
    lifted.count = 0;
    if (LIKELY(lane->top == at))
        return lifted;
    uint32_t blocks = at;
    for (uint32_t other = at + 1; other <= lane->top; other++)
        if (is_block(&lane->stack[other]) && blocks - at < LIFTED_LIMIT)
            lane->stack[++blocks] = lane->stack[other];
    lane->disordered += lane->top - blocks;
    lifted.count = blocks - at;
    lane->top = blocks;
    while (lane->top > at) {
        Entry *block = &lane->stack[lane->top--];
        block->running += account(lane, block, now);
        lifted.entries[lane->top - at] = *block;
    }
    return lifted;
}

/* Puts a block onto a stack, which may be that of another thread than before. */
static int block_push(Lane *lane, Entry *block, uint64_t now) {
    Row *row = block->row;
    if (row != NULL && row->lane != lane) {
        row = row_find(&lane->rows, block->site, row->caller);
        if (row == NULL)
            row = row_add(&lane->rows, block->site, block->row->caller, lane, now);
    }
    if (row == NULL || (lane->top + 1 >= lane->room && !lane_grow(lane)))
        return 0;
    block->row = row;
    block->frame = block_frame(block->block);
    block->since = now;
    block->below = 0;
    lane->stack[lane->top + 1] = *block;
    PUBLISH();
    lane->top++;
    return 1;
}

/* Takes a block off a stack and counts it up to now; what is above it stays. */
static Entry block_take(Lane *lane, uint32_t at, uint64_t now) {
    Entry block = lane->stack[at];
    uint64_t segment = now > block.since ? now - block.since : 0;
    uint64_t above = at < lane->top && now > lane->stack[at + 1].since ? now - lane->stack[at + 1].since : 0;
    if (segment > block.below + above)
        block.row->own += segment - block.below - above;
    lane->stack[at - 1].below += segment > above ? segment - above : 0; /* what is above adds its own when it ends */
    block.running += segment;
    memmove(&lane->stack[at], &lane->stack[at + 1], (lane->top - at) * sizeof block);
    lane->top--;
    return block;
}

static inline void put_back(Lane *lane, Lifted *lifted, uint64_t now) {
    for (uint32_t at = 0; at < lifted->count; at++)
        block_push(lane, &lifted->entries[at], now);
}

/* What the blocks of a suspended coroutine have in place of an activation: odd addresses within its frame. */
static inline uintptr_t carried_frame(uintptr_t frame, uint32_t which) { return frame + 2 * which + 1; }

/* The same of the block on top, which is about to be suspended with the coroutine that has opened it. */
static uintptr_t carried_key(const Lane *lane) {
    uint32_t at = lane->top;
    while (at > 0 && is_block(&lane->stack[at]))
        at--;
    const Entry *beneath = &lane->stack[at];
    return at && beneath->awaits ? carried_frame((uintptr_t)beneath->frame, lane->top - at - 1) : 0;
}

#endif
