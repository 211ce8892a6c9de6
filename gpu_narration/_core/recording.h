/* One run of the recorder in one process: a ring, its drain, and the two streams
 * that belong to no thread.  Plain C; the boundary holds exactly one. */
#ifndef GN_RECORDING_H
#define GN_RECORDING_H

#include "drain.h"
#include "ring.h"

struct gn_recording_options {
    int dir_fd; /* borrowed: the trace directory */
    const char *prefix; /* of this process's files */
    enum gn_mode mode;
    enum gn_on_full on_full;
    uint32_t chunks; /* in the ring at start */
    bool counter_clock; /* false: always CLOCK_MONOTONIC */
};

struct gn_recording {
    struct gn_ring ring;
    struct gn_drain drain;
    pthread_mutex_t stream_lock; /* the streams' writers have many producers */
    struct gn_writer definitions, annotations; /* guarded by stream_lock */
    uint64_t start_realtime_ns;
    int dir_fd; /* owned */
    char ring_name[NAME_MAX + 1];
};

/* Returns 0 or an errno; `*file` then names the file that could not be made. */
int gn_recording_start(struct gn_recording *recording, const struct gn_recording_options *options,
                       const char **file);

/* Appends one record to a stream; `values` are encoded already.  Waits for room
 * with the drain's help, at most a second. */
enum gn_result gn_recording_put(struct gn_recording *recording, uint32_t stream, uint32_t site,
                                const uint8_t *values, size_t length);

/* No thread gets another chunk, none waits any more.  After this every writer
 * must be closed, then gn_recording_stop called. */
void gn_recording_close(struct gn_recording *recording);

/* Writes out everything, and removes the ring file if that worked.  Returns 0,
 * or the errno that left events in the ring file, where a reader finds them. */
int gn_recording_stop(struct gn_recording *recording);

/* In a forked child: lets go of the parent's files and mappings, touches no
 * lock. */
void gn_recording_abandon(struct gn_recording *recording);

#endif
