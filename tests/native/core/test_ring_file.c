/* The ring file itself: its header, its lock, and how it fails to be made. */
#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(the_header_says_what_a_reader_must_know)
{
    struct bare_ring bare;
    gn_clock_choose(false);
    bare_ring_make(&bare, 3, GN_MODE_FLIGHT, GN_ON_FULL_WAIT);
    struct gn_ring_header header;
    int fd = openat(bare.place.fd, "t.ring", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(read(fd, &header, sizeof header), sizeof header);
    CHECK_EQ(memcmp(header.file.magic, "GNTRING1", 8), 0);
    CHECK_EQ(header.file.version, 1);
    CHECK_EQ(header.file.clock_source, GN_CLOCK_MONOTONIC);
    CHECK_EQ(header.file.pid, getpid());
    CHECK_EQ(header.file.mode, GN_MODE_FLIGHT);
    CHECK_EQ(header.file.start_realtime_ns, 1);
    CHECK_EQ(header.file.chunk_size, 65536);
    CHECK_EQ(header.chunks, 3);
    CHECK_EQ(header.first_clock.magic, GN_CLOCK_MAGIC);
    CHECK_EQ(header.last_clock.magic, GN_CLOCK_MAGIC);
    CHECK_EQ(close(fd), 0);
    bare_ring_remove(&bare);
}

TEST(every_block_of_the_file_is_allocated)
{
    /* A hole would be a SIGBUS at some store on a full disk. */
    struct bare_ring bare;
    bare_ring_make(&bare, 8, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    struct stat facts;
    CHECK_EQ(fstatat(bare.place.fd, "t.ring", &facts, 0), 0);
    CHECK_EQ(facts.st_size, GN_PAGE + 8 * GN_CHUNK_SIZE);
    CHECK(facts.st_blocks * 512 >= facts.st_size);
    bare_ring_remove(&bare);
}

TEST(the_file_is_locked_as_long_as_the_ring_lives)
{
    struct bare_ring bare;
    bare_ring_make(&bare, 3, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    int fd = openat(bare.place.fd, "t.ring", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(flock(fd, LOCK_SH | LOCK_NB), -1);
    CHECK_EQ(errno, EWOULDBLOCK);
    gn_ring_destroy(&bare.ring);
    CHECK_EQ(flock(fd, LOCK_SH | LOCK_NB), 0);
    CHECK_EQ(close(fd), 0);
    place_remove(&bare.place);
}

TEST(a_file_of_that_name_is_left_alone)
{
    struct bare_ring bare;
    bare_ring_make(&bare, 3, GN_MODE_STREAM, GN_ON_FULL_WAIT);
    struct gn_ring second;
    CHECK_EQ(gn_ring_create(&second, bare.place.fd, "t.ring", 5, GN_MODE_STREAM, GN_ON_FULL_WAIT, 1),
             EEXIST);
    CHECK_EQ(place_size(&bare.place, "t.ring"), GN_PAGE + 3 * GN_CHUNK_SIZE);
    bare_ring_remove(&bare);
}

TEST(a_ring_that_does_not_fit_on_the_disk_is_an_error_and_leaves_nothing)
{
    struct place place;
    place_make(&place);
    struct gn_ring ring;
    static const rlim_t limits[] = {0, GN_PAGE, GN_PAGE + 7 * GN_CHUNK_SIZE};
    for (int i = 0; i < 3; i++) {
        limit_files(limits[i]);
        CHECK_EQ(gn_ring_create(&ring, place.fd, "t.ring", 8, GN_MODE_STREAM, GN_ON_FULL_WAIT, 1),
                 EFBIG);
        limit_files(RLIM_INFINITY);
        CHECK_EQ(place_size(&place, "t.ring"), -1);
    }
    place_remove(&place);
}
