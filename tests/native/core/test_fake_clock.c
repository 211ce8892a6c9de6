/* Sampling with a clock that says what the test wants. */
#include "check.h"
#include "clock.h"

static const uint64_t *script; /* the readings to come; the last one stays */
static int left;

uint64_t gn_clock_ticks(void)
{
    if (left > 1) {
        left--;
        return *script++;
    }
    return *script;
}

static struct gn_clock_point sample(const uint64_t *readings, int count)
{
    script = readings;
    left = count;
    struct gn_clock_point point;
    gn_clock_sample(&point);
    return point;
}

TEST(the_tightest_of_five_readings_is_kept)
{
    static const uint64_t readings[] = {100, 150, 200, 290, 300, 320, 400, 470, 500, 600};
    struct gn_clock_point point = sample(readings, 10);
    CHECK_EQ(point.spread, 20);
    CHECK_EQ(point.tick, 310);
    CHECK_EQ(left, 1);
}

TEST(of_two_equally_tight_readings_the_first_is_kept)
{
    static const uint64_t readings[] = {100, 150, 200, 220, 300, 320, 400, 470, 500, 600};
    CHECK_EQ(sample(readings, 10).tick, 210);
}

TEST(a_clock_that_steps_back_between_the_reads_spoils_only_that_reading)
{
    static const uint64_t readings[] = {100, 50, 200, 290, 300, 299, 400, 470, 500, 600};
    struct gn_clock_point point = sample(readings, 10);
    CHECK_EQ(point.spread, 70);
    CHECK_EQ(point.tick, 435);
}

TEST(a_thread_that_is_preempted_every_time_gets_a_coarse_sample)
{
    /* GIVEN five readings that take longer than a spread can tell */
    const uint64_t late = (uint64_t)UINT32_MAX + 1;
    const uint64_t readings[] = {0, late, 0, late, 0, late, 0, late, 0, late, 77};
    /* WHEN the clocks are sampled */
    struct gn_clock_point point = sample(readings, 11);
    /* THEN there is a sample, which says that its error is not known */
    CHECK_EQ(point.spread, UINT32_MAX);
    CHECK_EQ(point.tick, 77);
    CHECK(point.monotonic_ns > 0);
    CHECK(point.realtime_ns > 0);
}
