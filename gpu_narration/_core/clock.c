#include "clock.h"

#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum gn_clock_source gn_clock_source = GN_CLOCK_MONOTONIC;

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t gn_clock_monotonic_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t gn_clock_realtime_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

#if defined(__x86_64__)
/* The kernel drops "tsc" from the list when it has seen the counters of two
 * cores drift apart; where there is no list (a sandbox), the CPU's word stands. */
static bool kernel_trusts_tsc(void)
{
    char list[256];
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/available_clocksource", "re");
    if (file == NULL)
        return true;
    bool trusted = fgets(list, sizeof list, file) == NULL || strstr(list, "tsc") != NULL;
    (void)fclose(file); /* opened for reading: nothing to lose */
    return trusted;
}

static bool cpu_has_invariant_tsc(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(0x80000007u, &eax, &ebx, &ecx, &edx))
        return false;
    return (edx & (1u << 8)) != 0; /* Intel SDM vol. 3, 18.17.1; AMD APM vol. 3, E.4.6 */
}
#endif

enum gn_clock_source gn_clock_choose(bool counter_allowed)
{
    gn_clock_source = GN_CLOCK_MONOTONIC;
#if defined(__x86_64__)
    if (counter_allowed && cpu_has_invariant_tsc() && kernel_trusts_tsc())
        gn_clock_source = GN_CLOCK_TSC;
#elif defined(__aarch64__)
    if (counter_allowed)
        gn_clock_source = GN_CLOCK_CNTVCT; /* one rate on all cores by architecture */
#else
    (void)counter_allowed;
#endif
    return gn_clock_source;
}

void gn_clock_sample(struct gn_clock_point *point)
{
    struct gn_clock_point best = {.magic = GN_CLOCK_MAGIC, .spread = UINT32_MAX};
    for (int i = 0; i < 5; i++) {
        uint64_t before = gn_clock_ticks();
        uint64_t monotonic = gn_clock_monotonic_ns();
        uint64_t realtime = gn_clock_realtime_ns();
        uint64_t spread = gn_clock_ticks() - before;
        if (spread < best.spread) {
            best.spread = (uint32_t)spread;
            best.tick = before + spread / 2;
            best.monotonic_ns = monotonic;
            best.realtime_ns = realtime;
        }
    }
    if (best.spread == UINT32_MAX) { /* preempted every time: keep a coarse one */
        best.tick = gn_clock_ticks();
        best.monotonic_ns = gn_clock_monotonic_ns();
        best.realtime_ns = gn_clock_realtime_ns();
    }
    *point = best;
}
