/* The drain on a disk that works: what a flush promises, and in which order. */
#include "check.h"
#include "fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNKS 16u

/* A recording with one thread. */
struct bench {
    struct taping taping;
    struct gn_writer writer;
    struct gn_ring *ring;
    struct gn_drain *drain;
    struct trace trace;
};

static void begin(struct bench *bench)
{
    taping_start(&bench->taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    bench->ring = &bench->taping.recording.ring;
    bench->drain = &bench->taping.recording.drain;
    gn_writer_open(&bench->writer, bench->ring, UINT32_MAX);
    memset(&bench->trace, 0, sizeof bench->trace);
}

static void flush(struct bench *bench)
{
    CHECK(gn_drain_flush(bench->drain, 10000, false));
}

/* What is in the segments at this moment. */
static void look(struct bench *bench)
{
    trace_free(&bench->trace);
    trace_read(&bench->trace, bench->taping.place.fd, "t");
}

static void end(struct bench *bench)
{
    trace_free(&bench->trace);
    gn_writer_close(&bench->writer);
    taping_end(&bench->taping);
    taping_remove(&bench->taping);
}

TEST(what_was_committed_before_a_flush_is_in_the_segment_after_it)
{
    struct bench bench;
    begin(&bench);
    uint64_t total = 0;
    uint32_t state = 1;
    for (int round = 0; round < 50; round++) {
        for (uint32_t more = dice(&state) % 400; more > 0; more--)
            CHECK_EQ(put_event(&bench.writer, total++, 200), GN_OK);
        flush(&bench);
        look(&bench);
        CHECK_EQ(bench.trace.count, total);
    }
    end(&bench);
}

TEST(what_was_committed_and_closed_before_a_flush_is_in_the_segment_after_it)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < 50; i++) {
        struct gn_writer writer;
        gn_writer_open(&writer, bench.ring, UINT32_MAX);
        CHECK_EQ(put_event(&writer, i, 0), GN_OK);
        gn_writer_close(&writer);
        flush(&bench);
        look(&bench);
        CHECK_EQ(bench.trace.count, i + 1);
    }
    end(&bench);
}

TEST(a_flush_of_nothing_new_writes_nothing)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(put_event(&bench.writer, 1, 0), GN_OK);
    flush(&bench);
    for (int i = 0; i < 10; i++)
        flush(&bench);
    look(&bench);
    CHECK_EQ(bench.trace.fragments, 1);
    end(&bench);
}

TEST(fragments_of_one_chunk_join_end_to_end)
{
    /* GIVEN a chunk that is written in 20 pieces; the reading checks the joints */
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < 20; i++) {
        CHECK_EQ(put_event(&bench.writer, i, 0), GN_OK);
        flush(&bench);
    }
    look(&bench);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->fragments, 20);
    CHECK_EQ(trace_chunk(&bench.trace, 1)->end, 20 * EVENT_SIZE);
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQ(number_of(&bench.trace.records[i]), i);
    end(&bench);
}

static uint64_t passes(struct bench *bench)
{
    CHECK_EQ(pthread_mutex_lock(&bench->ring->lock), 0);
    uint64_t count = bench->drain->stats.passes;
    CHECK_EQ(pthread_mutex_unlock(&bench->ring->lock), 0);
    return count;
}

static uint64_t ns_until_next_pass(struct bench *bench)
{
    uint64_t before = passes(bench), start_ns = gn_clock_monotonic_ns();
    while (passes(bench) == before)
        sleep_us(200);
    return gn_clock_monotonic_ns() - start_ns;
}

TEST(a_ring_that_fills_wakes_the_drain_before_its_time)
{
    /* GIVEN a drain that has just looked, and will not for another 200 ms */
    struct bench bench;
    begin(&bench);
    sleep_us(500000);
    (void)ns_until_next_pass(&bench);
    /* WHEN a quarter of the ring fills */
    for (uint64_t i = 0; i <= CHUNKS / 4 * FAT_PER_CHUNK; i++)
        CHECK_EQ(put_event(&bench.writer, i, FAT), GN_OK);
    /* THEN it comes */
    CHECK(ns_until_next_pass(&bench) < 150000000u);
    end(&bench);
}

TEST(chunks_that_were_written_are_free_again)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < 5 * FAT_PER_CHUNK; i++)
        CHECK_EQ(put_event(&bench.writer, i, FAT), GN_OK);
    flush(&bench);
    CHECK_EQ(bench.ring->full_count, 0);
    CHECK_EQ(bench.ring->free_count, CHUNKS - 1);
    end(&bench);
}

TEST(the_ring_and_the_segment_together_hold_each_event_once)
{
    /* GIVEN events in the segment, in both, and in the ring only */
    struct bench bench;
    begin(&bench);
    uint64_t total = 0;
    while (total < 5 * FAT_PER_CHUNK + 3)
        CHECK_EQ(put_event(&bench.writer, total++, FAT), GN_OK);
    flush(&bench);
    while (total < 5 * FAT_PER_CHUNK + 7)
        CHECK_EQ(put_event(&bench.writer, total++, FAT), GN_OK);
    /* WHEN both are read, while the recording goes on */
    look(&bench);
    CHECK(trace_add_ring(&bench.trace, bench.taping.place.fd, "t.ring"));
    /* THEN each is there once */
    CHECK_EQ(bench.trace.count, total);
    CHECK_EQ(bench.trace.gaps, 0);
    end(&bench);
}

TEST(one_pass_takes_more_fragments_than_one_write)
{
    /* GIVEN 300 threads with an event each, among them full chunks */
    struct bench bench;
    begin(&bench);
    static struct gn_writer writers[300];
    for (uint64_t i = 0; i < 300; i++) {
        gn_writer_open(&writers[i], bench.ring, UINT32_MAX);
        CHECK_EQ(put_event(&writers[i], i, 0), GN_OK);
        if (i % 3 == 0)
            CHECK_EQ(gn_writer_refill(&writers[i]), GN_OK);
    }
    CHECK_EQ(put_stream(&bench.taping.recording, GN_STREAM_DEFINITIONS, 1), GN_OK);
    /* WHEN they are flushed at once */
    flush(&bench);
    /* THEN each is there */
    look(&bench);
    CHECK_EQ(bench.trace.count, 301);
    for (int i = 0; i < 300; i++)
        gn_writer_close(&writers[i]);
    end(&bench);
}

TEST(the_ring_knows_a_second_clock_point_soon)
{
    struct bench bench;
    begin(&bench);
    sleep_us(60000);
    flush(&bench);
    const struct gn_ring_header *header = bench.ring->header;
    CHECK(header->first_clock.monotonic_ns + 20000000 <= header->last_clock.monotonic_ns);
    CHECK(header->first_clock.tick < header->last_clock.tick);
    end(&bench);
}

TEST(bytes_written_are_counted)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t i = 0; i < 3 * FAT_PER_CHUNK; i++)
        CHECK_EQ(put_event(&bench.writer, i, FAT), GN_OK);
    gn_writer_close(&bench.writer);
    taping_end(&bench.taping);
    CHECK_EQ(bench.drain->stats.bytes_written, place_size(&bench.taping.place, "t.000.seg"));
    taping_remove(&bench.taping);
}

TEST(signals_of_the_program_are_left_to_its_own_threads)
{
    /* GIVEN a signal that would kill, blocked in the only other thread */
    struct bench bench;
    begin(&bench);
    sigset_t signals, before;
    CHECK_EQ(sigemptyset(&signals), 0);
    CHECK_EQ(sigaddset(&signals, SIGUSR1), 0);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &signals, &before), 0);
    /* WHEN it is sent to the process */
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    flush(&bench);
    /* THEN it waits for that thread */
    CHECK_EQ(sigtimedwait(&signals, NULL, &(struct timespec){1, 0}), SIGUSR1);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    end(&bench);
}

TEST(the_thread_that_starts_a_recording_keeps_its_signals)
{
    sigset_t before, after;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    struct bench bench;
    begin(&bench);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int signal = 1; signal < 32; signal++)
        CHECK_EQ(sigismember(&after, signal), sigismember(&before, signal));
    end(&bench);
}

TEST(a_definition_precedes_each_annotation_that_was_committed_after_it)
{
    /* GIVEN a name and an annotation that uses it, again and again, in chunks
     * that are full and in chunks that are not */
    struct bench bench;
    begin(&bench);
    const uint64_t names = 3 * PER_CHUNK(EVENT_SIZE) / 2;
    for (uint64_t i = 0; i < names; i++) {
        CHECK_EQ(put_stream(&bench.taping.recording, GN_STREAM_DEFINITIONS, i), GN_OK);
        CHECK_EQ(put_stream(&bench.taping.recording, GN_STREAM_ANNOTATIONS, i), GN_OK);
    }
    flush(&bench);
    /* THEN the names used up to any place of the segment are known there */
    look(&bench);
    CHECK_EQ(bench.trace.count, 2 * names);
    uint64_t known = 0;
    for (size_t i = 0; i < bench.trace.count; i++) {
        if (bench.trace.records[i].thread == GN_STREAM_DEFINITIONS)
            known++;
        else
            CHECK(number_of(&bench.trace.records[i]) < known);
    }
    end(&bench);
}

/* Threads that define a name, then use it, each name once. */
static _Atomic uint64_t next_name;
static _Atomic int naming;

static void *use_names(void *argument)
{
    struct bench *bench = argument;
    struct gn_writer writer;
    gn_writer_open(&writer, bench->ring, UINT32_MAX);
    for (int i = 0; i < 4000; i++) {
        uint64_t name = atomic_fetch_add(&next_name, 1);
        CHECK_EQ(put_stream(&bench->taping.recording, GN_STREAM_DEFINITIONS, name), GN_OK);
        CHECK_EQ(put_event(&writer, name, i % 64 == 0 ? FAT : 0), GN_OK);
    }
    gn_writer_close(&writer);
    atomic_fetch_sub(&naming, 1);
    return NULL;
}

TEST(a_definition_precedes_each_event_that_was_committed_after_it)
{
    /* GIVEN three threads that define and use names while the drain is kept busy */
    struct bench bench;
    begin(&bench);
    pthread_t threads[3];
    atomic_store(&next_name, 0);
    atomic_store(&naming, 3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, use_names, &bench), 0);
    while (atomic_load(&naming) > 0)
        flush(&bench);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    flush(&bench);
    /* WHEN the segment is read from its beginning */
    look(&bench);
    /* THEN no event names what was not defined before it */
    CHECK_EQ(bench.trace.count, 2 * 3 * 4000);
    bool *defined = calloc(3 * 4000, sizeof *defined);
    CHECK(defined != NULL);
    for (size_t i = 0; i < bench.trace.count; i++) {
        const struct record *record = &bench.trace.records[i];
        if (record->thread == GN_STREAM_DEFINITIONS)
            defined[number_of(record)] = true;
        else
            CHECK(defined[number_of(record)]);
    }
    free(defined);
    end(&bench);
}

TEST(the_longer_nothing_happens_the_longer_the_drain_sleeps)
{
    /* GIVEN a drain that has just found something */
    unsigned quiet = 7;
    CHECK_EQ(gn_drain_pause_ms(&quiet, 1), 10);
    /* WHEN it finds nothing any more */
    static const unsigned pauses[] = {20, 40, 80, 160, 200, 200};
    unsigned waited = 0, passes = 6;
    for (size_t i = 0; i < 6; i++)
        CHECK_EQ(gn_drain_pause_ms(&quiet, 0), pauses[i]);
    /* THEN after some seconds it is woken once a second */
    for (unsigned pause; (pause = gn_drain_pause_ms(&quiet, 0)) != 1000; passes++)
        waited += pause;
    CHECK(waited >= 4000 && passes < 40);
    CHECK_EQ(gn_drain_pause_ms(&quiet, 0), 1000);
    /* and what it then finds makes it busy again */
    CHECK_EQ(gn_drain_pause_ms(&quiet, 2), 10);
    CHECK_EQ(gn_drain_pause_ms(&quiet, 0), 20);
}

TEST(a_failed_write_is_tried_again_twice_a_second)
{
    unsigned quiet = 100;
    CHECK_EQ(gn_drain_pause_ms(&quiet, -1), 500);
    CHECK_EQ(gn_drain_pause_ms(&quiet, -1), 500);
}
