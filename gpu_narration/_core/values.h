/* Encoders of single values.  Each takes the place to write and the end of the
 * room, and returns the place after the value, or NULL if it does not fit. */
#ifndef GN_VALUES_H
#define GN_VALUES_H

#include "record.h"

#include <stdbool.h>
#include <stddef.h>

/* Strings and bytes are kept up to this length; the original length is noted. */
#define GN_TEXT_MAX 1024u

static inline uint8_t *gn_put_tag(uint8_t *p, const uint8_t *end, enum gn_tag tag)
{
    if (end - p < 1)
        return NULL;
    *p = (uint8_t)tag;
    return p + 1;
}

/* Writes 8 bytes and keeps 1, 2, 4 or 8: no branch on the size. */
static inline uint8_t *gn_put_int_unchecked(uint8_t *p, int64_t value)
{
    unsigned width = (unsigned)(value != (int8_t)value) + (unsigned)(value != (int16_t)value) +
                     (unsigned)(value != (int32_t)value);
    *p = (uint8_t)(GN_I8 + width);
    memcpy(p + 1, &value, 8);
    return p + 1 + (1u << width);
}

static inline uint8_t *gn_put_int(uint8_t *p, const uint8_t *end, int64_t value)
{
    return end - p < 9 ? NULL : gn_put_int_unchecked(p, value);
}

/* memcpy for up to 255 bytes, most often few: two copies that may overlap. */
static inline void gn_copy_short(uint8_t *to, const uint8_t *from, size_t length)
{
    if (length > 32) {
        memcpy(to, from, length);
    } else if (length >= 16) {
        memcpy(to, from, 16);
        memcpy(to + length - 16, from + length - 16, 16);
    } else if (length >= 8) {
        memcpy(to, from, 8);
        memcpy(to + length - 8, from + length - 8, 8);
    } else if (length >= 4) {
        memcpy(to, from, 4);
        memcpy(to + length - 4, from + length - 4, 4);
    } else {
        for (size_t i = 0; i < length; i++)
            to[i] = from[i];
    }
}

static inline uint8_t *gn_put_wide(uint8_t *p, const uint8_t *end, enum gn_tag tag, uint64_t bits)
{
    if (end - p < 9)
        return NULL;
    *p = (uint8_t)tag;
    memcpy(p + 1, &bits, 8);
    return p + 9;
}

static inline uint8_t *gn_put_double(uint8_t *p, const uint8_t *end, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return gn_put_wide(p, end, GN_F64, bits);
}

static inline uint8_t *gn_put_ref(uint8_t *p, const uint8_t *end, enum gn_tag tag, uint32_t id)
{
    if (end - p < 5)
        return NULL;
    *p = (uint8_t)tag;
    memcpy(p + 1, &id, 4);
    return p + 5;
}

/* `tag` is GN_NAME, GN_OBJECT, GN_BIGINT or GN_STR8; cut at 255 bytes. */
static inline uint8_t *gn_put_short(uint8_t *p, const uint8_t *end, enum gn_tag tag,
                                    const void *bytes, size_t length)
{
    if (length > 255)
        length = 255;
    if ((size_t)(end - p) < 2 + length)
        return NULL;
    p[0] = (uint8_t)tag;
    p[1] = (uint8_t)length;
    memcpy(p + 2, bytes, length);
    return p + 2 + length;
}

/* The longest prefix of at most `limit` bytes that ends between characters. */
size_t gn_utf8_prefix(const char *text, size_t length, size_t limit);

/* UTF-8 text; whole if it is at most `keep` bytes (keep < 65536).  A cut notes
 * `length`, which counts characters only where all are ASCII: give it no other. */
uint8_t *gn_put_utf8(uint8_t *p, const uint8_t *end, const char *text, size_t length, size_t keep);

/* Text of 1, 2 or 4 byte code points, as UTF-8 of at most `keep` bytes. */
uint8_t *gn_put_text(uint8_t *p, const uint8_t *end, const void *points, unsigned width,
                     size_t length, size_t keep);

uint8_t *gn_put_bytes(uint8_t *p, const uint8_t *end, const void *bytes, size_t length);

#endif
