/* A lane: one thread's part of the recorder's memory. Its ring, its shadow stack, its totals, its notable calls.

   Only the lane's own thread writes to it, holding the GIL; whoever reads it holds the GIL too. What happens without
   the GIL is the end of a thread, which marks its lanes under `lanes_mutex`. */

#ifndef NARRATIVE_LANE_H
#define NARRATIVE_LANE_H

#include <Python.h>
#include <pthread.h>
#include <stdatomic.h>

#include "clock.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum { START = 1, RETURN, UNWIND, YIELD, RESUME }; /* as in layout.py */

#define RING_RECORDS 65536u
#define THREAD_RING_RECORDS 4096u
#define NOTABLE_LIMIT 16384u
#define SUSPENDED_LIMIT 100000u
#define UNWOUND_LIMIT 256u
#define ENDED_KEPT 8u /* lanes of threads that have ended, before their memory serves another thread */

typedef struct Recorder Recorder;

/* 16 bytes: ns, then the site's number low and the transition high. */
typedef struct {
    uint64_t time;
    uint64_t word;
} Record;

typedef struct Failures {
    struct Failures *next;
    PyObject *name;
    uint64_t count;
} Failures;

/* The totals of one edge: a site called from another. */
typedef struct {
    struct Lane *lane; /* whose it is; NULL for the sums of lanes that are gone */
    uint32_t site, caller;
    uint64_t calls, total, own, longest, raised, first;
    uint64_t resumed, held; /* how often a call went on; what of `own` came in long pieces (governor.h) */
    uint64_t seen_stretches, seen_own, seen_held; /* what the governor has looked at */
    Failures *failures;
} Row;

typedef struct RowChunk {
    struct RowChunk *next;
    uint32_t used;
    Row rows[64];
} RowChunk;

typedef struct {
    Row **slots; /* open addressing by (caller, site) */
    uint32_t mask, count;
    RowChunk *chunks;
} Rows;

enum { BY_PROGRAM = 1, BY_GOVERNOR = 2 }; /* who has silenced a site */

/* What the probes of one site share. */
typedef struct {
    Recorder *owner;
    uint64_t limit; /* ns from which a call is notable */
    uint32_t number;
    uint8_t suspends, awaits, silent;
    uint8_t sampled; /* the governor has silenced it at least once: not all of its calls are counted */
    uint8_t generation;    /* how often it was taken back, more or less: a probe may try again to be jumped over */
    struct Patch *patches; /* the jumps over its probes */
    uint64_t own, held, records; /* for a decision of the governor */
} SiteState;

/* A call that is running. `frame` is the identity of its activation. */
typedef struct {
    void *frame;
    Row *row;
    uint64_t since, below;     /* when it began or went on; what the calls within took since */
    uint64_t started, running; /* of what can be suspended alone: when it began; how long it ran before */
    uint32_t lane;
    uint8_t suspends, awaits;
} Entry;

typedef struct {
    uint32_t site, caller, lane;
    uint64_t started, ended, running, caller_started;
    PyObject *error; /* the exception type's name; NULL for a call that returned */
} Notable;

typedef struct {
    Notable *calls;
    uint32_t count, room;
    uint64_t dropped;
} Queue;

typedef struct {
    uint64_t identity, started, ended;
    uint32_t site;
} Unwound;

typedef struct Lane {
    Recorder *owner; /* NULL: it belongs to nobody any more */
    Record *ring;
    uint64_t head, mask, check_at; /* check_at: the head at which the governor looks again */
    Entry *stack; /* stack[0] stands below all calls */
    uint32_t top, room;
    Rows rows;
    Row root;
    Queue notable;
    Unwound *unwound;
    uint64_t unwound_count;
    uint32_t number;
    uint8_t muted, listened, leaving; /* leaving: its memory is about to serve another thread */
    atomic_uchar ended; /* its thread has */
    struct Lane *next_of_owner, *next_of_thread;
} Lane;

#ifdef __GLIBC__
#define FAST_THREAD_LOCAL __attribute__((tls_model("initial-exec")))
#else
#define FAST_THREAD_LOCAL
#endif

static __thread Lane *current_lane FAST_THREAD_LOCAL; /* the one that was used last in this thread */
static __thread Lane *lanes_of_thread FAST_THREAD_LOCAL;
static pthread_mutex_t lanes_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t thread_key;
static Lane *spare_lanes; /* of no thread and no recorder; linked by next_of_owner */

/* -- totals -- */

static void failures_clear(Failures *one) {
    while (one != NULL) {
        Failures *next = one->next;
        Py_DECREF(one->name);
        free(one);
        one = next;
    }
}

static void rows_clear(Rows *rows) {
    RowChunk *chunk = rows->chunks;
    while (chunk != NULL) {
        RowChunk *next = chunk->next;
        for (uint32_t at = 0; at < chunk->used; at++)
            failures_clear(chunk->rows[at].failures);
        free(chunk);
        chunk = next;
    }
    free(rows->slots);
    memset(rows, 0, sizeof *rows);
}

static inline uint32_t row_slot(const Rows *rows, uint32_t site, uint32_t caller) {
    uint64_t key = ((uint64_t)caller << 32 | site) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32) & rows->mask;
}

static int rows_grow(Rows *rows) {
    uint32_t size = rows->slots == NULL ? 64 : 2 * (rows->mask + 1);
    Row **slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return 0;
    free(rows->slots);
    rows->slots = slots;
    rows->mask = size - 1;
    for (RowChunk *chunk = rows->chunks; chunk != NULL; chunk = chunk->next)
        for (uint32_t at = 0; at < chunk->used; at++) {
            uint32_t slot = row_slot(rows, chunk->rows[at].site, chunk->rows[at].caller);
            while (slots[slot] != NULL)
                slot = (slot + 1) & rows->mask;
            slots[slot] = &chunk->rows[at];
        }
    return 1;
}

static inline Row *row_find(const Rows *rows, uint32_t site, uint32_t caller) {
    if (UNLIKELY(rows->slots == NULL))
        return NULL;
    uint32_t slot = row_slot(rows, site, caller);
    Row *row;
    while ((row = rows->slots[slot]) != NULL) {
        if (LIKELY(row->site == site && row->caller == caller))
            return row;
        slot = (slot + 1) & rows->mask;
    }
    return NULL;
}

static Row *row_add(Rows *rows, uint32_t site, uint32_t caller, struct Lane *lane, uint64_t now) {
    if (rows->slots == NULL || rows->count >= (rows->mask + 1) / 2)
        if (!rows_grow(rows))
            return NULL;
    if (rows->chunks == NULL || rows->chunks->used == 64) {
        RowChunk *chunk = calloc(1, sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        chunk->next = rows->chunks;
        rows->chunks = chunk;
    }
    Row *row = &rows->chunks->rows[rows->chunks->used++];
    row->site = site;
    row->caller = caller;
    row->lane = lane;
    row->first = now;
    uint32_t slot = row_slot(rows, site, caller);
    while (rows->slots[slot] != NULL)
        slot = (slot + 1) & rows->mask;
    rows->slots[slot] = row;
    rows->count++;
    return row;
}

/* Takes a reference to `name`. */
static void row_failed(Row *row, PyObject *name, uint64_t count) {
    for (Failures *one = row->failures; one != NULL; one = one->next)
        if (one->name == name || PyUnicode_Compare(one->name, name) == 0) {
            one->count += count;
            return;
        }
    Failures *one = malloc(sizeof *one);
    if (one == NULL)
        return;
    one->next = row->failures;
    one->name = Py_NewRef(name);
    one->count = count;
    row->failures = one;
}

static void rows_fold(Rows *into, const Rows *from) {
    for (RowChunk *chunk = from->chunks; chunk != NULL; chunk = chunk->next)
        for (uint32_t at = 0; at < chunk->used; at++) {
            const Row *row = &chunk->rows[at];
            Row *sum = row_find(into, row->site, row->caller);
            if (sum == NULL)
                sum = row_add(into, row->site, row->caller, NULL, row->first);
            if (sum == NULL)
                continue;
            sum->calls += row->calls;
            sum->total += row->total;
            sum->own += row->own;
            sum->held += row->held;
            sum->resumed += row->resumed;
            sum->raised += row->raised;
            if (row->longest > sum->longest)
                sum->longest = row->longest;
            if (row->first < sum->first)
                sum->first = row->first;
            for (Failures *one = row->failures; one != NULL; one = one->next)
                row_failed(sum, one->name, one->count);
        }
}

/* -- notable calls -- */

static void queue_add(Queue *queue, const Notable *call) {
    if (queue->count == queue->room) {
        uint32_t room = queue->room == 0 ? 32 : 2 * queue->room;
        Notable *calls = queue->room >= NOTABLE_LIMIT ? NULL : realloc(queue->calls, room * sizeof *calls);
        if (calls == NULL) {
            queue->dropped++;
            return;
        }
        queue->calls = calls;
        queue->room = room;
    }
    queue->calls[queue->count] = *call;
    Py_XINCREF(call->error);
    queue->count++;
}

static void queue_clear(Queue *queue) {
    for (uint32_t at = 0; at < queue->count; at++)
        Py_XDECREF(queue->calls[at].error);
    free(queue->calls);
    memset(queue, 0, sizeof *queue);
}

/* -- lanes -- */

static inline void lane_write(Lane *lane, uint64_t now, uint32_t site, uint64_t transition) {
    Record *record = &lane->ring[lane->head++ & lane->mask];
    record->time = now;
    record->word = site | transition << 32;
}

static int lane_grow(Lane *lane) {
    uint32_t room = lane->room == 0 ? 64 : 2 * lane->room;
    Entry *stack = realloc(lane->stack, room * sizeof *stack);
    if (stack == NULL)
        return 0;
    lane->stack = stack;
    lane->room = room;
    return 1;
}

/* Lets a lane begin anew, for any thread and recorder; its ring is made by its first use. */
static void lane_reset(Lane *lane) {
    rows_clear(&lane->rows);
    queue_clear(&lane->notable);
    lane->unwound_count = 0;
    lane->head = lane->check_at = 0;
    lane->top = 0;
    memset(&lane->root, 0, sizeof lane->root);
    memset(&lane->stack[0], 0, sizeof lane->stack[0]);
    lane->stack[0].row = &lane->root;
    lane->muted = lane->listened = lane->leaving = 0;
    lane->number = 0;
}

static Lane *lane_new(void) {
    pthread_mutex_lock(&lanes_mutex);
    Lane *lane = spare_lanes;
    if (lane != NULL)
        spare_lanes = lane->next_of_owner;
    pthread_mutex_unlock(&lanes_mutex);
    if (lane == NULL) {
        lane = calloc(1, sizeof *lane);
        if (lane == NULL || !lane_grow(lane)) {
            free(lane);
            return NULL;
        }
    }
    lane_reset(lane);
    atomic_store(&lane->ended, 0);
    lane->next_of_thread = lanes_of_thread;
    lanes_of_thread = lane;
    pthread_setspecific(thread_key, lane);
    return lane;
}

static int lane_needs_ring(Lane *lane, uint64_t records) {
    if (lane->ring != NULL && lane->mask == records - 1) {
        memset(lane->ring, 0, records * sizeof(Record));
        return 1;
    }
    free(lane->ring);
    lane->ring = calloc(records, sizeof(Record));
    lane->mask = records - 1;
    return lane->ring != NULL;
}

/* The end of a thread; without the GIL. */
static void thread_ended(void *first) {
    pthread_mutex_lock(&lanes_mutex);
    for (Lane *lane = first; lane != NULL;) {
        Lane *next = lane->next_of_thread;
        lane->next_of_thread = NULL;
        if (lane->owner == NULL) {
            lane->next_of_owner = spare_lanes;
            spare_lanes = lane;
        }
        atomic_store(&lane->ended, 1);
        lane = next;
    }
    current_lane = lanes_of_thread = NULL;
    pthread_mutex_unlock(&lanes_mutex);
}

/* -- the stack of calls -- */

static inline uint64_t entry_started(const Entry *entry) { return entry->suspends ? entry->started : entry->since; }

/* The time of a call that ran so long in all. While a coroutine awaits it is at work for whoever awaits it; a generator
   between two values is not. */
static inline uint64_t entry_duration(const Entry *entry, uint64_t running, uint64_t now) {
    return !entry->suspends || !entry->awaits ? running : now > entry->started ? now - entry->started : 0;
}

/* Takes the entry of an activation off, with all that was left above it without an exit; NULL if there is none. The
   entry stays readable until the next one is put on. */
static inline Entry *lane_pop(Lane *lane, void *frame, uint32_t site) {
    Entry *entry = &lane->stack[lane->top];
    if (LIKELY(entry->frame == frame && entry->row->site == site && lane->top)) {
        lane->top--;
        return entry;
    }
    for (uint32_t at = lane->top; at > 0; at--) {
        entry = &lane->stack[at];
        if (entry->frame == frame && entry->row->site == site) {
            lane->top = at - 1;
            return entry;
        }
    }
    return NULL;
}

#endif
