/* The time of records: ns of CLOCK_MONOTONIC, which is what time.perf_counter_ns() counts on Linux.

   The processor's time-stamp counter is read where it is invariant and the kernel itself keeps time by it: it costs a
   third of a call to clock_gettime(). Two anchors, at least a millisecond apart, give its rate; nothing waits for the
   second one, so the first records of a process are timed by the kernel. clock_adjust() keeps the two together. */

#ifndef NARRATIVE_CLOCK_H
#define NARRATIVE_CLOCK_H

#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) && defined(__linux__)
#define HAS_COUNTER 1
#include <cpuid.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <x86intrin.h>
#else
#define HAS_COUNTER 0
#endif

#define CALIBRATION_NS 1000000u      /* between the two anchors */
#define ADJUSTMENT_NS 100000000u     /* between two looks at the difference */
#define NOTHING_BETWEEN 20000u       /* ticks that two readings of the counter may lie apart, the kernel's clock between */
#define READINGS 5                   /* of which the one with the least between counts: a rate follows from it */
#define STEP_NS 10000000             /* a difference from which the clock is set, not slewed: the machine was asleep */

static struct {
    int counts;           /* the counter is in use */
    int trusted;          /* it may be used */
    uint64_t ns, ticks;   /* where the two met last */
    uint64_t rate;        /* ns a tick, 32 bits behind the point */
    uint64_t first_ns, first_ticks;
} the_clock;

static inline uint64_t kernel_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#if HAS_COUNTER

static int counter_is_readable(void) {
    int mode = 0;
    return prctl(PR_GET_TSC, &mode, 0, 0, 0) == 0 && mode == PR_TSC_ENABLE;
}

static int counter_is_trusted(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(0x80000007u, &a, &b, &c, &d) || !(d & (1u << 8)) || !counter_is_readable())
        return 0;
    char name[8] = {0};
    int file = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, name, sizeof name - 1);
    close(file);
    return length >= 3 && strncmp(name, "tsc", 3) == 0;
}

static inline uint64_t scaled(uint64_t ticks, uint64_t rate) {
    return (uint64_t)(((unsigned __int128)ticks * rate) >> 32);
}

static uint64_t rate_since_start(uint64_t ns, uint64_t ticks) {
    uint64_t passed = ticks - the_clock.first_ticks;
    return passed ? (uint64_t)((((unsigned __int128)(ns - the_clock.first_ns)) << 32) / passed) : 0;
}

/* Reads both clocks at, as nearly as can be, the same moment; returns the ticks that lay between. */
static uint64_t clock_read_both(uint64_t *ns, uint64_t *ticks) {
    uint64_t least = UINT64_MAX;
    for (int tries = 0; tries < READINGS; tries++) {
        uint64_t before = __rdtsc(), time = kernel_ns(), after = __rdtsc();
        if (after - before < least) {
            least = after - before;
            *ns = time;
            *ticks = after;
        }
    }
    return least;
}

/* The first anchor. */
static void clock_anchor(void) {
    the_clock.counts = 0;
    clock_read_both(&the_clock.first_ns, &the_clock.first_ticks);
}

/* Which clock: the counter, if it may be used, and where somebody insists even if nobody vouches for it. */
static void clock_use(int counter, int insists) {
    memset(&the_clock, 0, sizeof the_clock);
    the_clock.trusted = counter && (insists ? counter_is_readable() : counter_is_trusted());
    if (the_clock.trusted)
        clock_anchor();
}

/* The time by the kernel; from the second anchor on the counter takes over. */
static uint64_t clock_begin(void) {
    if (!the_clock.trusted)
        return kernel_ns(); /* a process may be forbidden to read the counter */
    uint64_t ns = kernel_ns(), ticks;
    if (ns - the_clock.first_ns >= CALIBRATION_NS && clock_read_both(&ns, &ticks) < NOTHING_BETWEEN) {
        the_clock.ns = ns;
        the_clock.ticks = ticks;
        the_clock.rate = rate_since_start(ns, ticks);
        the_clock.counts = the_clock.rate != 0;
    }
    return ns;
}

/* The time by the counter; 0 where only clock_ns() can say. */
static inline uint64_t clock_counted(void) {
    if (__builtin_expect(!the_clock.counts, 0))
        return 0;
    uint64_t passed = __rdtsc() - the_clock.ticks;
    return __builtin_expect((int64_t)passed >= 0, 1) ? the_clock.ns + scaled(passed, the_clock.rate) : 0;
}

static __attribute__((noinline)) uint64_t clock_ns(void) {
    uint64_t counted = clock_counted();
    if (counted)
        return counted;
    if (the_clock.counts)
        clock_anchor(); /* the counter went backwards: the machine was asleep, or moved */
    return clock_begin();
}

/* Lets the counter meet the kernel's clock within the next second, without a step backwards. */
static void clock_adjust(void) {
    if (!the_clock.counts)
        return;
    if (scaled(__rdtsc() - the_clock.ticks, the_clock.rate) < ADJUSTMENT_NS)
        return;
    uint64_t ns, ticks;
    if (clock_read_both(&ns, &ticks) >= NOTHING_BETWEEN)
        return;
    uint64_t shown = the_clock.ns + scaled(ticks - the_clock.ticks, the_clock.rate);
    int64_t behind = (int64_t)(ns - shown);
    uint64_t rate = rate_since_start(ns, ticks);
    if (rate == 0 || behind > STEP_NS || behind < -STEP_NS) {
        clock_anchor();
        return;
    }
    the_clock.ns = shown;
    the_clock.ticks = ticks;
    the_clock.rate = (uint64_t)((double)rate * (1.0 + (double)behind / 1e9));
}

#else

static void clock_use(int Py_UNUSED(counter), int Py_UNUSED(insists)) { memset(&the_clock, 0, sizeof the_clock); }
static inline uint64_t clock_counted(void) { return 0; }
static inline uint64_t clock_ns(void) { return kernel_ns(); }
static void clock_adjust(void) {}

#endif

/* The time, without a call of another function where the counter says it. */
static inline uint64_t clock_now(void) {
    uint64_t counted = clock_counted();
    return __builtin_expect(counted != 0, 1) ? counted : clock_ns();
}

#endif
