/* The recorder: sites, the lanes of its threads, suspended calls, and what a transition does to them.

   Where there is no memory, a call goes unrecorded. A transition fails, with -1 and an exception, only if a signal
   handler of the program's raises while somebody is told that there is something to tell. */

#ifndef NARRATIVE_RECORDER_H
#define NARRATIVE_RECORDER_H

#include "suspended.h"

#define SITES_PER_CHUNK 512u

struct Recorder {
    PyObject_HEAD
    uint64_t min_duration;
    PyObject *wake; /* called when there is something to tell and nobody listens; NULL for nothing */
    SiteState **chunks;
    uint32_t chunk_count;
    Lane *lanes; /* the newest first */
    uint32_t lane_count; /* how many there ever were */
    Rows retired;
    Queue retired_notable;
    uint64_t retired_records;
    Suspended suspended;
    uint32_t reading;   /* how many are walking through lanes: allocating may run other code */
};

static inline PyThreadState *thread_state(void) {
#if PY_VERSION_HEX >= 0x030d0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* The identity of the activation that runs: the address of its frame, which a generator keeps across suspensions. */
static inline void *frame_here(void) {
    PyThreadState *state = thread_state();
#if PY_VERSION_HEX >= 0x030d0000
    return state->current_frame;
#else
    return state->cframe->current_frame;
#endif
}

/* The same for a function that an engine calls back for another one, a tracer: the address of its caller's frame
   object. No engine uses both identities. */
static void *frame_of_caller(void) {
    PyFrameObject *frame = PyThreadState_GetFrame(thread_state());
    if (frame == NULL)
        return NULL;
    PyFrameObject *back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    Py_XDECREF(back); /* whoever is traced has it still */
    return back;
}

/* -- sites -- */

static SiteState *site_state(Recorder *recorder, uint32_t number) {
    uint32_t chunk = number / SITES_PER_CHUNK;
    if (chunk >= recorder->chunk_count) {
        uint32_t count = 2 * (chunk + 1);
        SiteState **chunks = realloc(recorder->chunks, count * sizeof *chunks);
        if (chunks == NULL)
            return NULL;
        memset(chunks + recorder->chunk_count, 0, (count - recorder->chunk_count) * sizeof *chunks);
        recorder->chunks = chunks;
        recorder->chunk_count = count;
    }
    if (recorder->chunks[chunk] == NULL) {
        SiteState *sites = calloc(SITES_PER_CHUNK, sizeof *sites);
        if (sites == NULL)
            return NULL;
        for (uint32_t at = 0; at < SITES_PER_CHUNK; at++) {
            sites[at].owner = recorder;
            sites[at].number = chunk * SITES_PER_CHUNK + at;
            sites[at].limit = recorder->min_duration;
        }
        recorder->chunks[chunk] = sites;
    }
    return &recorder->chunks[chunk][number % SITES_PER_CHUNK];
}

/* -- lanes -- */

/* Lets suspended calls go on in the sums, where the rows of their lanes go. */
static void suspended_leave(Recorder *recorder) {
    const Suspended *table = &recorder->suspended;
    for (uint32_t at = 0; table->count && at <= table->mask; at++) {
        Entry *entry = &table->slots[at];
        if (entry->frame != NULL && entry->row->lane != NULL && entry->row->lane->leaving)
            entry->row = row_find(&recorder->retired, entry->row->site, entry->row->caller);
    }
}

/* Takes the lanes of threads that have ended into the sums, all but the last `kept`, once there are twice as many;
   their memory serves others. Nothing goes while somebody reads. */
static void recorder_reap(Recorder *recorder, uint32_t kept) {
    uint32_t ended = 0, seen = 0;
    for (const Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
        ended += atomic_load(&lane->ended);
    if (recorder->reading || ended == 0 || ended < 2 * kept)
        return;
    Lane *leaving = NULL, **link = &recorder->lanes;
    while (*link != NULL) {
        Lane *lane = *link;
        if (!atomic_load(&lane->ended) || (!lane->muted && seen++ < kept)) {
            link = &lane->next_of_owner;
            continue;
        }
        *link = lane->next_of_owner;
        lane->next_of_owner = leaving;
        lane->leaving = 1;
        leaving = lane;
        if (lane->muted)
            continue;
        rows_fold(&recorder->retired, &lane->rows);
        for (uint32_t at = 0; at < lane->notable.count; at++)
            queue_add(&recorder->retired_notable, &lane->notable.calls[at]);
        recorder->retired_notable.dropped += lane->notable.dropped;
        recorder->retired_records += lane->head;
    }
    suspended_leave(recorder);
    while (leaving != NULL) {
        Lane *lane = leaving;
        leaving = lane->next_of_owner;
        lane_reset(lane);
        pthread_mutex_lock(&lanes_mutex);
        lane->owner = NULL;
        lane->next_of_owner = spare_lanes;
        spare_lanes = lane;
        pthread_mutex_unlock(&lanes_mutex);
    }
}

/* The calling thread's lane of this recorder, made if need be; NULL without memory. */
static __attribute__((noinline)) Lane *lane_find(Recorder *recorder, int make) {
    Lane *lane = lanes_of_thread, *unused = NULL;
    while (lane != NULL && lane->owner != recorder) {
        if (lane->owner == NULL)
            unused = lane;
        lane = lane->next_of_thread;
    }
    if (lane == NULL && make) {
        recorder_reap(recorder, ENDED_KEPT);
        lane = unused;
        if (lane != NULL)
            lane_reset(lane);
        else
            lane = lane_new();
        if (lane == NULL || !lane_needs_ring(lane, recorder->lane_count ? THREAD_RING_RECORDS : RING_RECORDS))
            return NULL; /* the lane stays with its thread, unused */
        lane->owner = recorder;
        lane->number = ++recorder->lane_count;
        lane->next_of_owner = recorder->lanes;
        recorder->lanes = lane;
    }
    if (lane != NULL)
        current_lane = lane;
    return lane;
}

static inline Lane *lane_here(Recorder *recorder, int make) {
    Lane *lane = current_lane;
    return LIKELY(lane != NULL && lane->owner == recorder) ? lane : lane_find(recorder, make);
}

/* Tells whoever waits that there is something to tell, once. It may run Python code, so it comes last; and a signal
   handler of the program's may raise in that, so it may fail: -1. */
static __attribute__((noinline)) int lane_wakes(Lane *lane) {
    PyObject *wake = lane->owner->wake;
    lane->listened = 1;
    if (wake == NULL)
        return 0;
    Py_INCREF(wake);
    PyObject *result = PyObject_CallNoArgs(wake);
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

static inline Entry *lane_push(Lane *lane) {
    if (UNLIKELY(lane->top + 1 >= lane->room) && !lane_grow(lane))
        return NULL;
    return &lane->stack[++lane->top];
}

static inline Row *row_of(Lane *lane, uint32_t site, uint32_t caller, uint64_t now) {
    Row *row = row_find(&lane->rows, site, caller);
    return LIKELY(row != NULL) ? row : row_add(&lane->rows, site, caller, lane, now);
}

static inline int on_start(const SiteState *site, void *frame) {
    Lane *lane = lane_here(site->owner, 1);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    uint64_t now = clock_ns();
    lane_write(lane, now, site->number, START);
    while (UNLIKELY(lane->stack[lane->top].frame == frame && lane->top))
        lane->top--; /* it was left without an exit, and its frame's memory serves another call */
    Row *row = row_of(lane, site->number, lane->stack[lane->top].row->site, now);
    Entry *entry = row != NULL ? lane_push(lane) : NULL;
    if (UNLIKELY(entry == NULL))
        return 0;
    row->calls++;
    entry->frame = frame;
    entry->row = row;
    entry->since = now;
    entry->below = 0;
    entry->suspends = site->suspends;
    if (site->suspends) {
        entry->started = now;
        entry->running = 0;
        entry->awaits = site->awaits;
        entry->lane = lane->number;
    }
    return UNLIKELY(row->calls == 1 && !lane->listened) ? lane_wakes(lane) : 0;
}

static __attribute__((noinline)) int note(Lane *lane, const Entry *entry, uint64_t now, uint64_t running, PyObject *error) {
    const Entry *caller = &lane->stack[lane->top];
    Notable call = {
        .site = entry->row->site,
        .caller = entry->row->caller,
        .lane = entry->suspends ? entry->lane : lane->number,
        .started = entry_started(entry),
        .ended = now > entry_started(entry) ? now : entry_started(entry),
        .running = running,
        .caller_started = lane->top ? entry_started(caller) : 0,
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
            (Unwound){.identity = identity, .site = entry->row->site, .started = entry_started(entry), .ended = now};
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

/* Counts the time since a call that was taken off the stack began or went on; returns it (ns). */
static inline uint64_t account(Lane *lane, const Entry *entry, uint64_t now) {
    uint64_t segment = LIKELY(now > entry->since) ? now - entry->since : 0;
    if (LIKELY(segment > entry->below))
        entry->row->own += segment - entry->below;
    lane->stack[lane->top].below += segment;
    return segment;
}

/* The end of a call: a return, or with `kind` an exception of that type and identity. */
static inline int on_end(
    const SiteState *site, void *frame, uint64_t transition, uint64_t identity, PyTypeObject *kind
) {
    Lane *lane = lane_here(site->owner, 0);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    Entry *entry = lane_pop(lane, frame, site->number);
    uint64_t now = clock_ns();
    lane_write(lane, now, site->number, transition);
    if (UNLIKELY(entry == NULL))
        return 0;
    Entry ended;
    if (UNLIKELY(kind != NULL)) { /* what follows may free objects, so other code may run and push onto the stack */
        ended = *entry;
        entry = &ended;
    }
    Row *row = entry->row;
    uint64_t segment = account(lane, entry, now);
    uint64_t duration = segment, running = segment;
    if (entry->suspends) {
        /* While a coroutine awaits it is at work for whoever awaits it; a generator between two values is not. */
        running += entry->running;
        duration = !entry->awaits ? running : now > entry->started ? now - entry->started : 0;
    }
    row->total += duration;
    if (duration > row->longest)
        row->longest = duration;
    PyObject *name = UNLIKELY(kind != NULL) ? unwound(lane, entry, now, identity, kind) : NULL;
    int failed = 0;
    if (UNLIKELY(duration >= site->limit || row->calls == 1 || name != NULL))
        failed = note(lane, entry, now, running, name);
    Py_XDECREF(name);
    return failed;
}

static inline int on_yield(const SiteState *site, void *frame) {
    Lane *lane = lane_here(site->owner, 0);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    Entry *entry = lane_pop(lane, frame, site->number);
    uint64_t now = clock_ns();
    lane_write(lane, now, site->number, YIELD);
    if (UNLIKELY(entry == NULL))
        return 0;
    entry->running += account(lane, entry, now);
    suspended_put(&site->owner->suspended, entry);
    return 0;
}

static inline int on_resume(const SiteState *site, void *frame) {
    Lane *lane = lane_here(site->owner, 1);
    if (UNLIKELY(lane == NULL || lane->muted))
        return 0;
    uint64_t now = clock_ns();
    lane_write(lane, now, site->number, RESUME);
    Entry suspended;
    if (!suspended_take(&site->owner->suspended, frame, &suspended) || suspended.row == NULL
        || suspended.row->site != site->number)
        return 0;
    Row *row = row_of(lane, site->number, suspended.row->caller, now); /* it may have begun in another thread */
    Entry *entry = row != NULL ? lane_push(lane) : NULL;
    if (entry == NULL)
        return 0;
    *entry = suspended;
    entry->row = row;
    entry->since = now;
    entry->below = 0;
    return 0;
}

static inline int on_transition(const SiteState *site, uint32_t transition, void *frame) {
    switch (transition) {
    case START: return on_start(site, frame);
    case RETURN: return on_end(site, frame, RETURN, 0, NULL);
    case YIELD: return on_yield(site, frame);
    case RESUME: return on_resume(site, frame);
    default: return 0; /* UNWIND comes with its exception */
    }
}

#endif
