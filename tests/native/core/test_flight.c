/* The flight recorder: the newest chunks are kept, the streams all of them. */
#include "check.h"
#include "fixture.h"

#include <stdlib.h>

#define CHUNKS 16u
/* Of a thread alone in the ring: all but the reserved ones and its current one. */
#define KEPT_FULL (CHUNKS - GN_RESERVED_CHUNKS - 1)
#define LAPS 100u
#define LAST 5u /* events in the chunk that is not full */
#define TOTAL (LAPS * FAT_PER_CHUNK + LAST)
#define KEPT (KEPT_FULL * FAT_PER_CHUNK + LAST)

static void record(struct gn_writer *writer, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        CHECK_EQ(try_event(writer, i, FAT), GN_OK);
}

/* The trace holds, of this thread, the events from `from` to `to` and no other. */
static void check_holds(const struct trace *trace, uint32_t thread, uint64_t from, uint64_t to)
{
    size_t count;
    struct record *records = trace_thread(trace, thread, &count);
    CHECK_EQ(count, to - from);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(records[i].seq, from + i);
        CHECK_EQ(number_of(&records[i]), from + i);
    }
    free(records);
}

static void check_ring_holds(const struct bare_ring *bare, uint32_t thread, uint64_t from,
                             uint64_t to)
{
    struct trace trace = {0};
    CHECK(trace_add_ring(&trace, bare->place.fd, "t.ring"));
    check_holds(&trace, thread, from, to);
    trace_free(&trace);
}

TEST(the_newest_events_are_kept_and_the_oldest_forgotten)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    check_ring_holds(&bare, writer.thread, TOTAL - KEPT, TOTAL);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(chunks_of_a_stream_are_never_recycled_for_events)
{
    /* GIVEN two full chunks of definitions, older than all events */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer definitions, writer;
    gn_writer_open(&definitions, &bare.ring, GN_STREAM_DEFINITIONS);
    record(&definitions, 0, 2 * FAT_PER_CHUNK + 1);
    /* WHEN a thread goes round the ring many times */
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    /* THEN every definition is still there */
    check_ring_holds(&bare, GN_STREAM_DEFINITIONS, 0, 2 * FAT_PER_CHUNK + 1);
    check_ring_holds(&bare, writer.thread, TOTAL - KEPT + 3 * FAT_PER_CHUNK, TOTAL);
    gn_writer_close(&writer);
    gn_writer_close(&definitions);
    bare_ring_remove(&bare);
}

TEST(a_stream_takes_the_oldest_events_place_when_nothing_is_free)
{
    /* GIVEN a ring in which a stream has used up the reserve */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer definitions, writer;
    gn_writer_open(&definitions, &bare.ring, GN_STREAM_DEFINITIONS);
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    record(&definitions, 0, 2 * FAT_PER_CHUNK);
    CHECK_EQ(bare.ring.free_count, 0);
    /* WHEN it needs one chunk more */
    record(&definitions, 2 * FAT_PER_CHUNK, 3 * FAT_PER_CHUNK);
    /* THEN the thread's oldest chunk is gone, and only that */
    check_ring_holds(&bare, GN_STREAM_DEFINITIONS, 0, 3 * FAT_PER_CHUNK);
    check_ring_holds(&bare, writer.thread, TOTAL - KEPT + FAT_PER_CHUNK, TOTAL);
    gn_writer_close(&writer);
    gn_writer_close(&definitions);
    bare_ring_remove(&bare);
}

TEST(a_chunk_that_the_drain_reads_is_not_recycled)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, 2 * FAT_PER_CHUNK);
    bare.ring.full_head->pinned = true;
    record(&writer, 2 * FAT_PER_CHUNK, TOTAL);
    CHECK_EQ(bare.ring.full_head->head->serial, 1);
    CHECK_EQ(bare.ring.full_head->head->committed, FAT_PER_CHUNK * PADDED_SIZE(FAT));
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(a_thread_waits_while_the_drain_reads_all_there_is)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    for (struct gn_chunk *chunk = bare.ring.full_head; chunk != NULL; chunk = chunk->next)
        chunk->pinned = true;
    CHECK_EQ(gn_writer_refill(&writer), GN_FULL);
    bare.ring.full_head->pinned = false;
    CHECK_EQ(gn_writer_refill(&writer), GN_OK);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

static void check_segments_hold(const struct taping *taping, uint32_t thread, uint64_t from,
                                uint64_t to)
{
    struct trace trace;
    trace_read(&trace, taping->place.fd, "t");
    check_holds(&trace, thread, from, to);
    trace_free(&trace);
}

TEST(a_flush_writes_the_definitions_and_keeps_the_events_in_the_ring)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    for (uint64_t i = 0; i < 10; i++)
        CHECK_EQ(put_stream(&taping.recording, GN_STREAM_DEFINITIONS, i), GN_OK);
    record(&writer, 0, 10);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, false));
    check_segments_hold(&taping, GN_STREAM_DEFINITIONS, 0, 10);
    check_segments_hold(&taping, writer.thread, 0, 0);
    gn_writer_close(&writer);
    taping_end(&taping);
    taping_remove(&taping);
}

TEST(a_flush_with_events_writes_the_newest)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    check_segments_hold(&taping, writer.thread, TOTAL - KEPT, TOTAL);
    gn_writer_close(&writer);
    taping_end(&taping);
    taping_remove(&taping);
}

TEST(after_a_dump_the_events_stay_in_the_ring_again)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    record(&writer, 0, 3);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    record(&writer, 3, 7);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, false));
    check_segments_hold(&taping, writer.thread, 0, 3);
    gn_writer_close(&writer);
    taping_end(&taping);
    taping_remove(&taping);
}

TEST(the_end_of_a_recording_writes_the_newest)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    uint32_t thread = writer.thread;
    record(&writer, 0, TOTAL);
    gn_writer_close(&writer);
    taping_end(&taping);
    check_segments_hold(&taping, thread, TOTAL - KEPT, TOTAL);
    taping_remove(&taping);
}

TEST(two_dumps_of_one_chunk_hold_no_event_twice)
{
    /* GIVEN a dump in the middle of a chunk */
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    uint32_t thread = writer.thread;
    record(&writer, 0, 3);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    /* WHEN the chunk fills and is dumped again */
    record(&writer, 3, FAT_PER_CHUNK + 3);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    gn_writer_close(&writer);
    taping_end(&taping);
    /* THEN each event is there once */
    check_segments_hold(&taping, thread, 0, FAT_PER_CHUNK + 3);
    taping_remove(&taping);
}

TEST(a_dump_that_fails_loses_nothing_of_what_the_ring_keeps)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    uint32_t thread = writer.thread;
    record(&writer, 0, TOTAL);
    limit_files(10000);
    CHECK(!gn_drain_flush(&taping.recording.drain, 10000, true));
    limit_files(RLIM_INFINITY);
    record(&writer, TOTAL, TOTAL + 3);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    check_segments_hold(&taping, thread, TOTAL - KEPT, TOTAL + 3);
    gn_writer_close(&writer);
    taping_end(&taping);
    taping_remove(&taping);
}
