#include "recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define STREAM_WAIT_MS 1000u

int gn_recording_start(struct gn_recording *recording, const struct gn_recording_options *options,
                       const char **file)
{
    memset(recording, 0, sizeof *recording);
    *file = "";
    int length =
        snprintf(recording->ring_name, sizeof recording->ring_name, "%s.ring", options->prefix);
    if (length < 0 || (size_t)length >= sizeof recording->ring_name)
        return ENAMETOOLONG;
    *file = recording->ring_name;
    recording->dir_fd = fcntl(options->dir_fd, F_DUPFD_CLOEXEC, 0);
    if (recording->dir_fd < 0)
        return errno;
    gn_clock_choose(options->counter_clock);
    recording->start_realtime_ns = gn_clock_realtime_ns();
    int error = pthread_mutex_init(&recording->stream_lock, NULL);
    if (error == 0)
        error = gn_ring_create(&recording->ring, recording->dir_fd, recording->ring_name,
                               options->chunks, options->mode, options->on_full,
                               recording->start_realtime_ns);
    if (error != 0) {
        (void)close(recording->dir_fd);
        return error;
    }
    *file = options->prefix;
    error = gn_drain_start(&recording->drain, &recording->ring, recording->dir_fd, options->prefix);
    if (error != 0) {
        gn_ring_destroy(&recording->ring);
        (void)unlinkat(recording->dir_fd, recording->ring_name, 0); /* nothing is in it yet */
        (void)close(recording->dir_fd);
        return error;
    }
    gn_writer_open(&recording->definitions, &recording->ring, GN_STREAM_DEFINITIONS);
    gn_writer_open(&recording->annotations, &recording->ring, GN_STREAM_ANNOTATIONS);
    return 0;
}

enum gn_result gn_recording_put(struct gn_recording *recording, uint32_t stream, uint32_t site,
                                const uint8_t *values, size_t length)
{
    size_t needed = GN_RECORD_HEAD_WIDE + length;
    (void)pthread_mutex_lock(&recording->stream_lock);
    struct gn_writer *writer =
        stream == GN_STREAM_DEFINITIONS ? &recording->definitions : &recording->annotations;
    enum gn_result result = GN_OK;
    if (writer->ring == NULL)
        result = GN_CLOSED;
    else if (needed > GN_RECORD_BIG)
        result = GN_LOST;
    uint64_t give_up_ns = gn_clock_monotonic_ns() + STREAM_WAIT_MS * 1000000ull;
    while (result == GN_OK && !gn_writer_has_room(writer, needed)) {
        result = gn_writer_refill(writer);
        if (result == GN_FULL && gn_clock_monotonic_ns() < give_up_ns)
            result = gn_ring_wait_space(writer->ring, 10) ? GN_OK : GN_CLOSED;
    }
    if (result == GN_OK) {
        uint64_t tick = gn_clock_ticks();
        uint8_t *p = gn_record_begin(writer, site, tick);
        memcpy(p, values, length);
        gn_record_commit(writer, p + length, tick);
    } else if (result != GN_CLOSED) {
        gn_writer_drop(writer);
        result = GN_LOST;
    }
    (void)pthread_mutex_unlock(&recording->stream_lock);
    return result;
}

void gn_recording_close(struct gn_recording *recording)
{
    (void)pthread_mutex_lock(&recording->stream_lock);
    gn_writer_close(&recording->definitions);
    gn_writer_close(&recording->annotations);
    (void)pthread_mutex_unlock(&recording->stream_lock);
    gn_ring_close(&recording->ring);
}

int gn_recording_stop(struct gn_recording *recording)
{
    bool written = gn_drain_stop(&recording->drain);
    int error = written ? 0 : recording->drain.stats.write_error;
    if (!written && error == 0)
        error = EIO;
    gn_ring_destroy(&recording->ring);
    if (written)
        (void)unlinkat(recording->dir_fd, recording->ring_name, 0); /* empty now; harmless if kept */
    (void)close(recording->dir_fd);
    recording->dir_fd = -1; /* a child forked just now must not close the number's next owner */
    (void)pthread_mutex_destroy(&recording->stream_lock);
    return error;
}

void gn_recording_abandon(struct gn_recording *recording)
{
    recording->drain.plan = NULL; /* the drain may have been moving it: not ours to free */
    gn_drain_abandon(&recording->drain);
    if (recording->ring.fd >= 0)
        (void)close(recording->ring.fd); /* with it our share of the parent's lock */
    (void)close(recording->dir_fd);
}
