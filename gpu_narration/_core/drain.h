/* The thread that moves chunks from the ring to segment files.
 *
 * It holds no GIL and takes ring->lock only to pick chunks up and to give them
 * back.  A failed write stalls the ring (events are dropped and counted, nothing
 * that was written is touched) and is tried again twice a second. */
#ifndef GN_DRAIN_H
#define GN_DRAIN_H

#include "ring.h"

#include <limits.h>

/* A segment ends with the write that takes it past this; tests set it smaller. */
#ifndef GN_SEGMENT_BYTES
#define GN_SEGMENT_BYTES (256ull * 1024u * 1024u)
#endif

/* What the drain has done; guarded by ring->lock. */
struct gn_drain_stats {
    uint64_t bytes_written; /* to all segments of this process */
    uint64_t passes;
    int write_error; /* errno of the last failed write, 0 when all is well */
};

/* A stretch of records on its way to the disk. */
struct gn_fragment {
    struct gn_chunk *chunk; /* pinned while listed here */
    uint32_t from, to; /* bytes in the chunk */
    uint32_t events; /* in a flight recorder's unfinished chunk, else 0 */
    bool whole; /* the chunk is full: it goes back to the free ones */
};

struct gn_drain {
    struct gn_ring *ring; /* borrowed; outlives the drain */
    int dir_fd; /* owned */
    int segment_fd; /* owned, -1 before the first segment */
    uint32_t segment; /* number of the next segment */
    uint64_t segment_bytes; /* good bytes in the current segment */
    uint64_t next_clock_ns; /* monotonic: when the next clock point is due */
    struct gn_fragment *plan; /* owned: what this pass writes, in order */
    size_t plan_count, plan_room;
    size_t plan_streams; /* the last so many of the plan; they are written first */
    char prefix[NAME_MAX + 1];
    pthread_t thread;
    bool running; /* the thread exists */
    /* Guarded by ring->lock. */
    bool stop;
    uint64_t requested, completed; /* flushes asked for, flushes done */
    bool dump; /* flight mode: the next pass writes the events too */
    pthread_cond_t done; /* a pass has ended */
    struct gn_drain_stats stats;
};

/* Opens segments `<prefix>.000.seg`, `.001.seg`, … in a duplicate of `dir_fd`
 * and starts the thread.  Returns 0 or an errno. */
int gn_drain_start(struct gn_drain *drain, struct gn_ring *ring, int dir_fd, const char *prefix);

/* Waits until all that was committed before the call is in the segments, at
 * most `timeout_ms`.  True if it is.  `events` makes a flight recorder write
 * its events too. */
bool gn_drain_flush(struct gn_drain *drain, unsigned timeout_ms, bool events);

/* Writes out what is left, ends the thread and closes the files.  The ring must
 * be closed, its writers too.  True if everything reached the disk. */
bool gn_drain_stop(struct gn_drain *drain);

/* How long the drain pauses after a pass that moved so many fragments, -1 if it
 * failed.  `quiet` counts the passes in a row that found nothing.  The longer
 * nothing happens the longer it sleeps: a process at rest is woken once a second. */
unsigned gn_drain_pause_ms(unsigned *quiet, int moved);

/* In a forked child: closes what the parent's drain had open here. */
void gn_drain_abandon(struct gn_drain *drain);

#endif
