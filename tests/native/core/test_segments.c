/* One segment after the other; here they end at 128 KiB. */
#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define CHUNKS 16u
/* The least that fills a segment. */
#define FILLING (GN_SEGMENT_BYTES / PADDED_SIZE(FAT) + 1u)

struct bench {
    struct taping taping;
    struct gn_writer writer;
    uint64_t total;
};

static void begin(struct bench *bench)
{
    taping_start(&bench->taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    gn_writer_open(&bench->writer, &bench->taping.recording.ring, UINT32_MAX);
    bench->total = 0;
}

static void record(struct bench *bench, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        CHECK_EQ(put_event(&bench->writer, bench->total++, FAT), GN_OK);
}

static bool flush(struct bench *bench)
{
    return gn_drain_flush(&bench->taping.recording.drain, 10000, false);
}

/* Ends the recording and checks that its segments hold all, each event once. */
static void end(struct bench *bench, unsigned segments)
{
    gn_writer_close(&bench->writer);
    taping_end(&bench->taping);
    struct trace trace;
    trace_read(&trace, bench->taping.place.fd, "t");
    CHECK_EQ(trace.segments, segments);
    CHECK_EQ(trace.count, bench->total);
    CHECK_EQ(trace.gaps, 0);
    CHECK_EQ(trace.torn, 0);
    trace_free(&trace);
    taping_remove(&bench->taping);
}

TEST(events_go_on_in_the_next_segment)
{
    struct bench bench;
    begin(&bench);
    for (int i = 0; i < 5; i++) {
        record(&bench, FILLING);
        CHECK(flush(&bench));
    }
    end(&bench, 6); /* the last one has the rest of the last chunk: nothing */
}

TEST(a_chunk_may_lie_in_two_segments)
{
    /* GIVEN a segment that ends within a chunk */
    struct bench bench;
    begin(&bench);
    record(&bench, FILLING);
    CHECK(flush(&bench));
    CHECK(FILLING % FAT_PER_CHUNK != 0);
    /* WHEN the chunk goes on */
    record(&bench, 3);
    CHECK(flush(&bench));
    /* THEN its fragments join across the files */
    end(&bench, 2);
}

TEST(a_segment_ends_with_the_write_that_fills_it)
{
    struct bench bench;
    begin(&bench);
    record(&bench, FILLING);
    CHECK(flush(&bench));
    CHECK(place_size(&bench.taping.place, "t.000.seg") >= (off_t)GN_SEGMENT_BYTES);
    CHECK_EQ(place_size(&bench.taping.place, "t.001.seg"), -1);
    record(&bench, 1);
    CHECK(flush(&bench));
    CHECK(place_size(&bench.taping.place, "t.001.seg") > 0);
    end(&bench, 2);
}

TEST(a_segment_whose_header_could_not_be_written_is_made_anew)
{
    /* GIVEN a full segment, and a disk on which the next one's header fits only
     * in part */
    struct bench bench;
    begin(&bench);
    record(&bench, FILLING);
    CHECK(flush(&bench));
    limit_files(32);
    record(&bench, 1);
    CHECK(!flush(&bench));
    /* WHEN there is room again */
    limit_files(RLIM_INFINITY);
    CHECK(flush(&bench));
    /* THEN the next segment is whole */
    end(&bench, 2);
}

TEST(a_segment_that_cannot_be_made_is_tried_again)
{
    /* GIVEN a full segment, and a file in the place of the next one */
    struct bench bench;
    begin(&bench);
    record(&bench, FILLING);
    CHECK(flush(&bench));
    int fd = openat(bench.taping.place.fd, "t.001.seg", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK_EQ(close(fd), 0);
    record(&bench, 1);
    CHECK(!flush(&bench));
    CHECK_EQ(bench.taping.recording.ring.header->write_error, EEXIST);
    /* WHEN it is gone */
    CHECK_EQ(unlinkat(bench.taping.place.fd, "t.001.seg", 0), 0);
    CHECK(flush(&bench));
    /* THEN nothing was lost */
    end(&bench, 2);
}
