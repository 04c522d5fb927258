/* A lane: one thread's part of the recorder's memory. Its ring, its shadow stack, its totals, its notable calls.

   Only the lane's own thread writes to it, holding the GIL; whoever reads it holds the GIL too. What happens without
   the GIL is the end of a thread, which marks its lanes under `lanes_mutex`. */

#ifndef NARRATIVE_LANE_H
#define NARRATIVE_LANE_H

#include <Python.h>
#include <pthread.h>

#include "totals.h"

enum { START = 1, RETURN, UNWIND, YIELD, RESUME }; /* as in layout.py */

#define RING_RECORDS 65536u
#define THREAD_RING_RECORDS 4096u
#define CROWD_RING_RECORDS 1024u
#define LANES_PER_BLOCK 32u
#define CROWD 64u /* lanes from which on a thread has a small ring */
#define SUSPENDED_LIMIT 100000u
#define UNWOUND_LIMIT 256u
#define ENDED_KEPT 8u /* lanes of threads that have ended, before their memory serves another thread */

typedef struct Recorder Recorder;

/* 16 bytes: ns, then the site's number low and the transition high. */
typedef struct {
    uint64_t time;
    uint64_t word;
} Record;

enum { BY_PROGRAM = 1, BY_GOVERNOR = 2 }; /* who has silenced a site */

/* What the probes of one site share. */
typedef struct {
    Recorder *owner;
    uint64_t limit; /* ns from which a call is notable */
    uint32_t number;
    uint8_t suspends, awaits, silent;
    uint8_t sampled; /* the governor has silenced it at least once: not all of its calls are counted */
    uint8_t described; /* in the black box */
    uint8_t generation;    /* how often it was taken back, more or less: a probe may try again to be jumped over */
    uint8_t is_block;      /* of blocks, not of calls */
    uint8_t has_blocks;    /* what can be suspended, and opens blocks, which are suspended with it */
    struct Patch *patches; /* the jumps over its probes */
    uint64_t own, held, records; /* for a decision of the governor */
} SiteState;

/* A call that is running, or a block that is open; as in layout.py. `frame` is the identity of the call's activation. */
typedef struct {
    void *frame;
    Row *row;
    uint64_t since, below;     /* when it began or went on; what the calls within took since */
    uint64_t started, running; /* of what can be suspended alone: when it began; how long it ran before */
    uint32_t site, lane;
    uint8_t suspends, awaits;
    uint8_t linked;  /* it is within a block of its context, and not within what is beneath it */
    uint8_t carried; /* of a suspended call: how many blocks are suspended with it */
    uint32_t block;  /* the number of the innermost block that it is within, or is; 0 for none */
} Entry;

typedef struct {
    uint64_t identity, started, ended;
    uint32_t site;
} Unwound;

typedef struct Lane {
    /* What a reader of the black box looks at; as in layout.py. */
    uint64_t head, mask;        /* records written; a ring's records less one */
    uint64_t ring_at, stack_at; /* where they are in the black box; 0 for elsewhere */
    uint32_t top, room;         /* of the stack */
    uint32_t number, thread;    /* thread: the system's number of it */
    uint8_t muted;
    atomic_uchar ended; /* its thread has */
    /* The recorder's own. */
    uint8_t listened, leaving; /* leaving: its memory is about to serve another thread */
    uint8_t boxed;             /* it lies in the black box */
    Recorder *owner; /* NULL: it belongs to nobody any more */
    Record *ring;
    Entry *stack; /* stack[0] stands below all calls */
    uint64_t check_at; /* the head at which the governor looks again */
    Rows rows;
    Row root;
    Queue notable;
    Unwound *unwound;
    uint64_t unwound_count;
    uint64_t disordered; /* calls whose caller was left before them */
    struct Lane *next_of_owner, *next_of_thread;
    char name[64]; /* the thread's; UTF-8 */
} Lane;

#if UINTPTR_MAX > 0xffffffffu
#define HAS_BOX 1
_Static_assert(sizeof(Record) == 16 && sizeof(Entry) == 64 && offsetof(Entry, site) == 48, "as in layout.py");
_Static_assert(offsetof(Lane, top) == 32 && offsetof(Lane, muted) == 48, "as in layout.py");
_Static_assert(offsetof(Lane, name) + sizeof ((Lane *)NULL)->name == sizeof(Lane), "as in layout.py");
#else
#define HAS_BOX 0
#endif

#ifdef __GLIBC__
#define FAST_THREAD_LOCAL __attribute__((tls_model("initial-exec")))
#else
#define FAST_THREAD_LOCAL
#endif

static __thread Lane *current_lane FAST_THREAD_LOCAL; /* the one that was used last in this thread */
static __thread Lane *lanes_of_thread FAST_THREAD_LOCAL;
static pthread_key_t thread_key;
static Lane *spare_lanes; /* of no thread and no recorder; linked by next_of_owner */
static uint32_t lanes_made;
static Lane *lanes_block; /* of the black box; `lanes_used` of it are in use */
static uint32_t lanes_used = LANES_PER_BLOCK;

/* Blocks are numbered; in place of an activation they have twice their number and one, as no frame has an odd address.
   What stands below all calls passes for a block. */
static inline void *block_frame(uint32_t number) { return (void *)(2 * (uintptr_t)number + 1); }
static inline int is_block(const Entry *entry) { return (uintptr_t)entry->frame & 1; }

/* -- lanes -- */

static inline void lane_write(Lane *lane, uint64_t now, uint32_t site, uint64_t transition) {
    Record *record = &lane->ring[lane->head & lane->mask];
    record->time = now;
    record->word = site | transition << 32;
    PUBLISH();
    lane->head++;
}

static __attribute__((noinline)) int lane_grow(Lane *lane) {
    uint32_t room = lane->room == 0 ? 64 : 2 * lane->room;
    uint64_t at = 0;
    Entry *before = lane->stack, *stack = lane->boxed ? box_take(BLOCK_STACK, room * sizeof *stack, &at) : NULL;
    if (stack == NULL && (stack = malloc(room * sizeof *stack)) == NULL)
        return 0;
    if (before != NULL)
        memcpy(stack, before, lane->room * sizeof *stack);
    lane->stack = stack;
    PUBLISH();
    if (lane->stack_at)
        box_turn(before, BLOCK_FREE);
    else
        free(before);
    lane->stack_at = at;
    lane->room = room;
    return 1;
}

/* Lets a lane begin anew, for any thread and recorder; its ring is made by its first use. */
static void lane_reset(Lane *lane) {
    rows_clear(&lane->rows);
    queue_clear(&lane->notable);
    lane->unwound_count = lane->disordered = 0;
    lane->head = lane->check_at = 0;
    lane->top = 0;
    memset(&lane->root, 0, sizeof lane->root);
    memset(&lane->stack[0], 0, sizeof lane->stack[0]);
    lane->stack[0].frame = block_frame(0);
    lane->stack[0].row = &lane->root;
    lane->muted = lane->listened = lane->leaving = 0;
    lane->number = lane->thread = 0;
    lane->name[0] = 0;
}

/* One of those that nobody has, in the black box or elsewhere. */
static Lane *lane_spare(int boxed) {
    pthread_mutex_lock(&lanes_mutex);
    Lane **link = &spare_lanes;
    while (*link != NULL && (*link)->boxed != boxed)
        link = &(*link)->next_of_owner;
    Lane *lane = *link;
    if (lane != NULL)
        *link = lane->next_of_owner;
    pthread_mutex_unlock(&lanes_mutex);
    return lane;
}

/* Memory for a lane that never was one. */
static Lane *lane_take(int boxed) {
    lanes_made++;
    if (!boxed)
        return calloc(1, sizeof(Lane));
    if (lanes_used == LANES_PER_BLOCK) {
        uint64_t at;
        Lane *more = box_take(BLOCK_LANES, LANES_PER_BLOCK * sizeof *more, &at);
        if (more == NULL)
            return NULL;
        lanes_block = more;
        lanes_used = 0;
    }
    return &lanes_block[lanes_used++];
}

static Lane *lane_new(int boxed) {
    Lane *lane = lane_spare(boxed);
    if (lane == NULL) {
        lane = lane_take(boxed);
        if (lane == NULL)
            return boxed ? lane_new(0) : NULL;
        lane->boxed = (uint8_t)boxed;
        if (!lane_grow(lane)) {
            if (!boxed)
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

/* Gives a lane a ring, empty; one that it had serves on, as memory of the black box is never given back. */
static int lane_needs_ring(Lane *lane, uint64_t records) {
    int serves = lane->mask == records - 1 || lane->ring_at
        || (records < RING_RECORDS && lane->mask + 1 >= CROWD_RING_RECORDS && lane->mask < THREAD_RING_RECORDS);
    if (lane->ring != NULL && serves) {
        memset(lane->ring, 0, (lane->mask + 1) * sizeof(Record));
        return 1;
    }
    free(lane->ring);
    lane->ring = lane->boxed ? box_take(BLOCK_RING, records * sizeof(Record), &lane->ring_at) : NULL;
    if (lane->ring == NULL)
        lane->ring = calloc(records, sizeof(Record));
    lane->mask = records - 1;
    return lane->ring != NULL;
}

static PyObject *item_of(PyObject *dict, const char *name) {
    return dict != NULL && PyDict_CheckExact(dict) ? PyDict_GetItemString(dict, name) : NULL;
}

/* Takes down whose lane it is, by the number and the name that `threading` has for it; runs no code of the program's. */
static void lane_names(Lane *lane) {
    lane->thread = (uint32_t)PyThread_get_thread_native_id();
    PyObject *module = item_of(PyImport_GetModuleDict(), "threading");
    PyObject *threads = module != NULL && PyModule_Check(module) ? item_of(PyModule_GetDict(module), "_active") : NULL;
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *thread = threads != NULL && PyDict_CheckExact(threads) && ident != NULL
        ? PyDict_GetItemWithError(threads, ident) : NULL;
    PyObject *values = thread != NULL ? PyObject_GenericGetDict(thread, NULL) : NULL;
    PyObject *name = item_of(values, "_name");
    Py_ssize_t size = 0;
    const char *text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &size) : NULL;
    if (text != NULL)
        memcpy(lane->name, text, (size_t)(size < (Py_ssize_t)sizeof lane->name ? size : (Py_ssize_t)sizeof lane->name));
    if (size < (Py_ssize_t)sizeof lane->name)
        lane->name[size] = 0;
    Py_XDECREF(values);
    Py_XDECREF(ident);
    PyErr_Clear(); /* without a name it has its number */
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

/* Whether the uppermost entry is that of an activation; below all there is one of no activation. */
static inline int is_top(const Entry *entry, const void *frame, uint32_t site) {
    return entry->frame == frame && entry->site == site;
}

/* Where the entry of an activation stands; 0 for nowhere. */
static uint32_t lane_search(const Lane *lane, const void *frame, uint32_t site) {
    uint32_t at = lane->top;
    while (at > 0 && !is_top(&lane->stack[at], frame, site))
        at--;
    return at;
}

#endif
