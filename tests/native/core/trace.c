#include "trace.h"
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_HEADER 64u
#define CHUNK_HEADER 64u
#define CLOCK_POINT 32u
#define PAGE 4096u
#define CHUNK 65536u
#define CHUNK_MAGIC 0x43544e47u
#define CLOCK_MAGIC 0x4b544e47u

static uint32_t u32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}

static uint64_t u64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

/* Room for item `index` of an array; what is new is zero. */
static void *reach(void *items, size_t *room, size_t index, size_t size)
{
    if (index < *room)
        return items;
    size_t bigger = *room * 2 > index + 1 ? *room * 2 : index + 64;
    items = realloc(items, bigger * size);
    CHECK(items != NULL);
    memset((uint8_t *)items + *room * size, 0, (bigger - *room) * size);
    *room = bigger;
    return items;
}

static uint8_t *load(struct trace *trace, int dir_fd, const char *name, size_t *length)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct stat facts;
    CHECK_EQ(fstat(fd, &facts), 0);
    uint8_t *bytes = malloc((size_t)facts.st_size + 1);
    CHECK(bytes != NULL);
    *length = 0;
    ssize_t got;
    while ((got = read(fd, bytes + *length, (size_t)facts.st_size - *length)) > 0)
        *length += (size_t)got;
    CHECK_EQ(got, 0);
    CHECK_EQ(close(fd), 0);
    CHECK(trace->file_count < sizeof trace->files / sizeof trace->files[0]);
    trace->files[trace->file_count++] = bytes;
    return bytes;
}

static void take_record(struct trace *trace, uint64_t serial, const uint8_t *p, uint32_t size)
{
    struct joined *chunk = &trace->chunks[serial];
    uint32_t delta = u32(p);
    uint32_t head = 10;
    if (delta == 0xffffffffu) {
        head = 18;
        CHECK(size >= head);
        CHECK(u64(p + 10) > chunk->tick);
        chunk->tick = u64(p + 10);
    } else {
        chunk->tick += delta;
    }
    trace->records = reach(trace->records, &trace->room, trace->count, sizeof *trace->records);
    trace->records[trace->count++] = (struct record){
        .seq = u32(p + 4) == STATE_SITE ? chunk->next_seq : chunk->next_seq++,
        .tick = chunk->tick,
        .serial = serial,
        .values = p + head,
        .thread = chunk->thread,
        .site = u32(p + 4),
        .size = size,
    };
}

static void begin_chunk(struct trace *trace, struct joined *chunk, const uint8_t *header)
{
    *chunk = (struct joined){
        .seen = true,
        .thread = u32(header + 4),
        .first_seq = u64(header + 16),
        .base_tick = u64(header + 24),
        .span = u64(header + 32),
        .correlation = u32(header + 40),
        .dropped = u32(header + 44),
    };
    chunk->next_seq = chunk->first_seq;
    chunk->tick = chunk->base_tick;
    trace->dropped += chunk->dropped;
    trace->strands =
        reach(trace->strands, &trace->strand_room, chunk->thread, sizeof *trace->strands);
    const struct strand *strand = &trace->strands[chunk->thread];
    if (strand->next_seq != chunk->first_seq)
        trace->gaps++;
    else if (strand->seen)
        CHECK_EQ(chunk->base_tick, strand->tick);
}

/* Takes the records from byte `from` to `to` of a chunk; `data` is byte `from`. */
static void take_fragment(struct trace *trace, const uint8_t *header, const uint8_t *data,
                          uint32_t from, uint32_t to)
{
    uint64_t serial = u64(header + 8);
    CHECK(serial > 0);
    CHECK(to <= CHUNK_ROOM);
    trace->chunks = reach(trace->chunks, &trace->chunk_room, serial, sizeof *trace->chunks);
    struct joined *chunk = &trace->chunks[serial];
    if (!chunk->seen)
        begin_chunk(trace, chunk, header);
    /* Fragments of one chunk tell the same story and join end to end. */
    CHECK_EQ(from, chunk->end);
    CHECK_EQ(u32(header + 4), chunk->thread);
    CHECK_EQ(u64(header + 16), chunk->first_seq);
    CHECK_EQ(u64(header + 24), chunk->base_tick);
    CHECK_EQ(u32(header + 44), chunk->dropped);
    chunk->end = to;
    chunk->fragments++;
    for (uint32_t at = from; at < to;) {
        const uint8_t *p = data + (at - from);
        CHECK(to - at >= 10);
        uint32_t size = p[8] | (uint32_t)p[9] << 8;
        CHECK(size >= 10);
        CHECK(size <= to - at);
        take_record(trace, serial, p, size);
        at += size;
    }
    trace->strands[chunk->thread] = (struct strand){true, chunk->next_seq, chunk->tick};
}

static void take_segment(struct trace *trace, const uint8_t *bytes, size_t length)
{
    size_t at = FILE_HEADER;
    while (at < length) {
        const uint8_t *p = bytes + at;
        size_t left = length - at, size = 0;
        if (left >= 4 && u32(p) == CLOCK_MAGIC) {
            size = CLOCK_POINT;
            if (left >= size) {
                CHECK(u64(p + 8) >= trace->last_clock_tick);
                trace->last_clock_tick = u64(p + 8);
                trace->clock_points++;
            }
        } else if (left >= CHUNK_HEADER) {
            CHECK_EQ(u32(p), CHUNK_MAGIC);
            uint32_t to = u32(p + 48), from = u32(p + 52);
            CHECK(from <= to);
            size = CHUNK_HEADER + (to - from);
            if (left >= size) {
                take_fragment(trace, p, p + CHUNK_HEADER, from, to);
                trace->fragments++;
            }
        }
        if (size == 0 || left < size) {
            trace->torn += left;
            return;
        }
        at += size;
    }
}

void trace_read(struct trace *trace, int dir_fd, const char *prefix)
{
    memset(trace, 0, sizeof *trace);
    for (;;) {
        char name[256];
        size_t length;
        (void)snprintf(name, sizeof name, "%s.%03u.seg", prefix, trace->segments);
        const uint8_t *bytes = load(trace, dir_fd, name, &length);
        if (bytes == NULL)
            return;
        if (length < FILE_HEADER) { /* killed while it made the file */
            trace->torn += length;
        } else {
            CHECK_EQ(memcmp(bytes, "GNTSEGM1", 8), 0);
            CHECK_EQ(u32(bytes + 8), 1); /* version */
            CHECK_EQ(u32(bytes + 32), CHUNK);
            CHECK_EQ(u32(bytes + 36), trace->segments);
            take_segment(trace, bytes, length);
        }
        trace->segments++;
        trace->segment_bytes += length;
    }
}

static int by_serial(const void *a, const void *b)
{
    uint64_t left = u64(*(const uint8_t *const *)a + 8);
    uint64_t right = u64(*(const uint8_t *const *)b + 8);
    return (left > right) - (left < right);
}

bool trace_add_ring(struct trace *trace, int dir_fd, const char *name)
{
    size_t length;
    const uint8_t *bytes = load(trace, dir_fd, name, &length);
    if (bytes == NULL || length < PAGE || memcmp(bytes, "GNTRING1", 8) != 0)
        return false;
    trace->write_error = u32(bytes + 68);
    trace->ring_dropped = u64(bytes + 72);
    trace->ring_forgotten = u64(bytes + 144);
    size_t slots = (length - PAGE) / CHUNK, count = 0;
    CHECK(u32(bytes + 64) <= slots);
    const uint8_t **chunks = malloc((slots + 1) * sizeof *chunks);
    CHECK(chunks != NULL);
    for (size_t i = 0; i < slots; i++) {
        const uint8_t *header = bytes + PAGE + i * CHUNK;
        if (u32(header) == CHUNK_MAGIC)
            chunks[count++] = header;
    }
    qsort(chunks, count, sizeof *chunks, by_serial);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *header = chunks[i];
        uint64_t serial = u64(header + 8);
        const struct joined *chunk = trace_chunk(trace, serial);
        uint32_t from = chunk != NULL ? chunk->end : 0, to = u32(header + 48);
        CHECK(i == 0 || serial > u64(chunks[i - 1] + 8)); /* no serial twice */
        CHECK(u32(header + 52) <= from); /* what the drain calls written is in a segment */
        CHECK(from <= to);
        take_fragment(trace, header, header + CHUNK_HEADER + from, from, to);
    }
    free(chunks);
    return true;
}

void trace_free(struct trace *trace)
{
    for (unsigned i = 0; i < trace->file_count; i++)
        free(trace->files[i]);
    free(trace->records);
    free(trace->chunks);
    free(trace->strands);
    memset(trace, 0, sizeof *trace);
}

struct record *trace_thread(const struct trace *trace, uint32_t thread, size_t *count)
{
    struct record *found = malloc((trace->count + 1) * sizeof *found);
    CHECK(found != NULL);
    *count = 0;
    for (size_t i = 0; i < trace->count; i++)
        if (trace->records[i].thread == thread)
            found[(*count)++] = trace->records[i];
    return found;
}

const struct joined *trace_chunk(const struct trace *trace, uint64_t serial)
{
    return serial < trace->chunk_room && trace->chunks[serial].seen ? &trace->chunks[serial] : NULL;
}

uint64_t number_of(const struct record *record)
{
    CHECK_EQ(record->values[0], 0x07);
    return u64(record->values + 1);
}
