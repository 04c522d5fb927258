/* How the program opens and closes blocks. */

#ifndef NARRATIVE_EXPLICIT_H
#define NARRATIVE_EXPLICIT_H

#include "probe.h"

/* Takes down in which context variable the innermost block is to be found. */
static PyObject *recorder_follow(PyObject *self, PyObject *variable) {
    if (!PyContextVar_CheckExact(variable)) {
        PyErr_SetString(PyExc_TypeError, "a ContextVar is wanted");
        return NULL;
    }
    Py_XSETREF(((Recorder *)self)->innermost, Py_NewRef(variable));
    Py_RETURN_NONE;
}

/* Takes a block off and counts it, wherever it is: on this thread's stack, on another one's or in a suspended coroutine.
   Returns where it was on this thread's, 0 for elsewhere; its row is one of this lane's. */
static uint32_t block_fetch(Lane *lane, const Entry *open, Entry *block, uint64_t now) {
    Recorder *recorder = lane->owner;
    void *frame = block_frame(open->block);
    uint32_t at = lane_search(lane, frame, open->site);
    if (LIKELY(at != 0)) {
        *block = block_take(lane, at, now);
        return at;
    }
    block->row = NULL;
    for (Lane *other = recorder->lanes; other != NULL && block->row == NULL; other = other->next_of_owner)
        if (!other->muted && !atomic_load(&other->ended) && (at = lane_search(other, frame, open->site)) != 0)
            *block = block_take(other, at, now);
    Suspended *table = &recorder->suspended;
    for (uint32_t slot = 0; block->row == NULL && table->count && slot <= table->mask; slot++)
        if (table->slots[slot].frame != NULL && table->slots[slot].block == open->block
            && table->slots[slot].site == open->site) {
            *block = table->slots[slot];
            suspended_remove(table, slot);
        }
    if (block->row == NULL) { /* its thread is over, and its entry gone */
        *block = *open;
        block->running = now > open->started ? now - open->started : 0;
    }
    block->row = row_of(lane, open->site, block->row != NULL ? block->row->caller : (uint32_t)open->since, now);
    return 0;
}

/* Ends a block: with `error` an exception left it. Returns -1 with an exception of a signal handler's. */
static int block_end(Recorder *recorder, const Entry *open, PyObject *error) {
    const SiteState *site = site_state(recorder, open->site);
    Lane *lane = lane_here(recorder, 1);
    if (site == NULL || lane == NULL || lane->muted)
        return 0;
    uint64_t now = clock_ns();
    Entry block;
    uint32_t at = block_fetch(lane, open, &block, now);
    lane_write(lane, now, open->site, error == Py_None ? RETURN : UNWIND);
    if (block.row == NULL)
        return 0;
    uint64_t duration = now > block.started ? now - block.started : 0;
    block.row->total += duration;
    if (duration > block.row->longest)
        block.row->longest = duration;
    return told(
        lane, &block, at ? at - 1 : lane->top, now, block.running, duration, site->limit, (uint64_t)(uintptr_t)error,
        error == Py_None ? NULL : Py_TYPE(error)
    );
}

/* The call that opens a block, if it can be suspended, is to tell when it is: the governor lets it. */
static void has_blocks(Recorder *recorder, const Lane *lane) {
    uint32_t at = lane->top;
    while (at > 0 && is_block(&lane->stack[at]))
        at--;
    SiteState *site = at > 0 && lane->stack[at].suspends ? site_state(recorder, lane->stack[at].site) : NULL;
    if (site != NULL)
        site->has_blocks = 1;
}

static int is_count(const char *name, Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted)
        PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", name, wanted, count);
    return count == wanted;
}

/* enter_block(site's number, block, around) */
static PyObject *recorder_enter_block(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Recorder *recorder = (Recorder *)self;
    if (!is_count("enter_block", count, 3))
        return NULL;
    unsigned long number = PyLong_AsUnsignedLong(args[0]);
    PyObject *block = args[1], *around = args[2];
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    SiteState *site = site_state(recorder, (uint32_t)number);
    if (site == NULL)
        return PyErr_NoMemory();
    site->suspends = site->awaits = site->is_block = 1;
    Lane *lane = lane_here(recorder, 1);
    if (lane == NULL || lane->muted)
        Py_RETURN_NONE;
    if (lane->head >= lane->check_at && lane_checked(lane) < 0)
        return NULL;
    has_blocks(recorder, lane);
    const Entry *found = suspended_find(&recorder->blocks, around);
    Entry outer = found != NULL ? *found : no_block;
    const Entry *beneath = &lane->stack[lane->top], *chosen = beneath;
    if (outer.block != beneath->block && (outer.block != 0 || is_block(beneath)))
        chosen = nearest(lane, &outer);
    int linked = chosen != beneath;
    uint32_t caller = chosen->site;
    uint64_t now = clock_ns();
    lane_write(lane, now, site->number, START);
    Row *row = row_of(lane, site->number, caller, now);
    if (row == NULL || (lane->top + 1 >= lane->room && !lane_grow(lane)))
        Py_RETURN_NONE;
    recorder->blocks_made += recorder->blocks_made + 1 == 0 ? 2 : 1;
    Entry open = {
        .frame = block, .since = caller, .started = now, .below = outer.block, .site = site->number,
        .lane = lane->number, .suspends = 1, .block = recorder->blocks_made,
    };
    suspended_put(&recorder->blocks, &open);
    if (recorder->last_blocks == NULL)
        recorder->last_blocks = calloc(BLOCKS_KEPT, sizeof *recorder->last_blocks);
    if (recorder->last_blocks != NULL)
        recorder->last_blocks[open.block % BLOCKS_KEPT] = open;
    if (enter(site, block_frame(open.block), lane, row, now, 1, open.block, linked) < 0) {
        PyObject *kind, *value, *traceback;
        PyErr_Fetch(&kind, &value, &traceback); /* of a signal handler: the block does not begin */
        Entry begun;
        if (suspended_take(&recorder->blocks, block, &begun) && block_end(recorder, &begun, Py_None) < 0)
            PyErr_Clear();
        PyErr_Restore(kind, value, traceback);
        return NULL;
    }
    return Py_BuildValue("(IK)", lane->number, (unsigned long long)now);
}

/* leave_block(block, error) */
static PyObject *recorder_leave_block(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Recorder *recorder = (Recorder *)self;
    Entry open;
    if (!is_count("leave_block", count, 2))
        return NULL;
    if (!suspended_take(&recorder->blocks, args[0], &open))
        Py_RETURN_NONE;
    if (block_end(recorder, &open, args[1]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* suspend_block(block): what follows is not within it, until it goes on. */
static PyObject *recorder_suspend_block(PyObject *self, PyObject *block) {
    Recorder *recorder = (Recorder *)self;
    Lane *lane = lane_here(recorder, 0);
    const Entry *open = suspended_find(&recorder->blocks, block);
    uint32_t at = lane != NULL && !lane->muted && open != NULL
        ? lane_search(lane, block_frame(open->block), open->site) : 0;
    if (at == 0)
        Py_RETURN_NONE;
    uint64_t now = clock_ns();
    lane_write(lane, now, open->site, YIELD);
    Entry entry = block_take(lane, at, now);
    entry.frame = block;
    entry.since = now;
    entry.below = 0;
    suspended_put(&recorder->suspended, &entry);
    Py_RETURN_NONE;
}

/* resume_block(block) */
static PyObject *recorder_resume_block(PyObject *self, PyObject *block) {
    Recorder *recorder = (Recorder *)self;
    Lane *lane = lane_here(recorder, 1);
    const Entry *open = suspended_find(&recorder->blocks, block), *found = suspended_find(&recorder->suspended, block);
    if (lane == NULL || lane->muted || open == NULL || found == NULL || found->block != open->block)
        Py_RETURN_NONE;
    Entry entry;
    suspended_take(&recorder->suspended, block, &entry);
    uint64_t now = clock_ns();
    lane_write(lane, now, entry.site, RESUME);
    entry.row->resumed++;
    block_push(lane, &entry, now);
    Py_RETURN_NONE;
}

#endif
