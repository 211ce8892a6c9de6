#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

/* Writers that own a chunk must never starve the others: the ring keeps at
 * least this many chunks per registered writer. */
#define CHUNKS_PER_WRITER 4u

/* The drain is woken early when this share of the ring is full. */
#define WAKE_SHARE 4u

void gn_deadline(struct timespec *deadline, unsigned timeout_ms)
{
    uint64_t ns = gn_clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
    deadline->tv_sec = (time_t)(ns / 1000000000u);
    deadline->tv_nsec = (long)(ns % 1000000000u);
}

/* Makes the blocks real, so that a full disk is an error here and not a SIGBUS
 * at some store later. */
static int allocate_file(int fd, off_t offset, off_t bytes)
{
    int error = posix_fallocate(fd, offset, bytes);
    if (error != EOPNOTSUPP && error != EINVAL)
        return error;
    static const uint8_t zeros[GN_PAGE];
    for (off_t done = 0; done < bytes; done += (off_t)sizeof zeros)
        if (pwrite(fd, zeros, sizeof zeros, offset + done) != (ssize_t)sizeof zeros)
            return errno != 0 ? errno : EIO;
    return 0;
}

void gn_ring_give_back(struct gn_ring *ring, struct gn_chunk *chunk)
{
    chunk->next = ring->free;
    ring->free = chunk;
    ring->free_count++;
}

/* Adds `count` chunks at the end of the file.  The caller holds the lock, or is
 * alone. */
static int grow(struct gn_ring *ring, uint32_t count)
{
    if (ring->extent_count == GN_EXTENTS)
        return ENOSPC;
    size_t bytes = (size_t)count * GN_CHUNK_SIZE;
    off_t offset = (off_t)GN_PAGE + (off_t)ring->chunk_count * GN_CHUNK_SIZE;
    int error = allocate_file(ring->fd, offset, (off_t)bytes);
    if (error != 0)
        return error;
    struct gn_chunk *chunks = calloc(count, sizeof *chunks);
    if (chunks == NULL)
        return ENOMEM;
    /* MAP_POPULATE: the faults happen here, not under a traced call. */
    uint8_t *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, offset);
    if (base == MAP_FAILED) {
        error = errno;
        free(chunks);
        return error;
    }
    /* A forked child must never write into its parent's ring. */
    (void)madvise(base, bytes, MADV_DONTFORK);
    for (uint32_t i = count; i-- > 0;) {
        chunks[i].head = (struct gn_chunk_header *)(base + (size_t)i * GN_CHUNK_SIZE);
        gn_ring_give_back(ring, &chunks[i]);
    }
    ring->extents[ring->extent_count].base = base;
    ring->extents[ring->extent_count].bytes = bytes;
    ring->extents[ring->extent_count].chunks = chunks;
    ring->extent_count++;
    ring->chunk_count += count;
    atomic_store_explicit(&ring->header->chunks, ring->chunk_count, memory_order_release);
    return 0;
}

static int init_conditions(struct gn_ring *ring)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (error == 0)
        error = pthread_mutex_init(&ring->lock, NULL);
    if (error == 0)
        error = pthread_cond_init(&ring->space, &attributes);
    if (error == 0)
        error = pthread_cond_init(&ring->work, &attributes);
    (void)pthread_condattr_destroy(&attributes); /* cannot fail on an initialised one */
    return error;
}

int gn_ring_create(struct gn_ring *ring, int dir_fd, const char *name, uint32_t chunks,
                   enum gn_mode mode, enum gn_on_full on_full, uint64_t start_realtime_ns)
{
    memset(ring, 0, sizeof *ring);
    ring->fd = -1;
    ring->mode = mode;
    ring->on_full = on_full;
    ring->next_thread = GN_STREAM_FIRST_THREAD;
    ring->next_serial = 1;
    ring->full_tail = &ring->full_head;

    int error = init_conditions(ring);
    if (error != 0)
        return error;
    ring->fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (ring->fd < 0)
        return errno;
    /* A reader that gets this lock knows that the process is gone.  A file
     * system without locks leaves it guessing, no worse. */
    (void)flock(ring->fd, LOCK_EX | LOCK_NB);
    error = allocate_file(ring->fd, 0, GN_PAGE);
    if (error == 0) {
        void *page = mmap(NULL, GN_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
        if (page == MAP_FAILED)
            error = errno;
        else
            ring->header = page;
    }
    if (error == 0) {
        (void)madvise(ring->header, GN_PAGE, MADV_DONTFORK);
        struct gn_file_header *file = &ring->header->file;
        file->version = GN_FORMAT_VERSION;
        file->clock_source = (uint32_t)gn_clock_source;
        file->pid = (uint32_t)getpid();
        file->mode = (uint32_t)mode;
        file->start_realtime_ns = start_realtime_ns;
        file->chunk_size = GN_CHUNK_SIZE;
        gn_clock_sample(&ring->header->first_clock);
        ring->header->last_clock = ring->header->first_clock;
        error = grow(ring, chunks);
    }
    if (error == 0) {
        memcpy(ring->header->file.magic, GN_RING_MAGIC, 8); /* last: now it is a ring */
        return 0;
    }
    gn_ring_destroy(ring);
    (void)unlinkat(dir_fd, name, 0); /* half made; the first error is the one to report */
    return error;
}

void gn_ring_destroy(struct gn_ring *ring)
{
    for (unsigned i = 0; i < ring->extent_count; i++) {
        (void)munmap(ring->extents[i].base, ring->extents[i].bytes);
        free(ring->extents[i].chunks);
    }
    if (ring->header != NULL)
        (void)munmap(ring->header, GN_PAGE);
    if (ring->fd >= 0)
        (void)close(ring->fd); /* the mapping is gone: nothing left to lose */
    ring->extent_count = 0;
    ring->header = NULL;
    ring->fd = -1;
    (void)pthread_cond_destroy(&ring->work);
    (void)pthread_cond_destroy(&ring->space);
    (void)pthread_mutex_destroy(&ring->lock);
}

void gn_writer_open(struct gn_writer *writer, struct gn_ring *ring, uint32_t thread)
{
    memset(writer, 0, sizeof *writer);
    writer->ring = ring;
    (void)pthread_mutex_lock(&ring->lock);
    writer->thread = thread == UINT32_MAX ? ring->next_thread++ : thread;
    writer->next = ring->writers;
    if (ring->writers != NULL)
        ring->writers->previous = writer;
    ring->writers = writer;
    ring->writer_count++;
    (void)pthread_mutex_unlock(&ring->lock);
}

uint32_t gn_count_events(const uint8_t *records, size_t length)
{
    uint32_t events = 0;
    for (size_t at = 0; at + GN_RECORD_HEAD <= length;) {
        uint32_t site;
        uint16_t size;
        memcpy(&site, records + at + 4, 4);
        memcpy(&size, records + at + 8, 2);
        if (size < GN_RECORD_HEAD)
            break; /* written over by the program: count what can be told */
        events += site != GN_SYS_STATE;
        at += size;
    }
    return events;
}

/* Takes the writer's chunk, in which it writes no more. */
static void append_full(struct gn_ring *ring, const struct gn_writer *writer)
{
    struct gn_chunk *chunk = writer->chunk;
    chunk->events = (uint32_t)(writer->seq - chunk->head->first_seq);
    chunk->next = NULL;
    *ring->full_tail = chunk;
    ring->full_tail = &chunk->next;
    ring->full_count++;
}

struct gn_chunk *gn_ring_take_full(struct gn_ring *ring, bool events, bool streams)
{
    for (struct gn_chunk **link = &ring->full_head; *link != NULL; link = &(*link)->next) {
        struct gn_chunk *chunk = *link;
        if (chunk->pinned || (gn_is_stream(chunk->head->thread) ? !streams : !events))
            continue;
        *link = chunk->next;
        if (chunk->next == NULL)
            ring->full_tail = link;
        ring->full_count--;
        return chunk;
    }
    return NULL;
}

void gn_ring_untake_full(struct gn_ring *ring, struct gn_chunk *chunk)
{
    chunk->next = ring->full_head;
    if (ring->full_head == NULL)
        ring->full_tail = &chunk->next;
    ring->full_head = chunk;
    ring->full_count++;
}

/* The flight recorder forgets its oldest chunk instead of waiting. */
static struct gn_chunk *forget_oldest(struct gn_ring *ring)
{
    struct gn_chunk *chunk = gn_ring_take_full(ring, true, false);
    if (chunk == NULL)
        return NULL;
    /* In this order: killed in between, we leave no event both here and counted. */
    atomic_store_explicit(&chunk->head->magic, 0, memory_order_release);
    atomic_fetch_add_explicit(&ring->header->forgotten, chunk->events - chunk->dumped,
                              memory_order_release);
    return chunk;
}

static struct gn_chunk *take_free(struct gn_ring *ring, const struct gn_writer *writer)
{
    if (ring->chunk_count < ring->writer_count * CHUNKS_PER_WRITER)
        (void)grow(ring, ring->chunk_count); /* no room to grow: go on with what there is */
    uint32_t keep = gn_is_stream(writer->thread) ? 0 : GN_RESERVED_CHUNKS;
    if (ring->free_count <= keep)
        return ring->mode == GN_MODE_FLIGHT ? forget_oldest(ring) : NULL;
    struct gn_chunk *chunk = ring->free;
    ring->free = chunk->next;
    ring->free_count--;
    return chunk;
}

static void begin_chunk(struct gn_writer *writer, struct gn_chunk *chunk)
{
    struct gn_chunk_header *head = chunk->head;
    if (writer->last_tick == 0)
        writer->last_tick = gn_clock_ticks();
    atomic_store_explicit(&head->magic, 0, memory_order_release);
    head->thread = writer->thread;
    head->serial = writer->ring->next_serial++;
    head->first_seq = writer->seq;
    head->base_tick = writer->last_tick;
    head->span = writer->span;
    head->correlation = writer->correlation;
    head->dropped = writer->dropped;
    head->reserved = 0;
    atomic_store_explicit(&head->committed, 0, memory_order_relaxed);
    atomic_store_explicit(&head->offset, 0, memory_order_relaxed);
    atomic_store_explicit(&head->magic, GN_CHUNK_MAGIC, memory_order_release);
    writer->dropped = 0;
    chunk->events = 0;
    chunk->dumped = 0;
    writer->chunk = chunk;
    writer->head = head;
    writer->pos = gn_chunk_data(head);
    writer->end = writer->pos + GN_CHUNK_ROOM;
}

enum gn_result gn_writer_refill(struct gn_writer *writer)
{
    struct gn_ring *ring = writer->ring;
    enum gn_result result = GN_OK;
    (void)pthread_mutex_lock(&ring->lock);
    if (ring->closed) {
        result = GN_CLOSED;
    } else {
        struct gn_chunk *chunk = take_free(ring, writer);
        if (chunk != NULL) {
            if (writer->chunk != NULL)
                append_full(ring, writer);
            begin_chunk(writer, chunk);
        } else {
            result = ring->stalled || ring->on_full == GN_ON_FULL_DROP ? GN_LOST : GN_FULL;
        }
        if (chunk == NULL || ring->full_count >= ring->chunk_count / WAKE_SHARE)
            (void)pthread_cond_signal(&ring->work);
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return result;
}

void gn_writer_drop(struct gn_writer *writer)
{
    writer->dropped++;
    atomic_fetch_add_explicit(&writer->ring->header->dropped, 1, memory_order_relaxed);
}

void gn_writer_close(struct gn_writer *writer)
{
    struct gn_ring *ring = writer->ring;
    (void)pthread_mutex_lock(&ring->lock);
    if (writer->chunk != NULL)
        append_full(ring, writer);
    ring->lost_at_exit += writer->dropped;
    if (!gn_is_stream(writer->thread))
        ring->records_closed += writer->seq;
    if (writer->previous != NULL)
        writer->previous->next = writer->next;
    else
        ring->writers = writer->next;
    if (writer->next != NULL)
        writer->next->previous = writer->previous;
    ring->writer_count--;
    (void)pthread_mutex_unlock(&ring->lock);
    memset(writer, 0, sizeof *writer);
}

bool gn_ring_wait_space(struct gn_ring *ring, unsigned timeout_ms)
{
    struct timespec deadline;
    gn_deadline(&deadline, timeout_ms);
    (void)pthread_mutex_lock(&ring->lock);
    ring->waiting++;
    (void)pthread_cond_signal(&ring->work);
    while (!ring->closed && !ring->stalled && ring->free_count <= GN_RESERVED_CHUNKS)
        if (pthread_cond_timedwait(&ring->space, &ring->lock, &deadline) != 0)
            break;
    bool open = !ring->closed;
    ring->waiting--;
    if (ring->closed)
        (void)pthread_cond_broadcast(&ring->space); /* gn_ring_close counts us out */
    (void)pthread_mutex_unlock(&ring->lock);
    return open;
}

void gn_ring_close(struct gn_ring *ring)
{
    (void)pthread_mutex_lock(&ring->lock);
    ring->closed = true;
    (void)pthread_cond_broadcast(&ring->space);
    while (ring->waiting > 0)
        (void)pthread_cond_wait(&ring->space, &ring->lock);
    (void)pthread_mutex_unlock(&ring->lock);
}
