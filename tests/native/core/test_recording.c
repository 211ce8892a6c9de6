/* A whole recording: its files, its streams, its end. */
#include "check.h"
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNKS 8u

static enum gn_result put_bytes(struct taping *taping, size_t length)
{
    static uint8_t values[GN_RECORD_BIG];
    return gn_recording_put(&taping->recording, GN_STREAM_DEFINITIONS, GN_SYS_STRING, values,
                            length);
}

TEST(a_clean_end_leaves_the_segment_and_removes_the_ring)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    CHECK(place_size(&taping.place, "t.ring") > 0);
    taping_end(&taping);
    CHECK_EQ(place_size(&taping.place, "t.ring"), -1);
    CHECK(place_size(&taping.place, "t.000.seg") > 0);
    taping_remove(&taping);
}

TEST(a_recording_of_nothing_has_a_clock_point_at_each_end)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, 0);
    CHECK_EQ(trace.fragments, 0);
    CHECK_EQ(trace.torn, 0);
    CHECK(trace.clock_points >= 2); /* and one between them after 20 ms */
    trace_free(&trace);
    taping_remove(&taping);
}

TEST(a_program_that_dies_young_has_a_tick_rate_in_its_segment)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    sleep_us(60000);
    CHECK(gn_drain_flush(&taping.recording.drain, 10000, false));
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK(trace.clock_points >= 2);
    trace_free(&trace);
    taping_end(&taping);
    taping_remove(&taping);
}

TEST(both_streams_are_written_in_order)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_EQ(put_stream(&taping.recording, GN_STREAM_DEFINITIONS, i), GN_OK);
        CHECK_EQ(put_stream(&taping.recording, GN_STREAM_ANNOTATIONS, 1000 + i), GN_OK);
    }
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, 200);
    for (uint32_t stream = 0; stream < 2; stream++) {
        size_t count;
        struct record *records = trace_thread(&trace, stream, &count);
        CHECK_EQ(count, 100);
        for (uint64_t i = 0; i < count; i++)
            CHECK_EQ(number_of(&records[i]), i + 1000 * stream);
        free(records);
    }
    trace_free(&trace);
    taping_remove(&taping);
}

TEST(a_stream_waits_for_the_drain_when_it_has_filled_the_ring)
{
    /* GIVEN more definitions than the ring has room for */
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    const int total = 300;
    for (int i = 0; i < total; i++)
        CHECK_EQ(put_bytes(&taping, 20000), GN_OK);
    taping_end(&taping);
    /* THEN none was lost */
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, total);
    CHECK_EQ(trace.gaps, 0);
    CHECK_EQ(trace.dropped, 0);
    trace_free(&trace);
    taping_remove(&taping);
}

TEST(a_stream_that_waits_in_vain_counts_its_loss)
{
    /* GIVEN a full ring that no drain empties */
    static struct gn_recording recording;
    struct place place;
    place_make(&place);
    CHECK_EQ(gn_ring_create(&recording.ring, place.fd, "t.ring", CHUNKS, GN_MODE_STREAM,
                            GN_ON_FULL_WAIT, 1),
             0);
    CHECK_EQ(pthread_mutex_init(&recording.stream_lock, NULL), 0);
    gn_writer_open(&recording.definitions, &recording.ring, GN_STREAM_DEFINITIONS);
    enum gn_result refusal;
    (void)fill(&recording.definitions, 0, FAT, &refusal);
    CHECK_EQ(refusal, GN_FULL);
    /* WHEN another definition comes */
    uint64_t before = gn_clock_monotonic_ns();
    static const uint8_t values[5000];
    CHECK_EQ(gn_recording_put(&recording, GN_STREAM_DEFINITIONS, GN_SYS_STRING, values, 5000),
             GN_LOST);
    /* THEN it is given up after a second, and counted */
    CHECK(gn_clock_monotonic_ns() - before >= 1000000000u);
    CHECK_EQ(recording.ring.header->dropped, 1);
    gn_writer_close(&recording.definitions);
    CHECK_EQ(pthread_mutex_destroy(&recording.stream_lock), 0);
    gn_ring_destroy(&recording.ring);
    place_remove(&place);
}

TEST(the_biggest_record_of_a_stream_is_written)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    CHECK_EQ(put_bytes(&taping, GN_RECORD_BIG - GN_RECORD_HEAD_WIDE), GN_OK);
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, 1);
    CHECK_EQ(trace.records[0].size, GN_RECORD_BIG - GN_RECORD_HEAD_WIDE + GN_RECORD_HEAD);
    trace_free(&trace);
    taping_remove(&taping);
}

TEST(a_record_that_is_too_big_for_a_stream_is_lost_and_counted)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    CHECK_EQ(put_bytes(&taping, GN_RECORD_BIG - GN_RECORD_HEAD_WIDE + 1), GN_LOST);
    CHECK_EQ(taping.recording.ring.header->dropped, 1);
    taping_end(&taping);
    taping_remove(&taping);
}

TEST(a_closed_recording_takes_nothing_more)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    CHECK_EQ(put_stream(&taping.recording, GN_STREAM_DEFINITIONS, 1), GN_OK);
    gn_recording_close(&taping.recording);
    CHECK_EQ(put_stream(&taping.recording, GN_STREAM_DEFINITIONS, 2), GN_CLOSED);
    CHECK_EQ(gn_recording_stop(&taping.recording), 0);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, 1);
    trace_free(&trace);
    taping_remove(&taping);
}

/* Starts a recording that must fail. */
static int start_badly(int dir_fd, const char *prefix, const char **file)
{
    struct gn_recording recording;
    struct gn_recording_options options = {.dir_fd = dir_fd, .prefix = prefix, .chunks = CHUNKS};
    return gn_recording_start(&recording, &options, file);
}

TEST(a_segment_that_is_there_already_is_an_error_and_leaves_no_ring)
{
    struct taping taping;
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    taping_end(&taping);
    off_t size = place_size(&taping.place, "t.000.seg");
    const char *file;
    CHECK_EQ(start_badly(taping.place.fd, "t", &file), EEXIST);
    CHECK_EQ(strcmp(file, "t"), 0);
    CHECK_EQ(place_size(&taping.place, "t.ring"), -1);
    CHECK_EQ(place_size(&taping.place, "t.000.seg"), size);
    taping_remove(&taping);
}

TEST(a_ring_that_is_there_already_is_an_error_and_is_left_alone)
{
    struct bare_ring bare;
    bare_ring_make(&bare, 3, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    const char *file;
    CHECK_EQ(start_badly(bare.place.fd, "t", &file), EEXIST);
    CHECK_EQ(place_size(&bare.place, "t.ring"), GN_PAGE + 3 * GN_CHUNK_SIZE);
    CHECK_EQ(place_size(&bare.place, "t.000.seg"), -1);
    bare_ring_remove(&bare);
}

TEST(a_prefix_that_is_too_long_is_an_error)
{
    char prefix[NAME_MAX + 1];
    memset(prefix, 'x', sizeof prefix);
    prefix[NAME_MAX] = '\0';
    const char *file;
    CHECK_EQ(start_badly(AT_FDCWD, prefix, &file), ENAMETOOLONG);
}

TEST(a_directory_that_is_none_is_an_error)
{
    const char *file;
    CHECK_EQ(start_badly(-1, "t", &file), EBADF);
}

static int count_open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    CHECK_EQ(closedir(directory), 0);
    return count;
}

TEST(the_end_of_a_recording_leaves_no_file_open)
{
    struct taping taping;
    place_make(&taping.place);
    int before = count_open_files();
    place_remove(&taping.place);
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    taping_end(&taping);
    CHECK_EQ(count_open_files(), before);
    taping_remove(&taping);
}

TEST(a_forked_child_lets_go_of_its_parents_files_and_harms_none)
{
    /* GIVEN a recording with an event */
    struct taping taping;
    int before = count_open_files();
    taping_start(&taping, CHUNKS, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    CHECK_EQ(try_event(&writer, 1, 0), GN_OK);
    /* WHEN a child lets go of it */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        gn_recording_abandon(&taping.recording);
        _exit(count_open_files() == before + 1 ? 0 : 1); /* the place stays open */
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    /* THEN the parent goes on and loses nothing */
    CHECK_EQ(try_event(&writer, 2, 0), GN_OK);
    gn_writer_close(&writer);
    taping_end(&taping);
    struct trace trace;
    trace_read(&trace, taping.place.fd, "t");
    CHECK_EQ(trace.count, 2);
    trace_free(&trace);
    taping_remove(&taping);
}
