/* The recorder's memory: the states of its sites, the lanes of its threads, suspended calls. */

#ifndef NARRATIVE_MEMORY_H
#define NARRATIVE_MEMORY_H

#include "suspended.h"

#define SITES_PER_CHUNK 512u
#define BLOCKS_KEPT 1024u /* open or over: what began within one may end later */

static int is_new_process; /* a fork has made it, and whoever forks has not told us yet */

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
    uint64_t retired_records, retired_disordered;
    Suspended suspended;
    PyObject *innermost; /* the context variable of the innermost block; NULL as long as there was none */
    Suspended blocks;    /* those that are open, by the addresses of their objects */
    uint32_t blocks_made;
    Entry *last_blocks; /* the last BLOCKS_KEPT that were opened, by their numbers */
    uint32_t reading;   /* how many are walking through lanes: allocating may run other code */
    double budget;      /* the share of the process's CPU time that records may take; 0 for any */
    double record_ns;   /* what one record costs, as measured while the program runs */
    double credit, most_credit; /* ns that records may take before sites are released */
    uint64_t window_cpu, window_records, window_ns; /* when the governor's window began; how long it is at least */
    uint64_t seen_cpu;  /* when the governor took note of the rows; 0 where that is too long ago */
    PyObject *described; /* the descriptions of the sites, for the black box; NULL without one */
    struct {
        char *block; /* where they are written */
        const void *file; /* the last one's file name */
    } descriptions;
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
            entry->row = row_find(&recorder->retired, entry->site, entry->row->caller);
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
        recorder->retired_disordered += lane->disordered;
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
    const int boxed = recorder->described != NULL;
    Lane *lane = lanes_of_thread, *unused = NULL;
    while (lane != NULL && lane->owner != recorder) {
        if (lane->owner == NULL && lane->boxed == boxed)
            unused = lane;
        lane = lane->next_of_thread;
    }
    if (lane == NULL && make) {
        recorder_reap(recorder, ENDED_KEPT);
        if (boxed)
            box_open();
        lane = unused;
        if (lane != NULL)
            lane_reset(lane);
        else
            lane = lane_new(boxed);
        uint64_t records = lanes_made > CROWD ? CROWD_RING_RECORDS : THREAD_RING_RECORDS;
        if (lane == NULL || !lane_needs_ring(lane, recorder->lane_count ? records : RING_RECORDS))
            return NULL; /* the lane stays with its thread, unused */
        lane->owner = recorder;
        lane->number = ++recorder->lane_count;
        lane->next_of_owner = recorder->lanes;
        recorder->lanes = current_lane = lane;
        lane_names(lane); /* last, as it makes objects */
    }
    if (lane != NULL)
        current_lane = lane;
    return lane;
}

/* The same where there is nothing to look for; else NULL. */
static inline Lane *lane_at_hand(const Recorder *recorder) {
    Lane *lane = current_lane;
    return LIKELY(lane != NULL && lane->owner == recorder && !lane->muted) ? lane : NULL;
}

static inline Lane *lane_here(Recorder *recorder, int make) {
    Lane *lane = current_lane;
    return LIKELY(lane != NULL && lane->owner == recorder) ? lane : lane_find(recorder, make);
}

#endif
