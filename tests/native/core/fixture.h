/* What the tests of the ring and the drain stand on: a directory of their own,
 * records of a known size, and a disk that is full on command. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "recording.h"
#include "trace.h"

#include <sys/resource.h>
#include <sys/types.h>

/* Every record begins with a number, a u64, so that sizes are known exactly. */
#define EVENT_SIZE (GN_RECORD_HEAD + 9u)
#define PADDED_SIZE(padding) (EVENT_SIZE + 3u + (padding))
/* What a writer asks for: a record whose delta is wide. */
#define ROOM_FOR(size) ((size) + GN_RECORD_HEAD_WIDE - GN_RECORD_HEAD)
/* How many records of one size fit into a chunk. */
#define PER_CHUNK(size) ((GN_CHUNK_ROOM - ROOM_FOR(size)) / (size) + 1u)

/* A padding that makes 16 records fill a chunk. */
#define FAT 4000u
#define FAT_PER_CHUNK 16u

#define SITE 7u

struct place {
    char path[256];
    int fd; /* owned */
};

void place_make(struct place *place);
void place_remove(struct place *place); /* with all files in it */
off_t place_size(const struct place *place, const char *name); /* -1 if there is no such file */

/* A ring `t.ring` without a drain, in a place of its own. */
struct bare_ring {
    struct place place;
    struct gn_ring ring;
};
void bare_ring_make(struct bare_ring *bare, uint32_t chunks, enum gn_mode mode,
                    enum gn_on_full on_full);
void bare_ring_remove(struct bare_ring *bare);

/* A recording with the prefix `t`, in a place of its own. */
struct taping {
    struct place place;
    struct gn_recording recording;
};
void taping_start(struct taping *taping, uint32_t chunks, enum gn_mode mode,
                  enum gn_on_full on_full);
void taping_end(struct taping *taping); /* close and stop, which must succeed */
void taping_remove(struct taping *taping);

/* One record, or what the ring answered: one try, waiting and dropping as a
 * traced thread does. */
enum gn_result try_event(struct gn_writer *writer, uint64_t number, uint32_t padding);
enum gn_result put_event(struct gn_writer *writer, uint64_t number, uint32_t padding);

/* Records the numbers from `first` on until the ring refuses one; returns how
 * many it took. */
uint64_t fill(struct gn_writer *writer, uint64_t first, uint32_t padding, enum gn_result *refusal);

/* Puts a record with one number into a stream. */
enum gn_result put_stream(struct gn_recording *recording, uint32_t stream, uint64_t number);

/* From here on no file of this process can become longer than `bytes`: a write
 * stops there, as on a full disk.  RLIM_INFINITY ends it. */
void limit_files(rlim_t bytes);

void sleep_us(unsigned us);

/* A small pseudo-random generator; the sequence is the same in each run. */
uint32_t dice(uint32_t *state);

#endif
