#include "fixture.h"
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void place_make(struct place *place)
{
    const char *parent = getenv("TMPDIR");
    (void)snprintf(place->path, sizeof place->path, "%s/core-XXXXXX",
                   parent != NULL ? parent : "/tmp");
    CHECK(mkdtemp(place->path) != NULL);
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(place->fd >= 0);
}

void place_remove(struct place *place)
{
    DIR *directory = opendir(place->path);
    CHECK(directory != NULL);
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            CHECK_EQ(unlinkat(place->fd, entry->d_name, 0), 0);
    CHECK_EQ(closedir(directory), 0);
    CHECK_EQ(close(place->fd), 0);
    CHECK_EQ(rmdir(place->path), 0);
}

off_t place_size(const struct place *place, const char *name)
{
    struct stat facts;
    if (fstatat(place->fd, name, &facts, 0) == 0)
        return facts.st_size;
    CHECK_EQ(errno, ENOENT);
    return -1;
}

void bare_ring_make(struct bare_ring *bare, uint32_t chunks, enum gn_mode mode,
                    enum gn_on_full on_full)
{
    place_make(&bare->place);
    CHECK_EQ(gn_ring_create(&bare->ring, bare->place.fd, "t.ring", chunks, mode, on_full, 1), 0);
}

void bare_ring_remove(struct bare_ring *bare)
{
    gn_ring_destroy(&bare->ring);
    place_remove(&bare->place);
}

void taping_start(struct taping *taping, uint32_t chunks, enum gn_mode mode,
                  enum gn_on_full on_full)
{
    place_make(&taping->place);
    struct gn_recording_options options = {
        .dir_fd = taping->place.fd,
        .prefix = "t",
        .mode = mode,
        .on_full = on_full,
        .chunks = chunks,
        .counter_clock = true,
    };
    const char *file;
    CHECK_EQ(gn_recording_start(&taping->recording, &options, &file), 0);
}

void taping_end(struct taping *taping)
{
    gn_recording_close(&taping->recording);
    CHECK_EQ(gn_recording_stop(&taping->recording), 0);
}

void taping_remove(struct taping *taping)
{
    place_remove(&taping->place);
}

static uint8_t *put_number(uint8_t *p, uint64_t number)
{
    *p = GN_U64;
    memcpy(p + 1, &number, 8);
    return p + 9;
}

enum gn_result try_event(struct gn_writer *writer, uint64_t number, uint32_t padding)
{
    size_t size = padding == 0 ? EVENT_SIZE : PADDED_SIZE(padding);
    if (!gn_writer_has_room(writer, ROOM_FOR(size))) {
        enum gn_result result = gn_writer_refill(writer);
        if (result != GN_OK)
            return result;
    }
    uint64_t tick = gn_clock_ticks();
    uint8_t *p = put_number(gn_record_begin(writer, SITE, tick), number);
    if (padding != 0) {
        uint16_t length = (uint16_t)padding;
        *p = GN_BYTES16;
        memcpy(p + 1, &length, 2);
        memset(p + 3, 0x5a, padding);
        p += 3 + padding;
    }
    gn_record_commit(writer, p, tick);
    return GN_OK;
}

enum gn_result put_event(struct gn_writer *writer, uint64_t number, uint32_t padding)
{
    struct gn_ring *ring = writer->ring;
    for (;;) {
        enum gn_result result = try_event(writer, number, padding);
        if (result == GN_LOST)
            gn_writer_drop(writer);
        if (result != GN_FULL)
            return result;
        if (!gn_ring_wait_space(ring, 50))
            return GN_CLOSED;
    }
}

uint64_t fill(struct gn_writer *writer, uint64_t first, uint32_t padding, enum gn_result *refusal)
{
    uint64_t number = first;
    while ((*refusal = try_event(writer, number, padding)) == GN_OK)
        number++;
    return number - first;
}

enum gn_result put_stream(struct gn_recording *recording, uint32_t stream, uint64_t number)
{
    uint8_t values[9];
    (void)put_number(values, number);
    return gn_recording_put(recording, stream, GN_SYS_STRING, values, sizeof values);
}

void limit_files(rlim_t bytes)
{
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR); /* the write then fails with EFBIG */
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

void sleep_us(unsigned us)
{
    struct timespec length = {us / 1000000u, (long)(us % 1000000u) * 1000};
    CHECK_EQ(nanosleep(&length, NULL), 0);
}

uint32_t dice(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
