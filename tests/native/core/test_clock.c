/* The clock as it is on this machine. */
#include "check.h"
#include "clock.h"
#include "fixture.h"

static void check_sample_between_readings(void)
{
    /* GIVEN the clocks before */
    uint64_t tick_before = gn_clock_ticks();
    uint64_t monotonic_before = gn_clock_monotonic_ns();
    uint64_t realtime_before = gn_clock_realtime_ns();
    /* WHEN they are sampled */
    struct gn_clock_point point;
    gn_clock_sample(&point);
    /* THEN each reading lies between that and now */
    CHECK_EQ(point.magic, GN_CLOCK_MAGIC);
    CHECK(tick_before <= point.tick);
    CHECK(point.tick <= gn_clock_ticks());
    CHECK(monotonic_before <= point.monotonic_ns);
    CHECK(point.monotonic_ns <= gn_clock_monotonic_ns());
    CHECK(realtime_before <= point.realtime_ns);
    CHECK(point.realtime_ns <= gn_clock_realtime_ns());
}

TEST(without_the_counter_the_clock_is_the_monotonic_one)
{
    CHECK_EQ(gn_clock_choose(false), GN_CLOCK_MONOTONIC);
    CHECK_EQ(gn_clock_source, GN_CLOCK_MONOTONIC);
    uint64_t before = gn_clock_monotonic_ns();
    uint64_t tick = gn_clock_ticks();
    CHECK(before <= tick);
    CHECK(tick <= gn_clock_monotonic_ns());
}

TEST(the_choice_is_told_and_kept)
{
    enum gn_clock_source chosen = gn_clock_choose(true);
    CHECK_EQ(gn_clock_source, chosen);
    CHECK_EQ(gn_clock_choose(true), chosen);
}

TEST(the_counter_is_taken_away_again_when_it_is_not_allowed)
{
    gn_clock_choose(true);
    CHECK_EQ(gn_clock_choose(false), GN_CLOCK_MONOTONIC);
    CHECK_EQ(gn_clock_source, GN_CLOCK_MONOTONIC);
}

TEST(a_sample_of_the_monotonic_clock_lies_between_the_readings_round_it)
{
    gn_clock_choose(false);
    for (int i = 0; i < 1000; i++)
        check_sample_between_readings();
}

TEST(a_sample_of_the_best_clock_lies_between_the_readings_round_it)
{
    gn_clock_choose(true);
    for (int i = 0; i < 1000; i++)
        check_sample_between_readings();
}

TEST(the_monotonic_sample_has_its_tick_within_its_spread)
{
    gn_clock_choose(false);
    for (int i = 0; i < 1000; i++) {
        struct gn_clock_point point;
        gn_clock_sample(&point);
        uint64_t apart = point.tick > point.monotonic_ns ? point.tick - point.monotonic_ns
                                                         : point.monotonic_ns - point.tick;
        CHECK(apart <= point.spread);
    }
}

TEST(two_samples_tell_one_rate_for_ticks_and_nanoseconds)
{
    /* GIVEN three samples, 20 ms apart */
    gn_clock_choose(true);
    struct gn_clock_point points[3];
    for (int i = 0; i < 3; i++) {
        gn_clock_sample(&points[i]);
        sleep_us(20000);
    }
    /* THEN the rate in the second stretch is that of the first, within 5 % */
    double rates[2];
    for (int i = 0; i < 2; i++) {
        CHECK(points[i].monotonic_ns + 20000000 <= points[i + 1].monotonic_ns);
        rates[i] = (double)(points[i + 1].tick - points[i].tick) /
                   (double)(points[i + 1].monotonic_ns - points[i].monotonic_ns);
    }
    CHECK(rates[0] > 0.0);
    CHECK(rates[1] > rates[0] * 0.95);
    CHECK(rates[1] < rates[0] * 1.05);
}
