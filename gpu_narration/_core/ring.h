/* Chunks of one file-backed shared mapping, and the threads that fill them.
 *
 * A thread owns one chunk at a time and is its only writer; a record becomes
 * visible by one release store of `committed`.  A full chunk goes to the queue,
 * the drain writes it out and gives it back.  Because the mapping is a file,
 * what a killed process had committed is still there for the reader.
 *
 * Locking: `lock` guards the lists and every gn_writer's place in them; it is
 * never held across a system call that can block on a disk, but for growing.
 * Nothing here knows Python; waiting is the caller's business (it holds a GIL). */
#ifndef GN_RING_H
#define GN_RING_H

#include "clock.h"
#include "record.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define GN_EXTENTS 32u

/* Chunks that only the two streams may take, so that a definition never waits
 * behind the events that need it. */
#define GN_RESERVED_CHUNKS 2u

enum gn_result {
    GN_OK = 0,
    GN_FULL, /* no chunk free: wait for the drain, or drop */
    GN_LOST, /* the event was counted as dropped */
    GN_CLOSED, /* the ring is closing: record nothing more */
};

enum gn_on_full { GN_ON_FULL_WAIT = 0, GN_ON_FULL_DROP = 1 };

/* A chunk slot, as this process sees it. */
struct gn_chunk {
    struct gn_chunk_header *head; /* borrowed from the mapping; records follow it */
    struct gn_chunk *next; /* in the free stack or the full queue; guarded by lock */
    bool pinned; /* the drain is reading it: not to be recycled; guarded by lock */
    /* What a flight recorder forgets when it recycles the chunk; guarded by lock. */
    uint32_t events; /* in it, once it is full */
    uint32_t dumped; /* of them, in a segment already */
};

struct gn_writer {
    /* Hot: touched by the owning thread at every event. */
    uint8_t *pos; /* borrowed from the chunk: where the next record goes */
    uint8_t *end; /* borrowed from the chunk */
    struct gn_chunk_header *head; /* borrowed from the chunk */
    uint64_t last_tick; /* of the record before; deltas count from here */
    uint64_t seq; /* of the next event */
    uint64_t span; /* what the reader takes for the current span here */
    uint32_t correlation; /* what the reader takes for the current correlation */
    uint32_t thread; /* stream number */
    /* Cold. */
    uint32_t dropped; /* since the last chunk began */
    struct gn_chunk *chunk; /* owned until full; NULL before the first event */
    struct gn_ring *ring; /* borrowed */
    struct gn_writer *next, *previous; /* in ring->writers; guarded by lock */
};

struct gn_ring {
    struct gn_ring_header *header; /* owned: page 0 of the mapping */
    int fd; /* owned; holds the lock that says the process lives */
    enum gn_mode mode;
    enum gn_on_full on_full;
    struct {
        void *base; /* owned mapping */
        size_t bytes;
        struct gn_chunk *chunks; /* owned array */
    } extents[GN_EXTENTS];
    unsigned extent_count;

    pthread_mutex_t lock;
    pthread_cond_t space; /* a chunk came free, or nobody should wait any more */
    pthread_cond_t work; /* for the drain: chunks are full, or somebody asked */
    struct gn_chunk *free; /* stack: the chunk freed last is still in cache */
    uint32_t free_count, chunk_count;
    struct gn_chunk *full_head, **full_tail; /* queue in the order they filled */
    uint32_t full_count;
    struct gn_writer *writers; /* registered writers, the two streams among them */
    uint32_t writer_count;
    uint32_t next_thread;
    uint64_t next_serial;
    uint64_t records_closed; /* by threads that ended */
    uint64_t lost_at_exit; /* drops of threads that ended before another chunk came */
    bool stalled; /* the drain cannot write: drop instead of waiting */
    bool closed;
    uint32_t waiting; /* threads inside gn_ring_wait_space */
};

/* Makes the ring file `name` in directory `dir_fd` with room for `chunks`
 * chunks, allocated and mapped.  Returns 0 or an errno. */
int gn_ring_create(struct gn_ring *ring, int dir_fd, const char *name, uint32_t chunks,
                   enum gn_mode mode, enum gn_on_full on_full, uint64_t start_realtime_ns);

/* Unmaps and closes; every writer must be gone.  The file itself stays. */
void gn_ring_destroy(struct gn_ring *ring);

/* Registers a writer.  `thread` is GN_STREAM_DEFINITIONS, GN_STREAM_ANNOTATIONS,
 * or UINT32_MAX for the next free thread number. */
void gn_writer_open(struct gn_writer *writer, struct gn_ring *ring, uint32_t thread);

/* Hands over what it holds and unregisters. */
void gn_writer_close(struct gn_writer *writer);

/* Gives the writer a fresh chunk, its old one goes to the queue.  On GN_FULL
 * nothing has changed; the caller waits and tries again, or calls
 * gn_writer_drop. */
enum gn_result gn_writer_refill(struct gn_writer *writer);

/* Counts one lost event of this writer. */
void gn_writer_drop(struct gn_writer *writer);

/* Waits until a chunk may be free, the ring closes or stalls, at most
 * `timeout_ms`.  False once the ring is closed: the writer may be gone, touch
 * nothing of it. */
bool gn_ring_wait_space(struct gn_ring *ring, unsigned timeout_ms);

/* No further chunk is handed out; waits until nobody waits in the ring. */
void gn_ring_close(struct gn_ring *ring);

/* How many events the records of `length` bytes are. */
uint32_t gn_count_events(const uint8_t *records, size_t length);

/* All under ring->lock: the oldest full chunk that holds events or a stream, as
 * asked; its way back to the head of that queue; and its way to the free ones. */
struct gn_chunk *gn_ring_take_full(struct gn_ring *ring, bool events, bool streams);
void gn_ring_untake_full(struct gn_ring *ring, struct gn_chunk *chunk);
void gn_ring_give_back(struct gn_ring *ring, struct gn_chunk *chunk);

/* An absolute CLOCK_MONOTONIC deadline for the ring's condition variables. */
void gn_deadline(struct timespec *deadline, unsigned timeout_ms);

static inline bool gn_is_stream(uint32_t thread)
{
    return thread < GN_STREAM_FIRST_THREAD;
}

static inline uint8_t *gn_chunk_data(struct gn_chunk_header *head)
{
    return (uint8_t *)head + sizeof *head;
}

static inline bool gn_writer_has_room(const struct gn_writer *writer, size_t bytes)
{
    return (size_t)(writer->end - writer->pos) >= bytes;
}

/* Writes a record's head at writer->pos and returns where its values go.  Needs
 * room for GN_RECORD_HEAD_WIDE; publishes nothing. */
static inline uint8_t *gn_record_begin(struct gn_writer *writer, uint32_t site, uint64_t tick)
{
    uint8_t *p = writer->pos;
    /* Counters of two cores may differ by a few ticks: time never runs back. */
    uint64_t delta = tick > writer->last_tick ? tick - writer->last_tick : 0;
    if (__builtin_expect(delta < GN_DELTA_WIDE, 1)) {
        uint32_t narrow = (uint32_t)delta;
        memcpy(p, &narrow, 4);
        memcpy(p + 4, &site, 4);
        return p + GN_RECORD_HEAD;
    }
    uint32_t wide = GN_DELTA_WIDE;
    memcpy(p, &wide, 4);
    memcpy(p + 4, &site, 4);
    memcpy(p + GN_RECORD_HEAD, &tick, 8);
    return p + GN_RECORD_HEAD_WIDE;
}

/* Completes the record that began at writer->pos and ends at `end`. */
static inline void gn_record_commit(struct gn_writer *writer, uint8_t *end, uint64_t tick)
{
    uint16_t size = (uint16_t)(end - writer->pos);
    memcpy(writer->pos + 8, &size, 2);
    writer->pos = end;
    writer->seq++;
    if (tick > writer->last_tick)
        writer->last_tick = tick;
    uint32_t committed = (uint32_t)(end - gn_chunk_data(writer->head));
    atomic_store_explicit(&writer->head->committed, committed, memory_order_release);
}

/* The same for a GN_SYS_STATE record, which takes no number. */
static inline void gn_state_commit(struct gn_writer *writer, uint8_t *end, uint64_t tick)
{
    gn_record_commit(writer, end, tick);
    writer->seq--;
}

#endif
