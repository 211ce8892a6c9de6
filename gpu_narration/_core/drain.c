#include "drain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define BATCH 64u /* fragments in one write */
#define BUSY_MS 10u /* pause after a pass that found something */
#define IDLE_MS 200u /* longest pause when little happens */
#define REST_MS 1000u /* pause of a process at rest; a clock point is due as often */
#define REST_AFTER 30u /* passes without a find: some five seconds */
#define RETRY_MS 500u /* pause after a failed write */
#define CLOCK_EVERY_NS 1000000000u

static int write_all(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t written = writev(fd, parts, count);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return errno;
        }
        if (written == 0)
            return ENOSPC;
        size_t left = (size_t)written;
        while (count > 0 && left >= parts->iov_len) {
            left -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return 0;
}

static void count_written(struct gn_drain *drain, uint64_t bytes)
{
    drain->segment_bytes += bytes;
    (void)pthread_mutex_lock(&drain->ring->lock);
    drain->stats.bytes_written += bytes;
    (void)pthread_mutex_unlock(&drain->ring->lock);
}

/* Appends whole or not at all: a half-written append is cut off again, so that
 * what follows after a full disk still parses. */
static int append(struct gn_drain *drain, struct iovec *parts, int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    int error = write_all(drain->segment_fd, parts, count);
    if (error != 0) {
        if (ftruncate(drain->segment_fd, (off_t)drain->segment_bytes) == 0)
            (void)lseek(drain->segment_fd, (off_t)drain->segment_bytes, SEEK_SET);
        return error;
    }
    count_written(drain, bytes);
    return 0;
}

static int open_segment(struct gn_drain *drain)
{
    char name[NAME_MAX + 16];
    int length = snprintf(name, sizeof name, "%s.%03u.seg", drain->prefix, drain->segment);
    if (length < 0 || (size_t)length >= sizeof name)
        return ENAMETOOLONG;
    int fd = openat(drain->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    struct gn_file_header header = drain->ring->header->file;
    memcpy(header.magic, GN_SEGMENT_MAGIC, 8);
    header.segment = drain->segment;
    struct iovec part = {&header, sizeof header};
    int error = write_all(fd, &part, 1);
    if (error != 0) { /* no segment without its header: the next try makes it anew */
        (void)close(fd);
        (void)unlinkat(drain->dir_fd, name, 0);
        return error;
    }
    if (drain->segment_fd >= 0)
        (void)close(drain->segment_fd); /* every byte of it was written and counted */
    drain->segment_fd = fd;
    drain->segment++;
    drain->segment_bytes = 0;
    count_written(drain, sizeof header);
    return 0;
}

static int write_clock(struct gn_drain *drain)
{
    struct gn_clock_point point;
    gn_clock_sample(&point);
    drain->ring->header->last_clock = point;
    struct iovec part = {&point, sizeof point};
    int error = append(drain, &part, 1);
    if (error == 0)
        drain->next_clock_ns = point.monotonic_ns + CLOCK_EVERY_NS;
    return error;
}

/* Room in the plan for all that one pass can find; the caller holds the lock,
 * which is let go while memory is had.  False if there is none to be had. */
static bool make_room(struct gn_drain *drain)
{
    struct gn_ring *ring = drain->ring;
    for (;;) {
        size_t needed = (size_t)ring->full_count + ring->writer_count;
        if (drain->plan_room >= needed)
            return true;
        (void)pthread_mutex_unlock(&ring->lock);
        struct gn_fragment *plan = realloc(drain->plan, 2 * needed * sizeof *plan);
        (void)pthread_mutex_lock(&ring->lock);
        if (plan == NULL)
            return false;
        drain->plan = plan;
        drain->plan_room = 2 * needed;
    }
}

static void add(struct gn_drain *drain, struct gn_chunk *chunk, bool whole)
{
    struct gn_fragment fragment = {
        .chunk = chunk,
        .from = atomic_load_explicit(&chunk->head->offset, memory_order_relaxed),
        .to = atomic_load_explicit(&chunk->head->committed, memory_order_acquire),
        .whole = whole,
    };
    if (fragment.from == fragment.to && !whole)
        return;
    chunk->pinned = true;
    drain->plan[drain->plan_count++] = fragment;
}

static void add_unfinished(struct gn_drain *drain, bool streams)
{
    for (struct gn_writer *writer = drain->ring->writers; writer != NULL; writer = writer->next)
        if (writer->chunk != NULL && gn_is_stream(writer->thread) == streams)
            add(drain, writer->chunk, false);
}

/* Stable, so that the chunks of a stream stay in order; there are only a few. */
static void definitions_first(struct gn_fragment *streams, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && streams[j - 1].chunk->head->thread >
                                        streams[j].chunk->head->thread; j--) {
            struct gn_fragment later = streams[j - 1];
            streams[j - 1] = streams[j];
            streams[j] = later;
        }
}

/* Plans one pass: the full chunks, then what the threads have committed in the
 * chunks they are filling.  The streams are looked at last and written first:
 * whatever an event of this pass needs was defined before it, so a reader that
 * follows the file never meets an unknown name.  Returns 0 or an errno. */
static int plan(struct gn_drain *drain, bool events)
{
    struct gn_ring *ring = drain->ring;
    struct gn_chunk *chunk;
    int error = 0;
    (void)pthread_mutex_lock(&ring->lock);
    drain->plan_count = 0;
    if (make_room(drain)) {
        while (events && (chunk = gn_ring_take_full(ring, true, false)) != NULL)
            add(drain, chunk, true);
        if (events)
            add_unfinished(drain, false);
        size_t first_stream = drain->plan_count;
        while ((chunk = gn_ring_take_full(ring, false, true)) != NULL)
            add(drain, chunk, true);
        add_unfinished(drain, true);
        drain->plan_streams = drain->plan_count - first_stream;
        definitions_first(drain->plan + first_stream, drain->plan_streams);
    } else {
        error = ENOMEM;
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return error;
}

/* The n-th fragment in the order of writing. */
static struct gn_fragment *planned(const struct gn_drain *drain, size_t n)
{
    size_t events = drain->plan_count - drain->plan_streams;
    return &drain->plan[n < drain->plan_streams ? events + n : n - drain->plan_streams];
}

static void plain_header(struct gn_chunk_header *copy, const struct gn_fragment *fragment)
{
    const struct gn_chunk_header *head = fragment->chunk->head;
    memset(copy, 0, sizeof *copy);
    atomic_init(&copy->magic, GN_CHUNK_MAGIC);
    copy->thread = head->thread;
    copy->serial = head->serial;
    copy->first_seq = head->first_seq;
    copy->base_tick = head->base_tick;
    copy->span = head->span;
    copy->correlation = head->correlation;
    copy->dropped = head->dropped;
    atomic_init(&copy->committed, fragment->to);
    atomic_init(&copy->offset, fragment->from);
}

static int write_fragments(struct gn_drain *drain, size_t first, size_t count)
{
    struct gn_chunk_header heads[BATCH];
    struct iovec parts[BATCH * 2];
    int part = 0;
    if (drain->segment_bytes >= GN_SEGMENT_BYTES) {
        int error = open_segment(drain);
        if (error != 0)
            return error;
    }
    for (size_t i = 0; i < count; i++) {
        struct gn_fragment *fragment = planned(drain, first + i);
        uint8_t *records = gn_chunk_data(fragment->chunk->head) + fragment->from;
        size_t length = fragment->to - fragment->from;
        /* The chunk stays in the ring and may be forgotten there: not these of it. */
        if (drain->ring->mode == GN_MODE_FLIGHT && !fragment->whole)
            fragment->events = gn_count_events(records, length);
        plain_header(&heads[i], fragment);
        parts[part].iov_base = &heads[i];
        parts[part++].iov_len = sizeof heads[i];
        parts[part].iov_base = records;
        parts[part++].iov_len = length;
    }
    return append(drain, parts, part);
}

/* Written fragments let go of their chunks; unwritten ones go back to the head
 * of the queue, in order. */
static void settle(struct gn_drain *drain, size_t first, size_t count, bool written)
{
    struct gn_ring *ring = drain->ring;
    (void)pthread_mutex_lock(&ring->lock);
    for (size_t i = count; i-- > 0;) {
        const struct gn_fragment *fragment = planned(drain, first + i);
        struct gn_chunk *chunk = fragment->chunk;
        chunk->pinned = false;
        if (written) {
            atomic_store_explicit(&chunk->head->offset, fragment->to, memory_order_release);
            chunk->dumped += fragment->events;
        }
        if (fragment->whole && written) {
            atomic_store_explicit(&chunk->head->magic, 0, memory_order_release);
            gn_ring_give_back(ring, chunk);
        } else if (fragment->whole) {
            gn_ring_untake_full(ring, chunk);
        }
    }
    (void)pthread_cond_broadcast(&ring->space);
    (void)pthread_mutex_unlock(&ring->lock);
}

static void report(struct gn_drain *drain, int error)
{
    struct gn_ring *ring = drain->ring;
    (void)pthread_mutex_lock(&ring->lock);
    drain->stats.passes++;
    drain->stats.write_error = error;
    ring->stalled = error != 0;
    atomic_store_explicit(&ring->header->write_error, (uint32_t)error, memory_order_release);
    (void)pthread_cond_broadcast(&ring->space);
    (void)pthread_mutex_unlock(&ring->lock);
}

/* Moves what is there now to the disk.  Returns the number of fragments moved,
 * or -1 if a write failed. */
static int pass(struct gn_drain *drain, bool events)
{
    size_t done = 0;
    int error = plan(drain, events);
    while (error == 0 && done < drain->plan_count) {
        size_t count = drain->plan_count - done < BATCH ? drain->plan_count - done : BATCH;
        error = write_fragments(drain, done, count);
        if (error == 0) {
            settle(drain, done, count, true);
            done += count;
        }
    }
    if (error == 0 && gn_clock_monotonic_ns() >= drain->next_clock_ns)
        error = write_clock(drain);
    if (error != 0)
        settle(drain, done, drain->plan_count - done, false);
    report(drain, error);
    return error == 0 ? (int)done : -1;
}

unsigned gn_drain_pause_ms(unsigned *quiet, int moved)
{
    *quiet = moved != 0 ? 0 : *quiet + (*quiet < REST_AFTER);
    if (moved < 0)
        return RETRY_MS;
    if (*quiet >= REST_AFTER)
        return REST_MS;
    return *quiet < 5 ? BUSY_MS << *quiet : IDLE_MS;
}

static void *drain_main(void *argument)
{
    struct gn_drain *drain = argument;
    struct gn_ring *ring = drain->ring;
    unsigned quiet = 0, pause_ms = BUSY_MS;
    bool failed = false;
    (void)pthread_mutex_lock(&ring->lock);
    for (;;) {
        struct timespec deadline;
        gn_deadline(&deadline, pause_ms);
        /* Threads that lose events to a full disk wake us for nothing: only a
         * request cuts that pause short. */
        while (!drain->stop && drain->requested == drain->completed)
            if (pthread_cond_timedwait(&ring->work, &ring->lock, &deadline) != 0 || !failed)
                break;
        bool stop = drain->stop;
        uint64_t request = drain->requested;
        bool events = ring->mode == GN_MODE_STREAM || drain->dump || stop;
        drain->dump = false;
        (void)pthread_mutex_unlock(&ring->lock);

        int moved = pass(drain, events);
        failed = moved < 0;
        pause_ms = gn_drain_pause_ms(&quiet, moved);

        (void)pthread_mutex_lock(&ring->lock);
        drain->completed = request; /* tried, at least: the error is in the stats */
        (void)pthread_cond_broadcast(&drain->done);
        if (stop)
            break;
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return NULL;
}

int gn_drain_start(struct gn_drain *drain, struct gn_ring *ring, int dir_fd, const char *prefix)
{
    memset(drain, 0, sizeof *drain);
    drain->ring = ring;
    drain->segment_fd = -1;
    drain->dir_fd = -1;
    if (strlen(prefix) >= sizeof drain->prefix)
        return ENAMETOOLONG;
    memcpy(drain->prefix, prefix, strlen(prefix) + 1);

    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (error == 0)
        error = pthread_cond_init(&drain->done, &attributes);
    (void)pthread_condattr_destroy(&attributes); /* cannot fail on an initialised one */
    if (error != 0)
        return error;

    drain->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (drain->dir_fd < 0)
        error = errno;
    if (error == 0)
        error = open_segment(drain);
    if (error == 0)
        error = write_clock(drain);
    /* A second point soon: a short program, or one that dies young, still gets
     * a tick rate. */
    drain->next_clock_ns = gn_clock_monotonic_ns() + CLOCK_EVERY_NS / 50;
    if (error == 0) {
        /* The program's signals belong to the program's threads. */
        sigset_t all, before;
        (void)sigfillset(&all);
        error = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (error == 0) {
            error = pthread_create(&drain->thread, NULL, drain_main, drain);
            (void)pthread_sigmask(SIG_SETMASK, &before, NULL); /* `before` is valid */
        }
    }
    if (error != 0) {
        gn_drain_abandon(drain);
        (void)pthread_cond_destroy(&drain->done);
        return error;
    }
    drain->running = true;
    return 0;
}

bool gn_drain_flush(struct gn_drain *drain, unsigned timeout_ms, bool events)
{
    struct gn_ring *ring = drain->ring;
    struct timespec deadline;
    gn_deadline(&deadline, timeout_ms);
    (void)pthread_mutex_lock(&ring->lock);
    uint64_t request = ++drain->requested;
    drain->dump |= events;
    (void)pthread_cond_signal(&ring->work);
    int error = 0;
    while (error == 0 && drain->completed < request)
        error = pthread_cond_timedwait(&drain->done, &ring->lock, &deadline);
    bool flushed = drain->completed >= request && drain->stats.write_error == 0;
    (void)pthread_mutex_unlock(&ring->lock);
    return flushed;
}

bool gn_drain_stop(struct gn_drain *drain)
{
    struct gn_ring *ring = drain->ring;
    (void)pthread_mutex_lock(&ring->lock);
    drain->stop = true;
    (void)pthread_cond_signal(&ring->work);
    (void)pthread_mutex_unlock(&ring->lock);
    bool ended = pthread_join(drain->thread, NULL) == 0;
    drain->running = false;
    if (ended && drain->stats.write_error == 0)
        report(drain, write_clock(drain));
    bool written = ended && drain->stats.write_error == 0;
    gn_drain_abandon(drain);
    (void)pthread_cond_destroy(&drain->done);
    return written;
}

void gn_drain_abandon(struct gn_drain *drain)
{
    if (drain->segment_fd >= 0)
        (void)close(drain->segment_fd); /* every byte of it was written and counted */
    if (drain->dir_fd >= 0)
        (void)close(drain->dir_fd);
    free(drain->plan);
    drain->plan = NULL;
    drain->segment_fd = -1;
    drain->dir_fd = -1;
    drain->running = false;
}
