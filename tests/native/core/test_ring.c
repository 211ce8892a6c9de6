/* Records of one writer in its chunks, with a clock that the test turns. */
#include "check.h"
#include "fixture.h"

static uint64_t now = 1000;

uint64_t gn_clock_ticks(void)
{
    return now;
}

/* One writer in a ring of 8 chunks that nobody drains. */
struct bench {
    struct bare_ring bare;
    struct gn_writer writer;
    struct trace trace;
};

static void begin(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    now = 1000;
    bare_ring_make(&bench->bare, 8, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    gn_writer_open(&bench->writer, &bench->bare.ring, UINT32_MAX);
}

/* What a reader of the ring file finds at this moment. */
static const struct record *look(struct bench *bench)
{
    trace_free(&bench->trace);
    CHECK(trace_add_ring(&bench->trace, bench->bare.place.fd, "t.ring"));
    return bench->trace.records;
}

static void end(struct bench *bench)
{
    trace_free(&bench->trace);
    gn_writer_close(&bench->writer);
    bare_ring_remove(&bench->bare);
}

TEST(a_record_is_in_the_file_as_soon_as_it_is_committed)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.writer, 42, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(bench.trace.count, 1);
    CHECK_EQ(records[0].thread, GN_STREAM_FIRST_THREAD);
    CHECK_EQ(records[0].site, SITE);
    CHECK_EQ(records[0].size, EVENT_SIZE);
    CHECK_EQ(number_of(&records[0]), 42);
    end(&bench);
}

TEST(a_record_that_is_not_committed_is_not_in_the_file)
{
    /* GIVEN one record, and a second that was begun */
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.writer, 42, 0), GN_OK);
    (void)gn_record_begin(&bench.writer, SITE, now);
    /* THEN a reader finds the first only */
    look(&bench);
    CHECK_EQ(bench.trace.count, 1);
    end(&bench);
}

TEST(records_of_one_writer_lie_in_order_with_exact_sequence_numbers)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_EQ(try_event(&bench.writer, i, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(bench.trace.count, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK_EQ(records[i].seq, i);
        CHECK_EQ(number_of(&records[i]), i);
    }
    end(&bench);
}

TEST(a_chunk_is_handed_over_when_the_next_record_may_not_fit)
{
    /* GIVEN a writer with as many records as a chunk can hold */
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < PER_CHUNK(EVENT_SIZE); i++)
        CHECK_EQ(try_event(&bench.writer, i, 0), GN_OK);
    CHECK_EQ(bench.bare.ring.full_count, 0);
    /* WHEN one more comes */
    CHECK_EQ(try_event(&bench.writer, PER_CHUNK(EVENT_SIZE), 0), GN_OK);
    /* THEN the chunk is in the queue and the record leads the next one */
    CHECK_EQ(bench.bare.ring.full_count, 1);
    look(&bench);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->next_seq, PER_CHUNK(EVENT_SIZE));
    CHECK_EQ(trace_chunk(&bench.trace, 2)->first_seq, PER_CHUNK(EVENT_SIZE));
    end(&bench);
}

TEST(numbers_go_on_across_chunks)
{
    struct bench bench;
    begin(&bench);
    const uint64_t total = 4 * PER_CHUNK(EVENT_SIZE) + 1;
    for (uint64_t i = 0; i < total; i++)
        CHECK_EQ(try_event(&bench.writer, i, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(bench.trace.count, total);
    CHECK_EQ(bench.trace.gaps, 0);
    for (uint64_t i = 0; i < total; i++) {
        CHECK_EQ(records[i].seq, i);
        CHECK_EQ(number_of(&records[i]), i);
        CHECK_EQ(records[i].serial, 1 + i / PER_CHUNK(EVENT_SIZE));
    }
    end(&bench);
}

TEST(the_longest_narrow_delta_is_one_less_than_the_mark)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.writer, 0, 0), GN_OK);
    now += UINT32_MAX - 1u;
    CHECK_EQ(try_event(&bench.writer, 1, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(records[1].size, EVENT_SIZE);
    CHECK_EQ(records[1].tick, now);
    end(&bench);
}

TEST(a_longer_delta_is_an_absolute_tick)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.writer, 0, 0), GN_OK);
    now += UINT32_MAX;
    CHECK_EQ(try_event(&bench.writer, 1, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(records[1].size, EVENT_SIZE + 8);
    CHECK_EQ(records[1].tick, now);
    CHECK_EQ(number_of(&records[1]), 1);
    end(&bench);
}

TEST(deltas_count_on_from_an_absolute_tick)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.writer, 0, 0), GN_OK);
    now += (uint64_t)1 << 40;
    CHECK_EQ(try_event(&bench.writer, 1, 0), GN_OK);
    now += 5;
    CHECK_EQ(try_event(&bench.writer, 2, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(records[2].size, EVENT_SIZE);
    CHECK_EQ(records[2].tick, now);
    end(&bench);
}

TEST(a_chunk_that_is_full_of_wide_deltas_ends_where_it_should)
{
    struct bench bench;
    begin(&bench);
    const uint64_t per_chunk = GN_CHUNK_ROOM / (EVENT_SIZE + 8);
    CHECK_EQ(try_event(&bench.writer, 0, 0), GN_OK);
    for (uint64_t i = 1; i < 3 * per_chunk; i++) {
        now += UINT32_MAX;
        CHECK_EQ(try_event(&bench.writer, i, 0), GN_OK);
    }
    look(&bench);
    CHECK_EQ(bench.trace.count, 3 * per_chunk);
    CHECK(trace_chunk(&bench.trace, 2)->end <= GN_CHUNK_ROOM);
    CHECK_EQ(trace_chunk(&bench.trace, 2)->end, per_chunk * (EVENT_SIZE + 8));
    end(&bench);
}

TEST(time_never_runs_backwards_when_the_clock_steps_back)
{
    /* GIVEN a clock that steps back and comes forward again */
    struct bench bench;
    begin(&bench);
    static const uint64_t clock[] = {1000, 1500, 900, 1400, 1500, 1600};
    static const uint64_t seen[] = {1000, 1500, 1500, 1500, 1500, 1600};
    for (uint64_t i = 0; i < 6; i++) {
        now = clock[i];
        CHECK_EQ(try_event(&bench.writer, i, 0), GN_OK);
    }
    /* THEN the trace's time waits until the clock has caught up */
    const struct record *records = look(&bench);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(records[i].tick, seen[i]);
    end(&bench);
}

TEST(a_step_back_does_not_reach_the_next_chunk_either)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < FAT_PER_CHUNK; i++)
        CHECK_EQ(try_event(&bench.writer, i, FAT), GN_OK);
    now = 10;
    CHECK_EQ(try_event(&bench.writer, FAT_PER_CHUNK, FAT), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(trace_chunk(&bench.trace, 2)->base_tick, 1000);
    CHECK_EQ(records[FAT_PER_CHUNK].tick, 1000);
    end(&bench);
}

TEST(the_first_chunk_counts_from_the_time_it_began)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.writer), GN_OK);
    now += 300;
    CHECK_EQ(try_event(&bench.writer, 0, 0), GN_OK);
    const struct record *records = look(&bench);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->base_tick, 1000);
    CHECK_EQ(records[0].tick, 1300);
    end(&bench);
}

TEST(a_chunk_says_which_span_and_correlation_were_current_when_it_began)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.writer), GN_OK);
    bench.writer.span = 0x123456789au;
    bench.writer.correlation = 77;
    CHECK_EQ(gn_writer_refill(&bench.writer), GN_OK);
    look(&bench);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->span, 0);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->correlation, 0);
    CHECK_EQ(trace_chunk(&bench.trace, 2)->span, 0x123456789a);
    CHECK_EQ(trace_chunk(&bench.trace, 2)->correlation, 77);
    end(&bench);
}

TEST(an_event_id_is_the_thread_and_the_sequence_number)
{
    CHECK_EQ(gn_event_id(3, 5), (3ll << 40) + 5);
    CHECK_EQ(gn_event_id(3, (1ull << 40) + 5), (3ll << 40) + 5);
}
