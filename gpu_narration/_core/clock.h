/* Time as the hot path sees it: a tick of the CPU's counter where that counter
 * runs at one rate on all cores, else CLOCK_MONOTONIC in ns.  Ticks become
 * nanoseconds only in the reader, between two struct gn_clock_point. */
#ifndef GN_CLOCK_H
#define GN_CLOCK_H

#include "record.h"
#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Chosen once by gn_clock_choose, before any thread records. */
extern enum gn_clock_source gn_clock_source;

uint64_t gn_clock_monotonic_ns(void);
uint64_t gn_clock_realtime_ns(void);

/* Picks the counter if the CPU and the kernel both call it steady and
 * `counter_allowed` is true; else the monotonic clock. */
enum gn_clock_source gn_clock_choose(bool counter_allowed);

/* Reads all three clocks; keeps the tightest of a few tries. */
void gn_clock_sample(struct gn_clock_point *point);

#ifdef GN_FAKE_CLOCK
uint64_t gn_clock_ticks(void); /* a test supplies it */
#else
static inline uint64_t gn_clock_ticks(void)
{
#if defined(__x86_64__)
    if (gn_clock_source == GN_CLOCK_TSC)
        return __rdtsc();
#elif defined(__aarch64__)
    if (gn_clock_source == GN_CLOCK_CNTVCT) {
        uint64_t tick;
        __asm__ volatile("mrs %0, cntvct_el0" : "=r"(tick));
        return tick;
    }
#endif
    return gn_clock_monotonic_ns();
}
#endif

#endif
