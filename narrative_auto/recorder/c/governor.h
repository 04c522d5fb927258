/* The governor: keeps what records cost within the budget, by releasing sites.

   A thread looks every CHECK_RECORDS records. The budget's share of the process's CPU time is credited, what the records
   cost is taken from it; a process begins with some credit, so that a short one is told whole. Where the credit is used
   up, sites are released in ascending order of the time that they run themselves per record, until what is left fits
   into half of the budget. A site that runs 20 us or more per record is never released: it can cost no more than some
   0.15 %.

   A thread that waits for the GIL seems to run. It waits for at least a switch interval (5 ms): what a function takes in
   pieces as long as that is scaled down to what the process can have run. */

#ifndef NARRATIVE_GOVERNOR_H
#define NARRATIVE_GOVERNOR_H

#include "memory.h"

#define CHECK_RECORDS 1024u
#define WINDOW_NS 2000000u      /* CPU time between two looks, at least */
#define LONGEST_NS 100000000u
#define DECISION_SHARE 40u      /* a decision may take this part of the window that follows it */
#define FIRST_CREDIT_NS 4e6     /* what records may cost at the beginning of a process, whatever the budget */
#define CREDIT_NS 3e5           /* most credit that is kept later */
#define SEEN_NS 50000000u       /* what was noted of the rows longer ago says little of now */
#define WORTH_NS 20000.0        /* own time per record from which a site is never released */
#define KNOWN_RECORDS 8u        /* records of a site that say what it does */
#define LONG_NS 4000000u
#define INTERPRETER_NS 5.0      /* what the instructions take that ask a probe */
#define CHEAPEST_NS 8.0
#define DEAREST_NS 250.0

static inline uint64_t cpu_ns(clockid_t whose) {
    struct timespec now;
    clock_gettime(whose, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t all_records(const Recorder *recorder) {
    uint64_t records = recorder->retired_records;
    for (const Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
        if (!lane->muted)
            records += lane->head;
    return records;
}

static void window_begin(Recorder *recorder, uint64_t cpu) {
    recorder->window_cpu = cpu;
    recorder->window_records = all_records(recorder);
}

static void governor_begin(Recorder *recorder) {
    recorder->record_ns = 20.0;
    recorder->window_ns = WINDOW_NS;
    recorder->seen_cpu = 0;
    recorder->credit = recorder->most_credit = FIRST_CREDIT_NS;
    window_begin(recorder, cpu_ns(CLOCK_PROCESS_CPUTIME_ID));
}

/* -- what each site did since the rows were noted -- */

static inline uint64_t stretches(const Row *row) { return row->calls + row->resumed; }

/* Notes the rows; adds what came since the last time to the states of their sites. Returns their records. */
static uint64_t rows_note(Recorder *recorder) {
    uint64_t records = 0;
    for (uint32_t chunk = 0; chunk < recorder->chunk_count; chunk++)
        for (uint32_t at = 0; recorder->chunks[chunk] != NULL && at < SITES_PER_CHUNK; at++) {
            SiteState *site = &recorder->chunks[chunk][at];
            site->own = site->held = site->records = 0;
        }
    for (Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
        for (RowChunk *chunk = lane->rows.chunks; chunk != NULL; chunk = chunk->next)
            for (uint32_t at = 0; at < chunk->used; at++) {
                Row *row = &chunk->rows[at];
                uint64_t seen = 2 * (stretches(row) - row->seen_stretches);
                SiteState *site = seen ? site_state(recorder, row->site) : NULL;
                if (site != NULL) {
                    site->own += row->own - row->seen_own;
                    site->held += row->held - row->seen_held;
                    site->records += seen;
                    records += seen;
                }
                row->seen_stretches = stretches(row);
                row->seen_own = row->own;
                row->seen_held = row->held;
            }
    return records;
}

/* -- releasing -- */

static inline int is_released(const Recorder *recorder, const Entry *entry) {
    uint32_t site = entry->site;
    return site && (recorder->chunks[site / SITES_PER_CHUNK][site % SITES_PER_CHUNK].silent & BY_GOVERNOR);
}

/* Counts a call up to now: what it ran since it began or went on, and before. */
static void row_leave(const Entry *entry, uint64_t since, uint64_t now) {
    uint64_t duration = entry_duration(entry, since + (entry->suspends ? entry->running : 0), now);
    entry->row->total += duration;
    if (duration > entry->row->longest)
        entry->row->longest = duration;
}

/* Takes calls of released sites off a stack: nobody will report their ends. Their time up to now is counted. */
static void lane_forget_released(const Recorder *recorder, Lane *lane, uint64_t now) {
    uint32_t kept = 0;
    for (uint32_t at = 1; at <= lane->top; at++) {
        Entry *entry = &lane->stack[at];
        if (!is_released(recorder, entry)) {
            lane->stack[++kept] = *entry;
            continue;
        }
        /* What the call above it takes is added to the one below when that ends. */
        uint64_t until = at < lane->top ? lane->stack[at + 1].since : now;
        uint64_t segment = until > entry->since ? until - entry->since : 0;
        if (segment > entry->below)
            entry->row->own += segment - entry->below;
        row_leave(entry, now > entry->since ? now - entry->since : 0, now);
        lane->stack[kept].below += segment;
    }
    lane->top = kept;
}

static void suspended_forget_released(const Recorder *recorder, Suspended *table, uint64_t now) {
    for (uint32_t at = 0; table->count && at <= table->mask; at++)
        while (table->slots[at].frame != NULL && is_released(recorder, &table->slots[at])) {
            row_leave(&table->slots[at], 0, now);
            suspended_remove(table, at); /* another one may have moved here */
        }
}

static int dearer(const void *one, const void *other) {
    const SiteState *a = *(SiteState *const *)one, *b = *(SiteState *const *)other;
    double first = (double)a->own / (double)a->records, second = (double)b->own / (double)b->records;
    return first < second ? -1 : first > second;
}

/* Releases sites until what is left fits. Returns whether it does, as far as that can be known by now. */
static int release_sites(Recorder *recorder, uint64_t passed) {
    double left = (double)rows_note(recorder) * recorder->record_ns, goal = 0.5 * recorder->budget * (double)passed;
    SiteState **busy = NULL;
    uint32_t count = 0, room = 0;
    uint64_t own = 0;
    for (uint32_t chunk = 0; chunk < recorder->chunk_count; chunk++)
        for (uint32_t at = 0; recorder->chunks[chunk] != NULL && at < SITES_PER_CHUNK; at++) {
            SiteState *site = &recorder->chunks[chunk][at];
            own += site->own;
            if (!site->records || site->silent || site->is_block || site->has_blocks)
                continue;
            if (count == room) {
                room = room ? 2 * room : 256;
                SiteState **more = realloc(busy, room * sizeof *more);
                if (more == NULL)
                    break;
                busy = more;
            }
            busy[count++] = site;
        }
    double possible = own > passed ? (double)passed / (double)own : 1.0;
    for (uint32_t at = 0; at < count; at++)
        busy[at]->own -= (uint64_t)((double)busy[at]->held * (1.0 - possible));
    if (count)
        qsort(busy, count, sizeof *busy, dearer);
    int unknown = 0, released = 0;
    for (uint32_t at = 0; at < count && left > goal; at++) {
        SiteState *site = busy[at];
        if ((double)site->own >= WORTH_NS * (double)site->records)
            break;
        if (site->records < KNOWN_RECORDS) {
            unknown = 1;
            continue;
        }
        if (!site->sampled)
            box_note_sampled();
        site->silent |= BY_GOVERNOR;
        site->sampled = released = 1;
        left -= (double)site->records * recorder->record_ns;
    }
    free(busy);
    if (released) {
        uint64_t now = clock_ns();
        for (Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
            lane_forget_released(recorder, lane, now);
        suspended_forget_released(recorder, &recorder->suspended, now);
    }
    return left <= 2 * goal || !unknown;
}

/* Looks whether the records of this window keep the budget. */
static __attribute__((noinline)) void govern(Lane *lane) {
    Recorder *recorder = lane->owner;
    lane->check_at = lane->head + CHECK_RECORDS;
    if (recorder->budget <= 0 || recorder->reading)
        return;
    uint64_t cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID), passed = cpu - recorder->window_cpu;
    if (passed < recorder->window_ns)
        return;
    double cost = (double)(all_records(recorder) - recorder->window_records) * recorder->record_ns;
    recorder->credit += recorder->budget * (double)passed - cost;
    if (recorder->credit > recorder->most_credit)
        recorder->credit = recorder->most_credit;
    if (recorder->credit < 0) {
        uint64_t began = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
        int is_known = 1;
        recorder->most_credit = CREDIT_NS;
        if (recorder->seen_cpu == 0 || cpu - recorder->seen_cpu > SEEN_NS + recorder->window_ns)
            rows_note(recorder);
        else if ((is_known = release_sites(recorder, cpu - recorder->seen_cpu)))
            recorder->credit = 0;
        recorder->seen_cpu = cpu;
        uint64_t least = DECISION_SHARE * (cpu_ns(CLOCK_THREAD_CPUTIME_ID) - began);
        if (!is_known)
            least = 2 * recorder->window_ns; /* more functions than could show what they do in so short a time */
        recorder->window_ns = least < WINDOW_NS ? WINDOW_NS : least > LONGEST_NS ? LONGEST_NS : least;
    }
    window_begin(recorder, cpu);
}

/* Takes in what one record cost. */
static void measured(Recorder *recorder, uint64_t began, uint64_t ended) {
    double cost = (double)(ended - began) + INTERPRETER_NS;
    if (ended < began || cost > DEAREST_NS)
        return; /* the thread was interrupted */
    recorder->record_ns += ((cost < CHEAPEST_NS ? CHEAPEST_NS : cost) - recorder->record_ns) / 16.0;
}

#endif
