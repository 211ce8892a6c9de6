#include "values.h"

static uint8_t *put_head(uint8_t *p, enum gn_tag tag, size_t kept, uint64_t original)
{
    uint16_t kept16 = (uint16_t)kept;
    *p = (uint8_t)tag;
    memcpy(p + 1, &kept16, 2);
    if (tag == GN_STRCUT || tag == GN_BYTESCUT) {
        memcpy(p + 3, &original, 8);
        return p + 11;
    }
    return p + 3;
}

size_t gn_utf8_prefix(const char *text, size_t length, size_t limit)
{
    if (length <= limit)
        return length;
    while (limit > 0 && ((uint8_t)text[limit] & 0xc0u) == 0x80u)
        limit--;
    return limit;
}

uint8_t *gn_put_utf8(uint8_t *p, const uint8_t *end, const char *text, size_t length, size_t keep)
{
    if (length <= 255 && length <= keep)
        return gn_put_short(p, end, GN_STR8, text, length);
    size_t kept = gn_utf8_prefix(text, length, keep);
    if ((size_t)(end - p) < 11 + kept)
        return NULL;
    p = put_head(p, kept == length ? GN_STR16 : GN_STRCUT, kept, length);
    memcpy(p, text, kept);
    return p + kept;
}

static uint32_t point_at(const void *points, unsigned width, size_t i)
{
    if (width == 1)
        return ((const uint8_t *)points)[i];
    if (width == 2)
        return ((const uint16_t *)points)[i];
    return ((const uint32_t *)points)[i];
}

static unsigned utf8_size(uint32_t point)
{
    return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

static uint8_t *put_point(uint8_t *p, uint32_t point)
{
    unsigned size = utf8_size(point);
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (size == 1) {
        *p = (uint8_t)point;
        return p + 1;
    }
    for (unsigned i = size; i-- > 1; point >>= 6)
        p[i] = (uint8_t)(0x80u | (point & 0x3fu));
    p[0] = (uint8_t)(lead[size] | point);
    return p + size;
}

uint8_t *gn_put_text(uint8_t *p, const uint8_t *end, const void *points, unsigned width,
                     size_t length, size_t keep)
{
    size_t kept = 0, bytes = 0;
    while (kept < length) {
        unsigned size = utf8_size(point_at(points, width, kept));
        if (bytes + size > keep)
            break;
        bytes += size;
        kept++;
    }
    if ((size_t)(end - p) < 11 + bytes)
        return NULL;
    p = put_head(p, kept == length ? GN_STR16 : GN_STRCUT, bytes, length);
    for (size_t i = 0; i < kept; i++)
        p = put_point(p, point_at(points, width, i));
    return p;
}

uint8_t *gn_put_bytes(uint8_t *p, const uint8_t *end, const void *bytes, size_t length)
{
    size_t kept = length < GN_TEXT_MAX ? length : GN_TEXT_MAX;
    if ((size_t)(end - p) < 11 + kept)
        return NULL;
    p = put_head(p, kept == length ? GN_BYTES16 : GN_BYTESCUT, kept, length);
    memcpy(p, bytes, kept);
    return p + kept;
}
