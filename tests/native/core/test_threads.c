/* Many threads, a drain, and whoever else comes between; made for TSan. */
#include "check.h"
#include "fixture.h"

#include <stdlib.h>

#define SLOTS 16u /* threads at a time */
#define LIVES 10u /* threads one after the other in a slot */
#define PER_LIFE 10000u
#define PER_SLOT (LIVES * PER_LIFE)

static struct taping taping;
static struct gn_ring *ring;
static _Atomic uint64_t committed, lost;

/* The number of an event: its slot and its place in the slot's life. */
static uint64_t numbered(uint64_t slot, uint64_t i)
{
    return slot << 32 | i;
}

static void start(uint32_t chunks, enum gn_on_full on_full)
{
    taping_start(&taping, chunks, GN_MODE_STREAM, on_full);
    ring = &taping.recording.ring;
    atomic_store(&committed, 0);
    atomic_store(&lost, 0);
}

/* Runs one thread a slot, each with its number, and waits for them. */
static void run_slots(void *(*body)(void *), unsigned count)
{
    pthread_t threads[SLOTS];
    for (uintptr_t i = 0; i < count; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)i), 0);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* ---- threads that are born and die ---- */

struct life {
    uint64_t slot, life;
};

static void *live(void *argument)
{
    const struct life *life = argument;
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    for (uint64_t i = 0; i < PER_LIFE; i++) {
        uint64_t number = numbered(life->slot, life->life * PER_LIFE + i);
        CHECK_EQ(put_event(&writer, number, i % 1000 == 999 ? FAT : 0), GN_OK);
        atomic_fetch_add_explicit(&committed, 1, memory_order_relaxed);
    }
    gn_writer_close(&writer);
    return NULL;
}

static void *slot_of_lives(void *argument)
{
    for (uint64_t i = 0; i < LIVES; i++) {
        struct life life = {(uintptr_t)argument, i};
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, live, &life), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    return NULL;
}

static _Atomic bool flushing;

static void *flush_now_and_then(void *argument)
{
    uint32_t state = (uint32_t)(uintptr_t)argument;
    while (atomic_load(&flushing)) {
        CHECK(gn_drain_flush(&taping.recording.drain, 30000, false));
        sleep_us(dice(&state) % 5000);
    }
    return NULL;
}

/* Each thread's numbers are one life in order, and no life is missing. */
static void check_lives(const struct trace *trace)
{
    static bool lived[SLOTS][LIVES];
    static uint64_t begins[GN_STREAM_FIRST_THREAD + SLOTS * LIVES];
    for (size_t i = 0; i < trace->count; i++) {
        const struct record *record = &trace->records[i];
        CHECK(record->thread < GN_STREAM_FIRST_THREAD + SLOTS * LIVES);
        uint64_t number = number_of(record);
        if (record->seq == 0) {
            uint64_t slot = number >> 32, life = (uint32_t)number / PER_LIFE;
            CHECK_EQ((uint32_t)number % PER_LIFE, 0);
            CHECK(!lived[slot][life]);
            lived[slot][life] = true;
            begins[record->thread] = number;
        }
        CHECK_EQ(number, begins[record->thread] + record->seq);
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        for (unsigned life = 0; life < LIVES; life++)
            CHECK(lived[slot][life]);
}

TEST(sixteen_threads_at_a_time_lose_nothing_while_two_others_flush)
{
    start(16, GN_ON_FULL_WAIT);
    atomic_store(&flushing, true);
    pthread_t flushers[2];
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&flushers[i], NULL, flush_now_and_then, (void *)(i + 1)), 0);
    run_slots(slot_of_lives, SLOTS);
    atomic_store(&flushing, false);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(flushers[i], NULL), 0);
    CHECK_EQ(ring->records_closed, SLOTS * PER_SLOT);
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, SLOTS * PER_SLOT);
    CHECK_EQ(trace.gaps, 0);
    CHECK_EQ(trace.torn, 0);
    CHECK_EQ(trace.dropped, 0);
    check_lives(&trace);
    trace_free(&trace);
    taping_remove(&taping);
}

/* ---- flushes that must keep their word while all goes on ---- */

static void *record_while_flushing(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    for (uint64_t i = 0; atomic_load(&flushing); i++) {
        CHECK_EQ(put_event(&writer, numbered((uintptr_t)argument, i), 0), GN_OK);
        atomic_fetch_add(&committed, 1);
        if (i % 16 == 0) /* slowly: the segment is read again after each flush */
            sleep_us(1000);
    }
    gn_writer_close(&writer);
    return NULL;
}

static void *flush_and_look(void *unused)
{
    for (int i = 0; i < 10; i++) {
        uint64_t before = atomic_load(&committed);
        CHECK(gn_drain_flush(&taping.recording.drain, 30000, false));
        struct trace trace;
        trace_read(&trace, taping.place.fd, "t");
        CHECK(trace.count >= before);
        trace_free(&trace);
    }
    return unused;
}

TEST(two_threads_that_flush_both_find_what_was_committed_before)
{
    start(16, GN_ON_FULL_WAIT);
    atomic_store(&flushing, true);
    pthread_t recorders[2];
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&recorders[i], NULL, record_while_flushing, (void *)i), 0);
    run_slots(flush_and_look, 2);
    atomic_store(&flushing, false);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(recorders[i], NULL), 0);
    taping_end(&taping);
    taping_remove(&taping);
}

static void *record_and_flush(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    for (uint64_t i = 0; i < 500; i++) {
        CHECK_EQ(put_event(&writer, numbered((uintptr_t)argument, i), 0), GN_OK);
        CHECK(gn_drain_flush(&taping.recording.drain, 30000, false));
        CHECK_EQ(atomic_load(&writer.head->offset), atomic_load(&writer.head->committed));
    }
    gn_writer_close(&writer);
    return NULL;
}

TEST(a_flush_that_is_asked_for_during_a_pass_waits_for_the_next)
{
    /* Of four threads that flush all the time, most ask while a pass is running
     * that had looked at their chunk before their last event. */
    start(16, GN_ON_FULL_WAIT);
    run_slots(record_and_flush, 4);
    taping_end(&taping);
    taping_remove(&taping);
}

/* ---- dropping ---- */

static void *record_and_drop(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    for (uint64_t i = 0; i < 2000; i++) {
        enum gn_result result = put_event(&writer, numbered((uintptr_t)argument, i), FAT);
        CHECK(result == GN_OK || result == GN_LOST);
        atomic_fetch_add(result == GN_OK ? &committed : &lost, 1);
    }
    gn_writer_close(&writer);
    return NULL;
}

TEST(every_event_is_either_in_the_trace_or_counted_as_lost)
{
    /* GIVEN 16 threads that fill the ring faster than the drain empties it */
    start(64, GN_ON_FULL_DROP);
    run_slots(record_and_drop, SLOTS);
    CHECK_EQ(atomic_load(&committed) + atomic_load(&lost), SLOTS * 2000);
    CHECK(atomic_load(&lost) > 0);
    CHECK_EQ(ring->header->dropped, atomic_load(&lost));
    uint64_t lost_at_exit = ring->lost_at_exit;
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, atomic_load(&committed));
    CHECK_EQ(trace.dropped + lost_at_exit, atomic_load(&lost));
    CHECK_EQ(trace.gaps, 0);
    trace_free(&trace);
    taping_remove(&taping);
}

/* ---- a stop while threads wait ---- */

static void *record_until_closed(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, ring, UINT32_MAX);
    for (uint64_t i = 0;; i++) {
        enum gn_result result = put_event(&writer, numbered((uintptr_t)argument, i), FAT);
        if (result == GN_CLOSED)
            break;
        CHECK_EQ(result, GN_OK);
        atomic_fetch_add(&committed, 1);
    }
    gn_writer_close(&writer);
    return NULL;
}

static void *close_while_they_wait(void *unused)
{
    for (bool waiting = false; !waiting;) {
        CHECK_EQ(pthread_mutex_lock(&ring->lock), 0);
        waiting = ring->waiting > 0;
        CHECK_EQ(pthread_mutex_unlock(&ring->lock), 0);
    }
    gn_recording_close(&taping.recording);
    return unused;
}

TEST(a_stop_while_threads_wait_for_room_keeps_all_that_was_committed)
{
    for (int round = 0; round < 10; round++) {
        start(40, GN_ON_FULL_WAIT);
        pthread_t closer;
        CHECK_EQ(pthread_create(&closer, NULL, close_while_they_wait, NULL), 0);
        run_slots(record_until_closed, 8);
        CHECK_EQ(pthread_join(closer, NULL), 0);
        CHECK_EQ(gn_recording_stop(&taping.recording), 0);
        struct trace trace;
        trace_read(&trace, taping.place.fd, "t");
        CHECK_EQ(trace.count, atomic_load(&committed));
        CHECK_EQ(trace.gaps, 0);
        CHECK_EQ(trace.dropped, 0);
        trace_free(&trace);
        taping_remove(&taping);
    }
}

/* ---- a drain of the test's own, slow at random ---- */

#define SLOW_EVENTS 5000u
static struct bare_ring bare;
static _Atomic bool recording;

static void *record_into_slow_ring(void *argument)
{
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    for (uint64_t i = 0; i < SLOW_EVENTS; i++)
        CHECK_EQ(put_event(&writer, numbered((uintptr_t)argument, i), 500), GN_OK);
    gn_writer_close(&writer);
    return NULL;
}

/* Reads chunk after chunk, sleeping on some of them; the events of each thread
 * must come in order. */
static void *drain_slowly(void *unused)
{
    uint64_t next_seq[GN_STREAM_FIRST_THREAD + SLOTS] = {0};
    uint32_t state = 1;
    for (;;) {
        bool last = !atomic_load(&recording);
        CHECK_EQ(pthread_mutex_lock(&bare.ring.lock), 0);
        struct gn_chunk *chunk = gn_ring_take_full(&bare.ring, true, true);
        CHECK_EQ(pthread_mutex_unlock(&bare.ring.lock), 0);
        if (chunk == NULL && last)
            return unused;
        if (chunk == NULL) {
            sleep_us(200);
            continue;
        }
        const uint8_t *p = gn_chunk_data(chunk->head);
        const uint8_t *end = p + atomic_load(&chunk->head->committed);
        CHECK_EQ(chunk->head->first_seq, next_seq[chunk->head->thread]);
        for (; p < end; p += p[8] | p[9] << 8) {
            struct record record = {.values = p + (memcmp(p, "\xff\xff\xff\xff", 4) == 0 ? 18 : 10)};
            CHECK_EQ((uint32_t)number_of(&record), next_seq[chunk->head->thread]++);
            atomic_fetch_add_explicit(&committed, 1, memory_order_relaxed);
        }
        if (dice(&state) % 4 == 0)
            sleep_us(dice(&state) % 1000);
        CHECK_EQ(pthread_mutex_lock(&bare.ring.lock), 0);
        gn_ring_give_back(&bare.ring, chunk);
        CHECK_EQ(pthread_cond_broadcast(&bare.ring.space), 0);
        CHECK_EQ(pthread_mutex_unlock(&bare.ring.lock), 0);
    }
}

TEST(threads_that_wait_for_a_slow_drain_lose_nothing)
{
    bare_ring_make(&bare, 64, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    atomic_store(&committed, 0);
    atomic_store(&recording, true);
    pthread_t drain;
    CHECK_EQ(pthread_create(&drain, NULL, drain_slowly, NULL), 0);
    run_slots(record_into_slow_ring, SLOTS);
    atomic_store(&recording, false);
    CHECK_EQ(pthread_join(drain, NULL), 0);
    CHECK_EQ(atomic_load(&committed), SLOTS * SLOW_EVENTS);
    bare_ring_remove(&bare);
}
