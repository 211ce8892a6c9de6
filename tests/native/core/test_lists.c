/* The queue of full chunks and the stack of free ones. */
#include "check.h"
#include "fixture.h"

/* A ring of 8 chunks with one thread and one stream. */
struct bench {
    struct bare_ring bare;
    struct gn_writer thread, stream;
};

static void begin(struct bench *bench)
{
    bare_ring_make(&bench->bare, 8, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    gn_writer_open(&bench->stream, &bench->bare.ring, GN_STREAM_DEFINITIONS);
    gn_writer_open(&bench->thread, &bench->bare.ring, UINT32_MAX);
    CHECK_EQ(gn_writer_refill(&bench->stream), GN_OK); /* serial 1 */
    CHECK_EQ(gn_writer_refill(&bench->thread), GN_OK); /* serial 2 */
}

static void end(struct bench *bench)
{
    gn_writer_close(&bench->stream);
    gn_writer_close(&bench->thread);
    bare_ring_remove(&bench->bare);
}

static void check_takes(struct gn_ring *ring, bool events, bool streams, uint64_t serial)
{
    struct gn_chunk *chunk = gn_ring_take_full(ring, events, streams);
    CHECK(chunk != NULL);
    CHECK_EQ(chunk->head->serial, serial);
    gn_ring_give_back(ring, chunk);
}

TEST(the_chunk_that_filled_first_is_taken_first)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    check_takes(&bench.bare.ring, true, true, 2);
    check_takes(&bench.bare.ring, true, true, 3);
    CHECK(gn_ring_take_full(&bench.bare.ring, true, true) == NULL);
    CHECK_EQ(bench.bare.ring.full_count, 0);
    end(&bench);
}

TEST(chunks_of_streams_are_passed_over_when_events_are_asked_for)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.stream), GN_OK);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    check_takes(&bench.bare.ring, true, false, 2);
    CHECK(gn_ring_take_full(&bench.bare.ring, true, false) == NULL);
    check_takes(&bench.bare.ring, false, true, 1);
    end(&bench);
}

TEST(chunks_of_events_are_passed_over_when_streams_are_asked_for)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    CHECK_EQ(gn_writer_refill(&bench.stream), GN_OK);
    check_takes(&bench.bare.ring, false, true, 1);
    CHECK(gn_ring_take_full(&bench.bare.ring, false, true) == NULL);
    check_takes(&bench.bare.ring, true, false, 2);
    end(&bench);
}

TEST(a_pinned_chunk_stays_in_the_queue)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    bench.bare.ring.full_head->pinned = true;
    check_takes(&bench.bare.ring, true, true, 3);
    CHECK(gn_ring_take_full(&bench.bare.ring, true, true) == NULL);
    bench.bare.ring.full_head->pinned = false;
    check_takes(&bench.bare.ring, true, true, 2);
    end(&bench);
}

TEST(the_queue_goes_on_when_its_last_chunk_was_taken_from_behind_another)
{
    /* GIVEN a queue of a thread's chunk and a stream's, and the stream's taken */
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    CHECK_EQ(gn_writer_refill(&bench.stream), GN_OK);
    check_takes(&bench.bare.ring, false, true, 1);
    /* WHEN another chunk fills */
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    /* THEN it is behind the first one */
    check_takes(&bench.bare.ring, true, true, 2);
    check_takes(&bench.bare.ring, true, true, 3);
    end(&bench);
}

TEST(chunks_that_could_not_be_written_lead_the_queue_again)
{
    struct bench bench;
    begin(&bench);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    struct gn_chunk *second = gn_ring_take_full(&bench.bare.ring, true, true);
    struct gn_chunk *third = gn_ring_take_full(&bench.bare.ring, true, true);
    gn_ring_untake_full(&bench.bare.ring, third);
    gn_ring_untake_full(&bench.bare.ring, second);
    CHECK_EQ(bench.bare.ring.full_count, 3);
    for (uint64_t serial = 2; serial <= 4; serial++)
        check_takes(&bench.bare.ring, true, true, serial);
    end(&bench);
}

TEST(a_chunk_put_back_into_an_empty_queue_is_followed_by_the_next)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    gn_ring_untake_full(&bench.bare.ring, gn_ring_take_full(&bench.bare.ring, true, true));
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    check_takes(&bench.bare.ring, true, true, 2);
    check_takes(&bench.bare.ring, true, true, 3);
    end(&bench);
}

TEST(the_chunk_that_came_free_last_is_used_first)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    struct gn_chunk *chunk = gn_ring_take_full(&bench.bare.ring, true, true);
    gn_ring_give_back(&bench.bare.ring, chunk);
    CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
    CHECK(bench.thread.chunk == chunk);
    end(&bench);
}

TEST(a_chunk_gets_a_new_serial_each_time_it_is_used)
{
    struct bench bench;
    begin(&bench);
    for (uint64_t serial = 3; serial < 50; serial++) {
        CHECK_EQ(gn_writer_refill(&bench.thread), GN_OK);
        CHECK_EQ(bench.thread.head->serial, serial);
        gn_ring_give_back(&bench.bare.ring, gn_ring_take_full(&bench.bare.ring, true, true));
    }
    end(&bench);
}

TEST(a_writer_that_closes_hands_over_the_chunk_it_was_filling)
{
    struct bench bench;
    begin(&bench);
    CHECK_EQ(try_event(&bench.thread, 1, 0), GN_OK);
    gn_writer_close(&bench.thread);
    CHECK_EQ(bench.bare.ring.full_count, 1);
    CHECK_EQ(bench.bare.ring.records_closed, 1);
    CHECK_EQ(bench.bare.ring.writer_count, 1);
    gn_writer_close(&bench.stream);
    bare_ring_remove(&bench.bare);
}

TEST(a_writer_in_the_middle_can_leave)
{
    /* GIVEN three writers more */
    struct bench bench;
    begin(&bench);
    struct gn_writer more[3];
    for (int i = 0; i < 3; i++)
        gn_writer_open(&more[i], &bench.bare.ring, UINT32_MAX);
    /* WHEN the middle one closes */
    gn_writer_close(&more[1]);
    /* THEN the ring knows the other four, in both directions */
    struct gn_writer *const left[] = {&more[2], &more[0], &bench.thread, &bench.stream};
    const struct gn_writer *writer = bench.bare.ring.writers, *previous = NULL;
    for (int i = 0; i < 4; i++) {
        CHECK(writer == left[i]);
        CHECK(writer->previous == previous);
        previous = writer;
        writer = writer->next;
    }
    CHECK(writer == NULL);
    gn_writer_close(&more[0]);
    gn_writer_close(&more[2]);
    end(&bench);
}

TEST(thread_numbers_are_never_used_again)
{
    struct bench bench;
    begin(&bench);
    for (uint32_t number = GN_STREAM_FIRST_THREAD + 1; number < 20; number++) {
        struct gn_writer writer;
        gn_writer_open(&writer, &bench.bare.ring, UINT32_MAX);
        CHECK_EQ(writer.thread, number);
        gn_writer_close(&writer);
    }
    end(&bench);
}
