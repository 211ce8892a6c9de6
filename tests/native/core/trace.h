/* A second, independent reading of the format: byte offsets written out here and
 * nothing shared with record.h, so that a change of the layout is noticed.
 *
 * What can never be right in a file (a wrong magic, a fragment that does not
 * join the one before it, records that do not tile their fragment) fails the
 * test at once.  What may be right in some test is counted. */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_ROOM 65472u /* 64 KiB less the header */
#define STATE_SITE 0x7fffff01u /* a record that is no event */

struct record {
    uint64_t seq, tick;
    uint64_t serial; /* of its chunk */
    const uint8_t *values; /* borrowed from the trace */
    uint32_t thread, site;
    uint32_t size; /* of the whole record */
};

/* A chunk as its fragments told it so far. */
struct joined {
    bool seen;
    uint32_t thread, end, dropped, correlation, fragments;
    uint64_t first_seq, base_tick, span;
    uint64_t next_seq, tick;
};

struct strand { /* a thread or a stream */
    bool seen;
    uint64_t next_seq, tick;
};

struct trace {
    struct record *records; /* owned; in the order of the files */
    size_t count, room;
    struct joined *chunks; /* owned; by serial */
    size_t chunk_room;
    struct strand *strands; /* owned; by thread number */
    size_t strand_room;
    uint8_t *files[64]; /* owned contents */
    unsigned file_count;
    unsigned segments, fragments, clock_points;
    uint64_t last_clock_tick;
    unsigned gaps; /* chunks that do not go on where their thread's last one ended */
    size_t torn; /* bytes of a last block that is not whole, all segments together */
    uint64_t segment_bytes;
    uint64_t dropped; /* sum over the chunks */
    uint32_t write_error; /* of the ring */
    uint64_t ring_dropped, ring_forgotten;
};

/* Reads `<prefix>.000.seg`, `.001.seg` …; of a recording that goes on, only as
 * long as it writes its first segment. */
void trace_read(struct trace *trace, int dir_fd, const char *prefix);

/* Adds what the ring file holds and the segments do not.  False if there is no
 * such file, or none that was ready for use. */
bool trace_add_ring(struct trace *trace, int dir_fd, const char *name);

void trace_free(struct trace *trace);

/* The records of one thread; the n-th is at [n] if there are no gaps.  Free it. */
struct record *trace_thread(const struct trace *trace, uint32_t thread, size_t *count);

const struct joined *trace_chunk(const struct trace *trace, uint64_t serial);

/* The first value of a record, an unsigned 64-bit integer. */
uint64_t number_of(const struct record *record);

#endif
