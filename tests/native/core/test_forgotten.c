/* What a flight recorder forgets is counted: events recorded = events in the trace
 * and the ring + events forgotten, whatever was dumped in between. */
#include "check.h"
#include "fixture.h"
#include "values.h"

#include <pthread.h>
#include <stdlib.h>

#define CHUNKS 16u
#define KEPT_FULL (CHUNKS - GN_RESERVED_CHUNKS - 1) /* of a thread alone in the ring */
#define LAPS 100u
#define TOTAL (LAPS * FAT_PER_CHUNK)
#define KEPT ((KEPT_FULL + 1) * FAT_PER_CHUNK)

static void record(struct gn_writer *writer, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        CHECK_EQ(try_event(writer, i, FAT), GN_OK);
}

static uint64_t forgotten(const struct gn_ring *ring)
{
    return atomic_load(&ring->header->forgotten);
}

/* Events of all threads, each of them once. */
static size_t events_in(const struct trace *trace)
{
    size_t events = 0;
    for (size_t i = 0; i < trace->count; i++)
        events += trace->records[i].thread >= GN_STREAM_FIRST_THREAD &&
                  trace->records[i].site != STATE_SITE;
    return events;
}

TEST(nothing_is_forgotten_before_the_ring_is_full)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, KEPT);
    CHECK_EQ(forgotten(&bare.ring), 0);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(forgotten_are_all_events_that_the_ring_does_not_hold)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL);
    CHECK_EQ(forgotten(&bare.ring), TOTAL - KEPT);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(a_killed_recorders_ring_tells_what_it_forgot)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, TOTAL + 5);
    struct trace trace = {0};
    CHECK(trace_add_ring(&trace, bare.place.fd, "t.ring"));
    CHECK_EQ(events_in(&trace) + trace.ring_forgotten, TOTAL + 5);
    trace_free(&trace);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(a_stream_recording_forgets_nothing)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_DROP);
    struct gn_writer writer;
    enum gn_result refusal;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    (void)fill(&writer, 0, FAT, &refusal);
    CHECK_EQ(refusal, GN_LOST);
    CHECK_EQ(forgotten(&bare.ring), 0);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(the_events_of_a_thread_that_ended_are_counted_when_their_chunk_goes)
{
    /* GIVEN three events of a thread that is gone, the oldest of all */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer early, late;
    gn_writer_open(&early, &bare.ring, UINT32_MAX);
    record(&early, 0, 3);
    gn_writer_close(&early);
    gn_writer_open(&late, &bare.ring, UINT32_MAX);
    record(&late, 0, (KEPT_FULL) * FAT_PER_CHUNK);
    CHECK_EQ(forgotten(&bare.ring), 0);
    /* WHEN their chunk is the next to go */
    record(&late, KEPT_FULL * FAT_PER_CHUNK, KEPT_FULL * FAT_PER_CHUNK + 1);
    CHECK_EQ(forgotten(&bare.ring), 3);
    gn_writer_close(&late);
    bare_ring_remove(&bare);
}

static void put_state(struct gn_writer *writer, uint64_t span)
{
    CHECK(gn_writer_has_room(writer, 64));
    uint64_t tick = gn_clock_ticks();
    uint8_t *p = gn_record_begin(writer, GN_SYS_STATE, tick);
    p = gn_put_int(p, writer->end, (int64_t)span);
    gn_state_commit(writer, gn_put_ref(p, writer->end, GN_STRREF, 0), tick);
}

TEST(a_state_record_takes_no_number)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, 1);
    put_state(&writer, 7);
    record(&writer, 1, 2);
    struct trace trace = {0};
    CHECK(trace_add_ring(&trace, bare.place.fd, "t.ring"));
    CHECK_EQ(trace.count, 3);
    CHECK_EQ(trace.records[2].seq, 1);
    CHECK_EQ(number_of(&trace.records[2]), 1);
    trace_free(&trace);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

TEST(state_records_are_no_forgotten_events)
{
    /* GIVEN a state record before each event */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    record(&writer, 0, 1);
    for (uint64_t i = 1; i < TOTAL; i++) {
        if (gn_writer_has_room(&writer, 64))
            put_state(&writer, i);
        record(&writer, i, i + 1);
    }
    struct trace trace = {0};
    CHECK(trace_add_ring(&trace, bare.place.fd, "t.ring"));
    CHECK(events_in(&trace) < trace.count);
    CHECK_EQ(events_in(&trace) + forgotten(&bare.ring), TOTAL);
    trace_free(&trace);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}

/* Everything that the segments hold, and everything that was forgotten. */
static void check_accounts(const struct taping *taping, uint64_t lost, uint64_t recorded)
{
    struct trace trace;
    trace_read(&trace, taping->place.fd, "t");
    CHECK_EQ(events_in(&trace) + lost, recorded);
    trace_free(&trace);
}

TEST(what_a_dump_wrote_of_a_chunk_is_not_forgotten_with_it)
{
    /* GIVEN a dump in the middle of a chunk, with state records in it */
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_ring *ring = &taping.recording.ring;
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    record(&writer, 0, 2);
    put_state(&writer, 1);
    put_state(&writer, 2);
    record(&writer, 2, 5);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    /* WHEN the chunk is forgotten */
    record(&writer, 5, TOTAL);
    uint64_t lost = forgotten(ring);
    CHECK(lost > 0);
    /* THEN the dumped events are in the trace, and not in the count */
    gn_writer_close(&writer);
    taping_end(&taping);
    check_accounts(&taping, lost, TOTAL);
    taping_remove(&taping);
}

TEST(many_dumps_keep_the_account)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    uint32_t state = 1;
    uint64_t at = 0;
    while (at < 4 * TOTAL) {
        uint64_t next = at + dice(&state) % (KEPT * 2);
        record(&writer, at, next);
        at = next;
        CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
    }
    uint64_t lost = forgotten(&taping.recording.ring);
    CHECK(lost > 0);
    gn_writer_close(&writer);
    taping_end(&taping);
    check_accounts(&taping, lost, at);
    taping_remove(&taping);
}

TEST(a_dump_that_fails_counts_nothing_as_written)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    record(&writer, 0, 5);
    limit_files(100);
    CHECK(!gn_drain_flush(&taping.recording.drain, 10000, true));
    limit_files(RLIM_INFINITY);
    record(&writer, 5, TOTAL);
    uint64_t lost = forgotten(&taping.recording.ring);
    gn_writer_close(&writer);
    taping_end(&taping);
    check_accounts(&taping, lost, TOTAL);
    taping_remove(&taping);
}

#define THREADS 4u
#define EACH 3000u

static void *record_and_end(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, argument, UINT32_MAX);
    for (uint64_t i = 0; i < EACH; i++)
        CHECK_EQ(put_event(&writer, i, FAT), GN_OK);
    gn_writer_close(&writer);
    return NULL;
}

TEST(dumps_beside_threads_that_record_and_end_keep_the_account)
{
    /* WHEN threads come, record and go while another one dumps again and again */
    struct taping taping;
    taping_start(&taping, 4 * CHUNKS, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, record_and_end, &taping.recording.ring), 0);
    for (unsigned i = 0; i < 10; i++) {
        CHECK(gn_drain_flush(&taping.recording.drain, 10000, true));
        sleep_us(500);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    uint64_t lost = forgotten(&taping.recording.ring);
    taping_end(&taping);
    /* THEN every event is in the trace or in the count */
    check_accounts(&taping, lost, THREADS * EACH);
    taping_remove(&taping);
}
