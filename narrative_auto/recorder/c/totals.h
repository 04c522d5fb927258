/* What is counted of calls: totals for each edge between two sites, and the calls that are told one by one. */

#ifndef NARRATIVE_TOTALS_H
#define NARRATIVE_TOTALS_H

#include "box.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define NOTABLE_LIMIT 16384u

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

typedef struct {
    uint32_t site, caller, lane, caller_lane;
    uint64_t started, ended, running, caller_started;
    PyObject *error; /* the exception type's name; NULL for a call that returned */
} Notable;

typedef struct {
    Notable *calls;
    uint32_t count, room;
    uint64_t dropped;
} Queue;

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

#endif
