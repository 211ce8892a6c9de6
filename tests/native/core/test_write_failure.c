/* A disk that is full, and has room again. */
#include "check.h"
#include "fixture.h"

#include <errno.h>

#define CHUNKS 16u

struct bench {
    struct taping taping;
    struct gn_ring *ring;
    struct gn_drain *drain;
    struct gn_writer writer;
    uint64_t total; /* records committed */
};

static void begin(struct bench *bench, uint32_t chunks)
{
    taping_start(&bench->taping, chunks, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    bench->ring = &bench->taping.recording.ring;
    bench->drain = &bench->taping.recording.drain;
    gn_writer_open(&bench->writer, bench->ring, UINT32_MAX);
    bench->total = 0;
}

static void record(struct bench *bench, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        CHECK_EQ(put_event(&bench->writer, bench->total++, FAT), GN_OK);
}

static bool flush(struct bench *bench)
{
    return gn_drain_flush(bench->drain, 10000, false);
}

/* Lets the segment grow by `bytes` and no more. */
static void leave_room(struct bench *bench, rlim_t bytes)
{
    limit_files((rlim_t)place_size(&bench->taping.place, "t.000.seg") + bytes);
}

/* Records until the ring loses an event; returns after `lost` of them. */
static void lose(struct bench *bench, int lost)
{
    while (lost > 0) {
        enum gn_result result = put_event(&bench->writer, bench->total, FAT);
        CHECK(result == GN_OK || result == GN_LOST);
        if (result == GN_LOST)
            lost--;
        else
            bench->total++;
    }
}

static void check_holds_all(const struct trace *trace, const struct bench *bench)
{
    CHECK_EQ(trace->count, bench->total);
    CHECK_EQ(trace->gaps, 0);
    CHECK_EQ(trace->torn, 0);
    for (uint64_t i = 0; i < bench->total; i++)
        CHECK_EQ(number_of(&trace->records[i]), i);
}

/* Every chunk is in one place: free, full, or the writer's. */
static void check_chunks(struct bench *bench)
{
    CHECK_EQ(pthread_mutex_lock(&bench->ring->lock), 0);
    uint32_t free = 0, full = 0, owned = bench->writer.chunk != NULL;
    for (const struct gn_chunk *chunk = bench->ring->free; chunk != NULL; chunk = chunk->next)
        CHECK(++free <= bench->ring->chunk_count);
    for (const struct gn_chunk *chunk = bench->ring->full_head; chunk != NULL; chunk = chunk->next)
        CHECK(++full <= bench->ring->chunk_count);
    CHECK_EQ(free, bench->ring->free_count);
    CHECK_EQ(full, bench->ring->full_count);
    CHECK_EQ(free + full + owned, bench->ring->chunk_count);
    CHECK_EQ(pthread_mutex_unlock(&bench->ring->lock), 0);
}

/* Ends well: the segment holds all that was committed, and tells what was lost. */
static void end(struct bench *bench, uint64_t lost)
{
    CHECK(flush(bench));
    check_chunks(bench);
    gn_writer_close(&bench->writer);
    taping_end(&bench->taping);
    CHECK_EQ(place_size(&bench->taping.place, "t.ring"), -1);
    struct trace trace;
    trace_read(&trace, bench->taping.place.fd, "t");
    check_holds_all(&trace, bench);
    CHECK_EQ(trace.dropped, lost);
    trace_free(&trace);
    taping_remove(&bench->taping);
}

TEST(a_fragment_that_does_not_fit_is_not_there_in_part)
{
    /* GIVEN three events in the segment, and room for a part of the next three */
    struct bench bench;
    begin(&bench, CHUNKS);
    record(&bench, 3);
    CHECK(flush(&bench));
    leave_room(&bench, PADDED_SIZE(FAT) + 100);
    record(&bench, 3);
    CHECK(!flush(&bench));
    /* THEN the segment is whole and holds the first three */
    struct trace trace;
    trace_read(&trace, bench.taping.place.fd, "t");
    CHECK_EQ(trace.torn, 0);
    CHECK_EQ(trace.count, 3);
    trace_free(&trace);
    limit_files(RLIM_INFINITY);
    end(&bench, 0);
}

TEST(what_did_not_fit_is_written_when_there_is_room)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    record(&bench, 3);
    CHECK(flush(&bench));
    leave_room(&bench, 100);
    record(&bench, 3 * FAT_PER_CHUNK);
    CHECK(!flush(&bench));
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    struct trace trace;
    trace_read(&trace, bench.taping.place.fd, "t");
    check_holds_all(&trace, &bench);
    trace_free(&trace);
    end(&bench, 0);
}

TEST(a_disk_that_fills_between_two_writes_of_a_pass_keeps_the_first)
{
    /* GIVEN 100 full chunks, more than one write takes, of which 70 will fit */
    struct bench bench;
    begin(&bench, 160);
    record(&bench, 1);
    CHECK(flush(&bench));
    leave_room(&bench, 0);
    record(&bench, 100 * FAT_PER_CHUNK);
    leave_room(&bench, 70 * GN_CHUNK_SIZE);
    CHECK(!flush(&bench));
    /* WHEN there is room for the rest */
    struct trace trace;
    trace_read(&trace, bench.taping.place.fd, "t");
    CHECK_EQ(trace.count, 64 * FAT_PER_CHUNK);
    trace_free(&trace);
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    /* THEN all are there, in order, once */
    end(&bench, 0);
}

TEST(a_ring_that_cannot_be_written_loses_events_and_counts_each)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 100);
    /* WHEN a thread that would wait records on */
    lose(&bench, 25);
    /* THEN the ring has taken what it has room for, and the rest is counted */
    CHECK_EQ(bench.total, (CHUNKS - GN_RESERVED_CHUNKS) * FAT_PER_CHUNK);
    CHECK_EQ(bench.ring->header->dropped, 25);
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    record(&bench, 1);
    end(&bench, 25);
}

static void *wait_a_minute(void *ring)
{
    return gn_ring_wait_space(ring, 60000) ? ring : NULL;
}

TEST(a_thread_that_waits_is_sent_on_when_the_disk_fails)
{
    /* GIVEN a thread that waits since another has all chunks; here, the test */
    struct bench bench;
    begin(&bench, CHUNKS);
    record(&bench, 1);
    CHECK_EQ(pthread_mutex_lock(&bench.ring->lock), 0);
    struct gn_chunk *kept = bench.ring->free;
    uint32_t kept_count = bench.ring->free_count;
    bench.ring->free = NULL;
    bench.ring->free_count = 0;
    CHECK_EQ(pthread_mutex_unlock(&bench.ring->lock), 0);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wait_a_minute, bench.ring), 0);
    for (uint32_t waiting = 0; waiting == 0; sleep_us(500)) {
        CHECK_EQ(pthread_mutex_lock(&bench.ring->lock), 0);
        waiting = bench.ring->waiting;
        CHECK_EQ(pthread_mutex_unlock(&bench.ring->lock), 0);
    }
    /* WHEN a write fails */
    uint64_t start_ns = gn_clock_monotonic_ns();
    leave_room(&bench, 0);
    record(&bench, 1);
    CHECK(!flush(&bench));
    /* THEN it comes back at once, and may drop */
    void *open;
    CHECK_EQ(pthread_join(thread, &open), 0);
    CHECK(open == bench.ring);
    CHECK(gn_clock_monotonic_ns() - start_ns < 30000000000u);
    limit_files(RLIM_INFINITY);
    CHECK_EQ(pthread_mutex_lock(&bench.ring->lock), 0);
    bench.ring->free = kept;
    bench.ring->free_count = kept_count;
    CHECK_EQ(pthread_mutex_unlock(&bench.ring->lock), 0);
    end(&bench, 0);
}

TEST(the_chunk_after_a_loss_says_where_it_was)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 100);
    lose(&bench, 7);
    uint64_t before = bench.total;
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    record(&bench, 2 * FAT_PER_CHUNK);
    CHECK(flush(&bench));
    struct trace trace;
    trace_read(&trace, bench.taping.place.fd, "t");
    unsigned told = 0;
    for (uint64_t serial = 1; serial < trace.chunk_room; serial++) {
        const struct joined *chunk = trace_chunk(&trace, serial);
        if (chunk != NULL && chunk->dropped != 0) {
            CHECK_EQ(chunk->dropped, 7);
            CHECK_EQ(chunk->first_seq, before);
            told++;
        }
    }
    CHECK_EQ(told, 1);
    trace_free(&trace);
    end(&bench, 7);
}

TEST(a_stream_that_cannot_be_written_counts_its_losses_too)
{
    static uint8_t values[20000];
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 100);
    for (int lost = 0; lost < 5;) {
        enum gn_result result = gn_recording_put(&bench.taping.recording, GN_STREAM_ANNOTATIONS,
                                                 GN_SYS_ANNOTATE, values, sizeof values);
        CHECK(result == GN_OK || result == GN_LOST);
        lost += result == GN_LOST;
    }
    CHECK_EQ(bench.ring->header->dropped, 5);
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    gn_writer_close(&bench.writer);
    taping_end(&bench.taping);
    taping_remove(&bench.taping);
}

static int told_error(struct bench *bench)
{
    CHECK_EQ(pthread_mutex_lock(&bench->ring->lock), 0);
    int error = bench->drain->stats.write_error;
    CHECK_EQ(bench->ring->stalled, error != 0);
    CHECK_EQ(bench->ring->header->write_error, error);
    CHECK_EQ(pthread_mutex_unlock(&bench->ring->lock), 0);
    return error;
}

TEST(the_last_state_of_the_disk_is_told)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    CHECK(flush(&bench));
    CHECK_EQ(told_error(&bench), 0);
    leave_room(&bench, 0);
    record(&bench, 1);
    CHECK(!flush(&bench));
    CHECK_EQ(told_error(&bench), EFBIG);
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    CHECK_EQ(told_error(&bench), 0);
    end(&bench, 0);
}

static uint64_t passes(struct bench *bench)
{
    CHECK_EQ(pthread_mutex_lock(&bench->ring->lock), 0);
    uint64_t count = bench->drain->stats.passes;
    CHECK_EQ(pthread_mutex_unlock(&bench->ring->lock), 0);
    return count;
}

TEST(a_full_disk_is_tried_twice_a_second_however_many_events_are_lost)
{
    /* GIVEN a disk that has just been found full */
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 100);
    lose(&bench, 1);
    uint64_t before = passes(&bench), start_ns = gn_clock_monotonic_ns();
    /* WHEN events are lost for a good second */
    int lost = 1;
    while (gn_clock_monotonic_ns() - start_ns < 1300000000u) {
        lose(&bench, 1);
        lost++;
        sleep_us(200);
    }
    /* THEN the drain has tried after half of it and at its end, no more often */
    uint64_t tried = passes(&bench) - before;
    CHECK(tried >= 1); /* a busy machine may be late */
    CHECK(tried <= 3);
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    record(&bench, 1);
    end(&bench, (uint64_t)lost);
}

TEST(the_drain_finds_out_by_itself_that_there_is_room_again)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 0);
    record(&bench, 1);
    CHECK(!flush(&bench));
    limit_files(RLIM_INFINITY);
    uint64_t start_ns = gn_clock_monotonic_ns();
    while (told_error(&bench) != 0)
        sleep_us(1000);
    CHECK(gn_clock_monotonic_ns() - start_ns < 900000000u);
    end(&bench, 0);
}

TEST(a_flush_tries_a_full_disk_at_once)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 0);
    record(&bench, 1);
    CHECK(!flush(&bench));
    limit_files(RLIM_INFINITY);
    CHECK(gn_drain_flush(bench.drain, 400, false));
    end(&bench, 0);
}

TEST(a_recording_that_ends_on_a_full_disk_keeps_its_ring)
{
    /* GIVEN events in the segment, and more that do not fit */
    struct bench bench;
    begin(&bench, CHUNKS);
    record(&bench, FAT_PER_CHUNK + 3);
    CHECK(flush(&bench));
    leave_room(&bench, PADDED_SIZE(FAT) + 100);
    record(&bench, 3 * FAT_PER_CHUNK);
    /* WHEN the recording ends */
    gn_writer_close(&bench.writer);
    gn_recording_close(&bench.taping.recording);
    CHECK_EQ(gn_recording_stop(&bench.taping.recording), EFBIG);
    limit_files(RLIM_INFINITY);
    /* THEN segment and ring hold all of them, and the ring says what happened */
    struct trace trace;
    trace_read(&trace, bench.taping.place.fd, "t");
    CHECK(trace_add_ring(&trace, bench.taping.place.fd, "t.ring"));
    check_holds_all(&trace, &bench);
    CHECK_EQ(trace.write_error, EFBIG);
    trace_free(&trace);
    taping_remove(&bench.taping);
}

TEST(a_last_clock_point_that_does_not_fit_is_an_error_with_its_name)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    sleep_us(60000); /* past the second clock point; the next is due in a second */
    CHECK(flush(&bench));
    leave_room(&bench, 0);
    gn_writer_close(&bench.writer);
    gn_recording_close(&bench.taping.recording);
    CHECK_EQ(gn_recording_stop(&bench.taping.recording), EFBIG);
    limit_files(RLIM_INFINITY);
    taping_remove(&bench.taping);
}

TEST(a_disk_that_has_room_for_the_end_gets_all)
{
    struct bench bench;
    begin(&bench, CHUNKS);
    leave_room(&bench, 0);
    record(&bench, 3 * FAT_PER_CHUNK);
    CHECK(!flush(&bench));
    limit_files(RLIM_INFINITY);
    end(&bench, 0);
}
