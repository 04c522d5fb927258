/* What a transition does to the recorder's memory.

   Where there is no memory, a call goes unrecorded. A transition fails, with -1 and an exception, only if a signal
   handler of the program's raises while somebody is told that there is something to tell. */

#ifndef NARRATIVE_RECORDER_H
#define NARRATIVE_RECORDER_H

#include "blocks.h"
#include "describe.h"

/* Calls a function of ours, with an argument or NULL for none, out of sight of the program's debuggers and profilers. */
static PyObject *called_untraced(PyObject *function, PyObject *argument) {
    PyThreadState *state = PyThreadState_Get();
    PyThreadState_EnterTracing(state);
    PyObject *result = PyObject_Vectorcall(function, &argument, argument != NULL, NULL);
    PyThreadState_LeaveTracing(state);
    return result;
}

/* Tells whoever waits that there is something to tell, once. It may run Python code, so it comes last; and a signal
   handler of the program's may raise in that, so it may fail: -1. */
static __attribute__((noinline)) int lane_wakes(Lane *lane) {
    PyObject *wake = lane->owner->wake;
    lane->listened = 1;
    if (wake == NULL)
        return 0;
    Py_INCREF(wake);
    PyObject *result = called_untraced(wake, NULL);
    Py_DECREF(wake);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    lane->listened = 0; /* the next call tries again */
    if (!PyErr_ExceptionMatches(PyExc_RecursionError))
        return -1;
    PyErr_Clear(); /* the end of the stack: the program's own next call meets it */
    return 0;
}

/* -- transitions -- */

/* A record is written before what begins is put onto the stack, and after what ends is taken off: who dies in between
   has written one less than was done, or one more than was begun.

   Each transition is written twice: once for what nearly always is so, without a call of another function on its way,
   and once, named `..._rarely`, for all there is. */

static inline void lane_push(Lane *lane) {
    PUBLISH();
    lane->top++;
}

/* Takes off what was left without an exit, where its frame's memory serves another call. */
static inline void lane_forget(Lane *lane, const void *frame) {
    while (UNLIKELY(lane->stack[lane->top].frame == frame && lane->top))
        lane->top--;
}

/* Puts a call onto the stack, which has room for it. `block`, `linked`: as in an entry. */
static inline int enter(
    const SiteState *site, void *frame, Lane *lane, Row *row, uint64_t now, int suspends, uint32_t block, int linked
) {
    Entry *entry = &lane->stack[lane->top + 1];
    row->calls++;
    entry->frame = frame;
    entry->row = row;
    entry->site = site->number;
    entry->since = now;
    entry->below = 0;
    entry->suspends = (uint8_t)suspends;
    entry->awaits = suspends ? site->awaits : 0;
    entry->linked = (uint8_t)linked;
    entry->carried = 0;
    entry->block = block;
    if (suspends) {
        entry->started = now;
        entry->running = 0;
        entry->lane = lane->number;
    }
    lane_push(lane);
    return UNLIKELY(row->calls == 1 && !lane->listened) ? lane_wakes(lane) : 0;
}

static Row *row_of(Lane *lane, uint32_t site, uint32_t caller, uint64_t now) {
    Row *row = row_find(&lane->rows, site, caller);
    if (LIKELY(row != NULL))
        return row;
    if (lane->owner->described != NULL)
        site_describe(lane->owner, site);
    row = row_find(&lane->rows, site, caller); /* the last line may have run other code */
    return row != NULL ? row : row_add(&lane->rows, site, caller, lane, now);
}

/* The call of a function whose edge or room on the stack is new. */
static __attribute__((noinline)) int enter_rarely(const SiteState *site, void *frame, Lane *lane, uint64_t now) {
    Row *row = row_of(lane, site->number, lane->stack[lane->top].site, now);
    if (row == NULL || (lane->top + 1 >= lane->room && !lane_grow(lane)))
        return 0;
    return enter(site, frame, lane, row, now, site->suspends, lane->stack[lane->top].block, 0);
}

/* The call of a function that by its context is within something else than what stands beneath it. */
static __attribute__((noinline)) int enter_linked(
    const SiteState *site, void *frame, Lane *lane, uint64_t now, const Entry *caller
) {
    uint32_t block = caller->block;
    Row *row = row_of(lane, site->number, caller->site, now);
    if (row == NULL || (lane->top + 1 >= lane->room && !lane_grow(lane)))
        return 0;
    return enter(site, frame, lane, row, now, site->suspends, block, 1);
}

static inline int begin_call(const SiteState *site, void *frame, Lane *lane, uint64_t now, int suspends) {
    lane_write(lane, now, site->number, START);
    lane_forget(lane, frame);
    const Entry *caller = &lane->stack[lane->top];
    if (UNLIKELY((suspends && site->awaits) || is_block(caller))) {
        const Entry *elsewhere = caller_elsewhere(lane);
        if (UNLIKELY(elsewhere != NULL))
            return enter_linked(site, frame, lane, now, elsewhere);
    }
    Row *row = row_find(&lane->rows, site->number, caller->site);
    if (UNLIKELY(row == NULL || lane->top + 1 >= lane->room))
        return enter_rarely(site, frame, lane, now);
    return enter(site, frame, lane, row, now, suspends, caller->block, 0);
}

/* Once in a while: the black box, where there is to be one, and the governor. Returns -1 with an exception. */
static __attribute__((noinline)) int lane_checked(Lane *lane) {
    if (UNLIKELY(is_new_process)) { /* begun by C code: nobody has told us */
        is_new_process = 0;
        if (lane_wakes(lane) < 0)
            return -1;
    }
    if (lane->owner->described != NULL)
        box_open();
    govern(lane);
    return 0;
}

/* The same, and what a record costs is measured. */
static int begin_governed(const SiteState *site, void *frame, Lane *lane) {
    Recorder *recorder = lane->owner;
    if (lane_checked(lane) < 0)
        return -1;
    if (site->silent)
        return 0;
    uint64_t began = clock_ns();
    int failed = begin_call(site, frame, lane, began, site->suspends);
    measured(recorder, began, clock_ns());
    if (!failed && !lane->listened && recorder->budget > 0)
        failed = lane_wakes(lane); /* after a fork: somebody is to take samples */
    return failed;
}

static __attribute__((noinline)) int start_rarely(const SiteState *site, void *frame) {
    Lane *lane = lane_here(site->owner, 1);
    if (lane == NULL || lane->muted)
        return 0;
    if (lane->head >= lane->check_at)
        return begin_governed(site, frame, lane);
    return begin_call(site, frame, lane, clock_ns(), site->suspends);
}

static inline int on_start(const SiteState *site, void *frame, int suspends) {
    Lane *lane = lane_at_hand(site->owner);
    if (UNLIKELY(lane == NULL || lane->head >= lane->check_at))
        return start_rarely(site, frame);
    uint64_t now = clock_counted();
    if (UNLIKELY(!now))
        return start_rarely(site, frame);
    return begin_call(site, frame, lane, now, suspends);
}

/* Lets a call that has ended be told; `beneath` is where the one beneath it stands. */
static __attribute__((noinline)) int note(
    Lane *lane, const Entry *entry, uint32_t beneath, uint64_t now, uint64_t running, PyObject *error
) {
    const Entry *caller = caller_of(lane, entry, beneath);
    Notable call = {
        .site = entry->site,
        .caller = entry->row->caller,
        .lane = entry_lane(entry, lane),
        .caller_lane = entry_lane(caller, lane),
        .started = entry_started(entry),
        .ended = now > entry_started(entry) ? now : entry_started(entry),
        .running = running,
        .caller_started = entry_started(caller),
        .error = error,
    };
    queue_add(&lane->notable, &call);
    return lane->listened ? 0 : lane_wakes(lane);
}

/* Runs no code of the program's: neither `sys.modules` nor the module may be anything but ordinary. */
static int is_cancellation(PyTypeObject *kind) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = PyDict_CheckExact(modules) ? PyDict_GetItemString(modules, "asyncio.exceptions") : NULL;
    if (module == NULL || !PyModule_CheckExact(module))
        return 0;
    PyObject *type = PyDict_GetItemString(PyModule_GetDict(module), "CancelledError");
    return type != NULL && PyType_Check(type) && PyType_IsSubtype(kind, (PyTypeObject *)type);
}

/* Some exceptions end a call without being a failure. */
static int is_failure(PyTypeObject *kind) {
    PyObject *const ends[] = {PyExc_StopIteration, PyExc_StopAsyncIteration, PyExc_GeneratorExit, PyExc_SystemExit};
    for (size_t at = 0; at < sizeof ends / sizeof *ends; at++)
        if (PyType_IsSubtype(kind, (PyTypeObject *)ends[at]))
            return 0;
    return PyType_IsSubtype(kind, (PyTypeObject *)PyExc_Exception) || !is_cancellation(kind);
}

/* Remembers that an exception left a call; returns a new reference to its type's name, NULL if it is no failure. */
static PyObject *unwound(Lane *lane, const Entry *entry, uint64_t now, uint64_t identity, PyTypeObject *kind) {
    if (lane->unwound == NULL)
        lane->unwound = calloc(UNWOUND_LIMIT, sizeof *lane->unwound);
    if (lane->unwound != NULL)
        lane->unwound[lane->unwound_count++ % UNWOUND_LIMIT] =
            (Unwound){.identity = identity, .site = entry->site, .started = entry_started(entry), .ended = now};
    if (!is_failure(kind))
        return NULL;
    PyObject *name = PyType_GetName(kind); /* runs no code of a metaclass */
    if (name != NULL && !PyUnicode_CheckExact(name)) {
        PyObject *plain = PyUnicode_FromObject(name);
        Py_DECREF(name);
        name = plain;
    }
    if (name == NULL) {
        PyErr_Clear();
        return NULL;
    }
    entry->row->raised++;
    row_failed(entry->row, name, 1);
    return name;
}

/* Counts a call that was taken off the stack, and its last segment with it; returns how long it was. */
static inline uint64_t leave(const Entry *entry, uint64_t segment, uint64_t now, int suspends, uint64_t *running) {
    Row *row = entry->row;
    *running = segment + (suspends ? entry->running : 0);
    uint64_t duration = suspends ? entry_duration(entry, *running, now) : *running;
    row->total += duration;
    if (duration > row->longest)
        row->longest = duration;
    return duration;
}

/* What is left to do at the end of a call that was taken off and counted: with `kind` an exception of that type and
   identity has left it. */
static int told(
    Lane *lane, const Entry *ended, uint32_t beneath, uint64_t now, uint64_t running, uint64_t duration, uint64_t limit,
    uint64_t identity, PyTypeObject *kind
) {
    PyObject *name = kind != NULL ? unwound(lane, ended, now, identity, kind) : NULL;
    int failed = 0;
    if (duration >= limit || ended->row->calls == 1 || name != NULL)
        failed = note(lane, ended, beneath, now, running, name);
    Py_XDECREF(name);
    return failed;
}

/* The end of a call: a return, or with `kind` an exception of that type and identity. */
static __attribute__((noinline)) int end_rarely(
    const SiteState *site, const void *frame, uint64_t transition, uint64_t identity, PyTypeObject *kind
) {
    Lane *lane = lane_here(site->owner, 0);
    if (lane == NULL || lane->muted)
        return 0;
    uint32_t at = lane_search(lane, frame, site->number);
    uint64_t now = clock_ns(), running;
    if (at == 0) {
        lane_write(lane, now, site->number, transition);
        return 0;
    }
    if (UNLIKELY(at < lane->top))
        forget_above(lane, at); /* the blocks that were opened within it and are open still outlive it */
    uint64_t above = time_above(lane, at, now);
    Entry ended = take_out(lane, at);
    lane_write(lane, now, site->number, transition);
    uint64_t duration = leave(&ended, account_out(lane, &ended, at - 1, above, now), now, ended.suspends, &running);
    return told(lane, &ended, at - 1, now, running, duration, site->limit, identity, kind);
}

static inline int on_return(const SiteState *site, const void *frame, int suspends) {
    Lane *lane = lane_at_hand(site->owner);
    if (UNLIKELY(lane == NULL))
        return end_rarely(site, frame, RETURN, 0, NULL);
    const Entry *entry = &lane->stack[lane->top];
    uint64_t now = clock_counted(), running;
    if (UNLIKELY(!is_top(entry, frame, site->number) || !now))
        return end_rarely(site, frame, RETURN, 0, NULL);
    lane->top--;
    lane_write(lane, now, site->number, RETURN);
    uint64_t duration = leave(entry, account(lane, entry, now), now, suspends, &running);
    return UNLIKELY(duration >= site->limit || entry->row->calls == 1) ? note(lane, entry, lane->top, now, running, NULL) : 0;
}

static int on_unwind(const SiteState *site, const void *frame, uint64_t identity, PyTypeObject *kind) {
    return end_rarely(site, frame, UNWIND, identity, kind);
}

/* Keeps the entry of a call, taken off, until it goes on: since when it is suspended, and within which activation. */
static inline void suspend(Recorder *recorder, const Lane *lane, Entry *entry, uint64_t now) {
    const Entry *beneath = &lane->stack[lane->top];
    entry->since = now;
    entry->below = !beneath->suspends ? 0 : UNLIKELY(is_block(beneath)) ? carried_key(lane) : (uintptr_t)beneath->frame;
    suspended_put(&recorder->suspended, entry);
}

/* There are blocks above the call that is suspended: those of a coroutine are suspended with it; those that a generator
   has opened stay open for whoever takes its values, as their context does. */
static __attribute__((noinline)) void yield_rarely(const SiteState *site, Lane *lane, uint32_t at, uint64_t now) {
    Suspended *table = &site->owner->suspended;
    forget_above(lane, at);
    if (!lane->stack[at].awaits) {
        uint64_t above = time_above(lane, at, now);
        Entry entry = take_out(lane, at);
        entry.running += account_out(lane, &entry, at - 1, above, now);
        entry.since = now;
        entry.below = 0;
        suspended_put(table, &entry);
        return;
    }
    uintptr_t frame = (uintptr_t)lane->stack[at].frame;
    uint32_t carried = lane->top - at < CARRIED_LIMIT ? lane->top - at : CARRIED_LIMIT;
    while (lane->top > at) {
        uint32_t which = lane->top - at - 1;
        Entry block = lane->stack[lane->top--];
        block.running += account(lane, &block, now);
        block.since = now;
        block.below = which ? carried_frame(frame, which - 1) : frame;
        block.frame = (void *)carried_frame(frame, which);
        if (which < CARRIED_LIMIT)
            suspended_put(table, &block);
    }
    Entry *entry = &lane->stack[lane->top--];
    entry->running += account(lane, entry, now);
    entry->carried = (uint8_t)carried;
    suspend(site->owner, lane, entry, now);
}

static int on_yield(const SiteState *site, const void *frame) {
    Lane *lane = lane_here(site->owner, 0);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    const int is_above = is_top(&lane->stack[lane->top], frame, site->number);
    uint32_t at = LIKELY(is_above) ? lane->top : lane_search(lane, frame, site->number);
    uint64_t now = clock_now();
    if (UNLIKELY(!is_above)) {
        if (at)
            yield_rarely(site, lane, at, now);
        lane_write(lane, now, site->number, YIELD);
        return 0;
    }
    Entry *entry = &lane->stack[lane->top--];
    lane_write(lane, now, site->number, YIELD);
    entry->running += account(lane, entry, now);
    suspend(site->owner, lane, entry, now);
    return 0;
}

/* The blocks that were suspended with a call are open again. */
static __attribute__((noinline)) void carry_on(Lane *lane, const void *frame, uint32_t count, uint64_t now) {
    for (uint32_t which = 0; which < count; which++) {
        Entry block;
        if (!suspended_take(&lane->owner->suspended, (void *)carried_frame((uintptr_t)frame, which), &block))
            continue; /* it was left meanwhile */
        block_push(lane, &block, now);
    }
}

static inline int go_on(const SiteState *site, void *frame, Lane *lane, uint64_t now) {
    lane_write(lane, now, site->number, RESUME);
    Entry suspended;
    if (UNLIKELY(
            !suspended_take(&site->owner->suspended, frame, &suspended) || suspended.row == NULL
            || suspended.site != site->number
        )) {
        /* It began unseen, or was released meanwhile: what is seen of it counts from here. */
        Row *row = row_of(lane, site->number, lane->stack[lane->top].site, now);
        if (row == NULL)
            return 0;
        suspended = (Entry){.frame = frame, .row = row, .started = now, .site = site->number, .lane = lane->number};
        suspended.suspends = 1;
        suspended.awaits = site->awaits;
        suspended.block = lane->stack[lane->top].block;
    }
    Row *row = suspended.row;
    if (UNLIKELY(row->lane != lane)) /* it began in another thread */
        row = row_of(lane, site->number, row->caller, now);
    if (row == NULL || (UNLIKELY(lane->top + 1 >= lane->room) && !lane_grow(lane)))
        return 0;
    Entry *entry = &lane->stack[lane->top + 1];
    row->resumed++;
    *entry = suspended;
    entry->row = row;
    entry->since = now;
    entry->below = 0;
    entry->carried = 0;
    lane_push(lane);
    if (UNLIKELY(suspended.carried))
        carry_on(lane, frame, suspended.carried, now);
    return 0;
}

/* Once in a while; what a record costs of a call that goes on is another matter than that of one that begins. */
static __attribute__((noinline)) int go_on_governed(const SiteState *site, void *frame, Lane *lane) {
    if (lane_checked(lane) < 0)
        return -1;
    if (site->silent)
        return 0;
    uint64_t began = clock_ns();
    int failed = go_on(site, frame, lane, began);
    measured(lane->owner, began, clock_ns());
    return failed;
}

static int on_resume(const SiteState *site, void *frame) {
    Lane *lane = lane_here(site->owner, 1);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    if (UNLIKELY(lane->head >= lane->check_at))
        return go_on_governed(site, frame, lane);
    return go_on(site, frame, lane, clock_now());
}

#endif
