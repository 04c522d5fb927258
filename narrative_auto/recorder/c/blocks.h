/* Blocks: what the program opens itself, `with stage(...):`. They stand on the stacks like calls, but keep to the context
   that they were opened in, as tasks and threads inherit it, and not to the activation: it may end or go on without
   them. An open block is known by the address of its object, and by a number in what outlives it. */

#ifndef NARRATIVE_BLOCKS_H
#define NARRATIVE_BLOCKS_H

#include "governor.h"

#define CARRIED_LIMIT 255u /* blocks that are suspended with one coroutine; what is above is not counted */
#define AROUND_LIMIT 64u /* ended blocks of a context that are looked at for one that is open */

static PyObject *around_name; /* "around": what a block has there was around it when it began */

static const Entry no_block;

/* The innermost open block of the context that runs; `no_block` where there is none. What a task inherits may be over:
   then it is what was around that. Runs no code of the program's. */
static const Entry *block_of_context(const Recorder *recorder) {
    PyObject *object = NULL;
    if (PyContextVar_Get(recorder->innermost, NULL, &object) < 0)
        PyErr_Clear();
    const Entry *found = NULL;
    for (uint32_t ended = 0; object != NULL && object != Py_None && ended < AROUND_LIMIT; ended++) {
        found = suspended_find(&recorder->blocks, object);
        PyObject *around = found == NULL ? PyObject_GenericGetAttr(object, around_name) : NULL;
        Py_SETREF(object, around); /* the context has it still */
    }
    Py_XDECREF(object);
    PyErr_Clear();
    return found != NULL ? found : &no_block;
}

/* What is nearest on a stack of all that is within a block, or is it, past the blocks of others; else the block. */
static const Entry *nearest(const Lane *lane, const Entry *block) {
    uint32_t at = lane->top;
    while (at > 0 && is_block(&lane->stack[at]) && lane->stack[at].block != block->block)
        at--;
    return lane->stack[at].block == block->block ? &lane->stack[at] : block;
}

/* What is around a call by its context, where that is not what stands beneath it; else NULL. */
static __attribute__((noinline)) const Entry *caller_elsewhere(const Lane *lane) {
    if (lane->owner->innermost == NULL)
        return NULL;
    const Entry *block = block_of_context(lane->owner);
    if (block->block == lane->stack[lane->top].block)
        return NULL;
    return nearest(lane, block);
}

/* A block that is open, or was opened not long ago. */
static const Entry *block_numbered(const Recorder *recorder, uint32_t number) {
    if (recorder->last_blocks != NULL && recorder->last_blocks[number % BLOCKS_KEPT].block == number)
        return &recorder->last_blocks[number % BLOCKS_KEPT];
    const Suspended *table = &recorder->blocks;
    for (uint32_t at = 0; number && table->count && at <= table->mask; at++)
        if (table->slots[at].frame != NULL && table->slots[at].block == number)
            return &table->slots[at];
    return &no_block;
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

/* The same of one that was taken out: `beneath` is where the one beneath it stands; what was right above it has run for
   `above`, and adds its own time when it ends. */
static uint64_t account_out(Lane *lane, const Entry *entry, uint32_t beneath, uint64_t above, uint64_t now) {
    uint64_t segment = now > entry->since ? now - entry->since : 0;
    uint64_t others = entry->below + above;
    if (segment > others) {
        entry->row->own += segment - others;
        if (segment - others >= LONG_NS)
            entry->row->held += segment - others;
    }
    lane->stack[beneath].below += segment > above ? segment - above : 0;
    return segment;
}

/* Takes an entry out of a stack; what is above stays. */
static Entry take_out(Lane *lane, uint32_t at) {
    Entry entry = lane->stack[at];
    memmove(&lane->stack[at], &lane->stack[at + 1], (lane->top - at) * sizeof entry);
    lane->top--;
    return entry;
}

/* Forgets the calls above an entry, which were left without an exit; blocks stay. */
static void forget_above(Lane *lane, uint32_t at) {
    uint32_t kept = at;
    for (uint32_t other = at + 1; other <= lane->top; other++)
        if (is_block(&lane->stack[other]))
            lane->stack[++kept] = lane->stack[other];
    lane->disordered += lane->top - kept;
    lane->top = kept;
}

/* For how long what is right above an entry has run. */
static inline uint64_t time_above(const Lane *lane, uint32_t at, uint64_t now) {
    return UNLIKELY(at < lane->top) && now > lane->stack[at + 1].since ? now - lane->stack[at + 1].since : 0;
}

/* Takes a block off a stack and counts it up to now. */
static Entry block_take(Lane *lane, uint32_t at, uint64_t now) {
    uint64_t above = time_above(lane, at, now);
    Entry block = take_out(lane, at);
    block.running += account_out(lane, &block, at - 1, above, now);
    return block;
}

/* Puts a block onto a stack, which may be that of another thread than before. */
static void block_push(Lane *lane, Entry *block, uint64_t now) {
    Row *row = block->row;
    if (row->lane != lane) {
        row = row_find(&lane->rows, block->site, row->caller);
        if (row == NULL)
            row = row_add(&lane->rows, block->site, block->row->caller, lane, now);
    }
    if (row == NULL || (lane->top + 1 >= lane->room && !lane_grow(lane)))
        return;
    block->row = row;
    block->frame = block_frame(block->block);
    block->since = now;
    block->below = 0;
    lane->stack[lane->top + 1] = *block;
    PUBLISH();
    lane->top++;
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
