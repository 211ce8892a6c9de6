/* A ring that nobody drains: waiting, dropping, growing, closing. */
#include "check.h"
#include "fixture.h"

#define CHUNKS 8u
#define USABLE (CHUNKS - GN_RESERVED_CHUNKS) /* by threads */

/* As the drain does with what it has written. */
static void free_one_chunk(struct gn_ring *ring)
{
    CHECK_EQ(pthread_mutex_lock(&ring->lock), 0);
    struct gn_chunk *chunk = gn_ring_take_full(ring, true, true);
    CHECK(chunk != NULL);
    gn_ring_give_back(ring, chunk);
    CHECK_EQ(pthread_cond_broadcast(&ring->space), 0);
    CHECK_EQ(pthread_mutex_unlock(&ring->lock), 0);
}

/* A ring of 8 chunks whose one thread has filled all it may have. */
struct full_ring {
    struct bare_ring bare;
    struct gn_writer writer;
    uint64_t written;
    enum gn_result refusal;
};

static void make_full(struct full_ring *full, enum gn_on_full on_full)
{
    bare_ring_make(&full->bare, CHUNKS, GN_MODE_STREAM, on_full);
    gn_writer_open(&full->writer, &full->bare.ring, UINT32_MAX);
    full->written = fill(&full->writer, 0, FAT, &full->refusal);
}

static void remove_full(struct full_ring *full)
{
    gn_writer_close(&full->writer);
    bare_ring_remove(&full->bare);
}

TEST(threads_get_all_chunks_but_the_reserved_ones)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    CHECK_EQ(full.written, USABLE * FAT_PER_CHUNK);
    CHECK_EQ(full.bare.ring.free_count, GN_RESERVED_CHUNKS);
    CHECK_EQ(full.bare.ring.full_count, USABLE - 1);
    remove_full(&full);
}

TEST(a_writer_that_may_wait_is_told_that_the_ring_is_full)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    CHECK_EQ(full.refusal, GN_FULL);
    remove_full(&full);
}

TEST(a_refusal_changes_nothing_in_the_writer)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    struct gn_writer before = full.writer;
    CHECK_EQ(gn_writer_refill(&full.writer), GN_FULL);
    CHECK_EQ(memcmp(&before, &full.writer, sizeof before), 0);
    remove_full(&full);
}

TEST(a_writer_that_may_not_wait_is_told_that_the_event_is_lost)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_DROP);
    CHECK_EQ(full.refusal, GN_LOST);
    remove_full(&full);
}

TEST(the_next_chunk_says_how_many_events_were_lost_before_it)
{
    /* GIVEN 25 events lost */
    struct full_ring full;
    make_full(&full, GN_ON_FULL_DROP);
    for (uint64_t i = 0; i < 25; i++)
        CHECK_EQ(put_event(&full.writer, full.written, FAT), GN_LOST);
    /* WHEN there is room again */
    free_one_chunk(&full.bare.ring);
    CHECK_EQ(put_event(&full.writer, full.written, FAT), GN_OK);
    /* THEN the chunk that begins says 25, and its numbers go on without a gap */
    CHECK_EQ(full.writer.head->dropped, 25);
    CHECK_EQ(full.writer.head->first_seq, full.written);
    CHECK_EQ(full.bare.ring.header->dropped, 25);
    remove_full(&full);
}

TEST(a_loss_is_told_once)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_DROP);
    CHECK_EQ(put_event(&full.writer, 0, FAT), GN_LOST);
    free_one_chunk(&full.bare.ring);
    free_one_chunk(&full.bare.ring);
    CHECK_EQ(gn_writer_refill(&full.writer), GN_OK);
    CHECK_EQ(full.writer.head->dropped, 1);
    CHECK_EQ(gn_writer_refill(&full.writer), GN_OK);
    CHECK_EQ(full.writer.head->dropped, 0);
    remove_full(&full);
}

TEST(losses_that_no_chunk_can_tell_of_are_summed_up_in_the_ring)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_DROP);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(put_event(&full.writer, 0, FAT), GN_LOST);
    gn_writer_close(&full.writer);
    CHECK_EQ(full.bare.ring.lost_at_exit, 3);
    CHECK_EQ(full.bare.ring.header->dropped, 3);
    bare_ring_remove(&full.bare);
}

TEST(the_streams_get_a_chunk_each_when_threads_have_all_others)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    struct gn_writer definitions, annotations;
    gn_writer_open(&definitions, &full.bare.ring, GN_STREAM_DEFINITIONS);
    gn_writer_open(&annotations, &full.bare.ring, GN_STREAM_ANNOTATIONS);
    /* The ring may not grow for them here: it has what it has. */
    limit_files(0);
    CHECK_EQ(gn_writer_refill(&definitions), GN_OK);
    CHECK_EQ(gn_writer_refill(&annotations), GN_OK);
    CHECK_EQ(gn_writer_refill(&definitions), GN_FULL);
    limit_files(RLIM_INFINITY);
    gn_writer_close(&definitions);
    gn_writer_close(&annotations);
    remove_full(&full);
}

TEST(a_stalled_ring_loses_events_instead_of_waiting)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    full.bare.ring.stalled = true;
    CHECK(gn_ring_wait_space(&full.bare.ring, 60000));
    CHECK_EQ(gn_writer_refill(&full.writer), GN_LOST);
    remove_full(&full);
}

TEST(the_ring_grows_so_that_200_writers_have_a_chunk_each)
{
    /* GIVEN 200 writers in a ring of 8 chunks that nobody drains */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    static struct gn_writer writers[200];
    for (int i = 0; i < 200; i++)
        gn_writer_open(&writers[i], &bare.ring, UINT32_MAX);
    /* WHEN each of them records */
    for (uint64_t i = 0; i < 200; i++)
        CHECK_EQ(try_event(&writers[i], i, 0), GN_OK);
    /* THEN the ring has the next power of two above 4 chunks a writer, the file
     * is as long, and a reader finds all events */
    CHECK_EQ(bare.ring.chunk_count, 1024);
    CHECK_EQ(bare.ring.header->chunks, 1024);
    CHECK_EQ(bare.ring.free_count, 1024 - 200);
    CHECK_EQ(place_size(&bare.place, "t.ring"), GN_PAGE + 1024 * GN_CHUNK_SIZE);
    struct trace trace = {0};
    CHECK(trace_add_ring(&trace, bare.place.fd, "t.ring"));
    CHECK_EQ(trace.count, 200);
    trace_free(&trace);
    for (int i = 0; i < 200; i++)
        gn_writer_close(&writers[i]);
    bare_ring_remove(&bare);
}

TEST(a_ring_that_cannot_grow_goes_on_with_what_it_has)
{
    /* GIVEN 8 writers, for whom 8 chunks are too few, and a disk that is full */
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    struct gn_writer writers[8];
    for (int i = 0; i < 8; i++)
        gn_writer_open(&writers[i], &bare.ring, UINT32_MAX);
    limit_files(GN_PAGE + CHUNKS * GN_CHUNK_SIZE);
    /* WHEN they all want a chunk */
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(gn_writer_refill(&writers[i]), i < USABLE ? GN_OK : GN_FULL);
    limit_files(RLIM_INFINITY);
    /* THEN those who came first have one, and the rest when the disk has room */
    CHECK_EQ(bare.ring.chunk_count, CHUNKS);
    CHECK_EQ(gn_writer_refill(&writers[7]), GN_OK);
    CHECK_EQ(bare.ring.chunk_count, 2 * CHUNKS);
    for (int i = 0; i < 8; i++)
        gn_writer_close(&writers[i]);
    bare_ring_remove(&bare);
}

static bool waited;

static void *wait_a_minute(void *ring)
{
    waited = gn_ring_wait_space(ring, 60000);
    return NULL;
}

static void until_waiting(struct gn_ring *ring, uint32_t count)
{
    for (;;) {
        CHECK_EQ(pthread_mutex_lock(&ring->lock), 0);
        uint32_t waiting = ring->waiting;
        CHECK_EQ(pthread_mutex_unlock(&ring->lock), 0);
        if (waiting == count)
            return;
        sleep_us(500);
    }
}

TEST(a_waiting_thread_comes_back_when_a_chunk_is_free)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    pthread_t thread;
    waited = false;
    CHECK_EQ(pthread_create(&thread, NULL, wait_a_minute, &full.bare.ring), 0);
    until_waiting(&full.bare.ring, 1);
    free_one_chunk(&full.bare.ring);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(waited);
    CHECK_EQ(full.bare.ring.waiting, 0);
    remove_full(&full);
}

TEST(a_wait_in_vain_ends_at_its_time)
{
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    uint64_t before = gn_clock_monotonic_ns();
    CHECK(gn_ring_wait_space(&full.bare.ring, 20));
    CHECK(gn_clock_monotonic_ns() - before >= 20000000);
    remove_full(&full);
}

static void *wait_for_the_end(void *ring)
{
    return gn_ring_wait_space(ring, 60000) ? ring : NULL;
}

TEST(closing_sends_everybody_who_waits_home_before_it_returns)
{
    /* GIVEN 6 threads that wait for a chunk */
    struct full_ring full;
    make_full(&full, GN_ON_FULL_WAIT);
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_the_end, &full.bare.ring), 0);
    until_waiting(&full.bare.ring, 6);
    /* WHEN the ring closes */
    gn_ring_close(&full.bare.ring);
    /* THEN none of them is inside any more, and each was told that it is over */
    CHECK_EQ(full.bare.ring.waiting, 0);
    for (int i = 0; i < 6; i++) {
        void *open;
        CHECK_EQ(pthread_join(threads[i], &open), 0);
        CHECK(open == NULL);
    }
    remove_full(&full);
}

TEST(a_closed_ring_hands_out_no_chunk)
{
    struct bare_ring bare;
    bare_ring_make(&bare, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_DROP);
    struct gn_writer writer;
    gn_writer_open(&writer, &bare.ring, UINT32_MAX);
    gn_ring_close(&bare.ring);
    CHECK_EQ(put_event(&writer, 1, 0), GN_CLOSED);
    CHECK(!gn_ring_wait_space(&bare.ring, 60000));
    CHECK_EQ(bare.ring.header->dropped, 0);
    gn_writer_close(&writer);
    bare_ring_remove(&bare);
}
