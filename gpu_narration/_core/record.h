/* The bytes that a traced thread writes and the reader understands.
 *
 * One layout serves both places a record can lie: a chunk of the ring file
 * (shared mapping, survives the process) and a fragment of a segment file
 * (append only).  docs/format.md is the same text for readers in other
 * languages; tracefile/format.py is its Python twin.  Little endian, unaligned.
 *
 *   chunk / fragment   struct gn_chunk_header (64 bytes), then records
 *   record             u32 delta   ticks since the previous record of this thread
 *                                  (GN_DELTA_WIDE: a u64 absolute tick follows
 *                                  the size field)
 *                      u32 site    call-site id, or a GN_SYS_* id;
 *                                  GN_SITE_EXIT set: the end of a span
 *                      u16 size    whole record in bytes
 *                      values      each one tag byte and its data
 *
 * Example, trace_tiny with the arguments 5 and 100 at site 3, 700 ticks after
 * the record before it:
 *   bc 02 00 00  03 00 00 00  0e 00  03 05  03 64
 *
 * Invariants shared with the reader:
 *   - the n-th event of a thread has sequence number n, and its event id is
 *     gn_event_id(thread, n); ids are never written, except to refer to another;
 *     a GN_SYS_STATE record is no event and takes no number
 *   - after a span's first record the thread's current span is that span; after
 *     its exit record, if it was current, its parent; GN_SYS_STATE overrides
 *   - a string or site is defined in stream GN_STREAM_DEFINITIONS before the
 *     first record that names it is committed
 */
#ifndef GN_RECORD_H
#define GN_RECORD_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define GN_FORMAT_VERSION 1u

#define GN_RING_MAGIC "GNTRING1"
#define GN_SEGMENT_MAGIC "GNTSEGM1"
#define GN_CHUNK_MAGIC 0x43544e47u /* "GNTC" */
#define GN_CLOCK_MAGIC 0x4b544e47u /* "GNTK" */

#define GN_PAGE 4096u
#define GN_CHUNK_SIZE (64u * 1024u)
#define GN_CHUNK_ROOM (GN_CHUNK_SIZE - (uint32_t)sizeof(struct gn_chunk_header))

/* A record of a trace call fits GN_RECORD_MAX; definitions and narrations may
 * take up to GN_RECORD_BIG. */
#define GN_RECORD_MAX 4096u
#define GN_RECORD_BIG 24576u
#define GN_RECORD_HEAD 10u
#define GN_RECORD_HEAD_WIDE 18u
#define GN_DELTA_WIDE UINT32_MAX

#define GN_SITE_EXIT 0x80000000u
enum {
    GN_SYS_STATE = 0x7fffff01, /* span u64, correlation string id: current from here on */
    GN_SYS_STRING = 0x7fffff02, /* string id, text, of a correlation then named values */
    GN_SYS_SITE = 0x7fffff03, /* site id, kind, level, dynamic mask, module, 4 names, params… */
    GN_SYS_THREAD = 0x7fffff04, /* thread number, OS thread id, name */
    GN_SYS_NOTE = 0x7fffff05, /* topic, then key/value pairs: process, filter, errors, end */
    GN_SYS_ANNOTATE = 0x7fffff06, /* event id it belongs to, then key/value pairs */
};

/* Streams are thread numbers.  The first two belong to no single thread. */
enum { GN_STREAM_DEFINITIONS = 0, GN_STREAM_ANNOTATIONS = 1, GN_STREAM_FIRST_THREAD = 2 };

/* Value tags. */
enum gn_tag {
    GN_NONE = 0x00,
    GN_FALSE = 0x01,
    GN_TRUE = 0x02,
    GN_I8 = 0x03, /* GN_I8 + k: signed integer of 1 << k bytes */
    GN_I16 = 0x04,
    GN_I32 = 0x05,
    GN_I64 = 0x06,
    GN_U64 = 0x07,
    GN_POINTER = 0x08, /* u64, shown in hex */
    GN_F64 = 0x09,
    GN_BIGINT = 0x0a, /* u8 length, two's complement, little endian */
    GN_STR8 = 0x10, /* u8 length, UTF-8 (lone surrogates as WTF-8) */
    GN_STR16 = 0x11, /* u16 length */
    GN_STRCUT = 0x12, /* u16 kept, u64 characters in the original */
    GN_BYTES16 = 0x13, /* u16 length */
    GN_BYTESCUT = 0x14, /* u16 kept, u64 original */
    GN_OBJECT = 0x15, /* u8 length, a summary made when recorded */
    GN_MASKED = 0x16,
    GN_STRREF = 0x17, /* u32 string id */
    GN_ABSENT = 0x18, /* no value here: a parameter without a default */
    GN_KEY = 0x20, /* u32 string id; names the value after it */
    GN_PARAM = 0x21, /* u8 index into the site's parameters; names the value after it */
    GN_NAME = 0x22, /* u8 length, UTF-8; names the value after it */
    GN_CUT = 0x2f, /* u16 count of values left out: the record was full */
};

/* Leads a chunk in the ring and a fragment in a segment.  In the ring, `offset`
 * is what the drain has written out and `committed` what the thread has made
 * valid; in a segment they are the fragment's first and last byte in its chunk,
 * so fragments of one chunk join end to end and nothing is counted twice. */
struct gn_chunk_header {
    _Atomic uint32_t magic; /* GN_CHUNK_MAGIC while it holds records, else 0 */
    uint32_t thread; /* stream number */
    uint64_t serial; /* of this chunk in this process, from 1, never reused */
    uint64_t first_seq; /* sequence number of the first event */
    uint64_t base_tick; /* the first record's delta counts from here */
    uint64_t span; /* current span of the thread before the first record, 0 none */
    uint32_t correlation; /* string id current before the first record, 0 none */
    uint32_t dropped; /* events of this thread lost right before the first record */
    _Atomic uint32_t committed; /* bytes */
    _Atomic uint32_t offset; /* bytes */
    uint64_t reserved;
};
_Static_assert(sizeof(struct gn_chunk_header) == 64, "the header is part of the format");

/* One reading of the three clocks, as close together as can be had. */
struct gn_clock_point {
    uint32_t magic; /* GN_CLOCK_MAGIC */
    uint32_t spread; /* ticks between the reads on both sides: the error bound */
    uint64_t tick;
    uint64_t monotonic_ns; /* CLOCK_MONOTONIC */
    uint64_t realtime_ns; /* CLOCK_REALTIME, since 1970 */
};
_Static_assert(sizeof(struct gn_clock_point) == 32, "the clock point is part of the format");

/* What a call site is.  The four names mean, in this order:
 *   most kinds    actor, action, target, human
 *   ENTER, EXIT   actor, -, function, template of the arguments or the result
 *   LOOP          actor, action, -, detail; the values begin with index and total
 *   STATE         actor, transition, state name, human
 *   CORRELATED    the values begin with the correlation id
 *   FUNCTION      actor, function name, -, -; the values are the arguments
 *   FOREIGN       actor, symbol, -, -; the values are the arguments
 *   NARRATION     as most; the values begin with two unnamed texts, whose it is and
 *                 where in the source; both or neither
 * A name whose bit is set in the site's dynamic mask is not in the definition
 * but leads the values of each record, in order. */
enum gn_kind {
    GN_KIND_TINY = 1,
    GN_KIND_CORRELATED = 2,
    GN_KIND_ENTER = 3,
    GN_KIND_EXIT = 4,
    GN_KIND_LOOP = 5,
    GN_KIND_STATE = 6,
    GN_KIND_SPAN = 7,
    GN_KIND_FUNCTION = 8,
    GN_KIND_FOREIGN = 9,
    GN_KIND_NARRATION = 10,
    GN_KIND_LAUNCH = 11,
    GN_KIND_VRAM = 12,
};

enum gn_level {
    GN_LEVEL_MUTE = 0,
    GN_LEVEL_TRACE = 1,
    GN_LEVEL_DEBUG = 2,
    GN_LEVEL_INFO = 3,
    GN_LEVEL_WARN = 4,
    GN_LEVEL_ERROR = 5,
    GN_LEVEL_FATAL = 6,
};

/* How a span ended; first value of an exit record, an integer.  After it come
 * the span's event id and its length in ticks, then the result, or the error's
 * type and text. */
enum gn_outcome {
    GN_OUTCOME_OK = 0,
    GN_OUTCOME_ERROR = 1,
    GN_OUTCOME_CANCELLED = 2, /* asyncio.CancelledError went through */
    GN_OUTCOME_CLOSED = 3, /* a generator or coroutine closed before its end */
};

enum gn_clock_source { GN_CLOCK_MONOTONIC = 0, GN_CLOCK_TSC = 1, GN_CLOCK_CNTVCT = 2 };
enum gn_mode { GN_MODE_STREAM = 0, GN_MODE_FLIGHT = 1 };

/* Leads a segment file; the first 64 bytes of a ring file are the same. */
struct gn_file_header {
    char magic[8];
    uint32_t version;
    uint32_t clock_source; /* enum gn_clock_source */
    uint32_t pid;
    uint32_t mode; /* enum gn_mode */
    uint64_t start_realtime_ns; /* with pid, names the process within its trace */
    uint32_t chunk_size;
    uint32_t segment; /* number of the segment, 0 in a ring file */
    uint8_t reserved[24];
};
_Static_assert(sizeof(struct gn_file_header) == 64, "the file header is part of the format");

/* Page 0 of the ring file; chunk i starts at GN_PAGE + i * chunk_size. */
struct gn_ring_header {
    struct gn_file_header file;
    _Atomic uint32_t chunks; /* in the file now; grows */
    _Atomic uint32_t write_error; /* errno of the drain's last failed write, 0 none */
    _Atomic uint64_t dropped; /* events lost by all threads so far */
    struct gn_clock_point first_clock;
    struct gn_clock_point last_clock; /* with first_clock: the tick rate, if we die now */
    _Atomic uint64_t forgotten; /* events that a flight recorder wrote over unwritten */
};

static inline int64_t gn_event_id(uint32_t thread, uint64_t seq)
{
    return (int64_t)(((uint64_t)thread << 40) | (seq & 0xffffffffffull));
}

#endif
