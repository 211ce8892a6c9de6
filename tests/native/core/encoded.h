/* One value as a reader sees it, decoded by hand from its bytes. */
#ifndef ENCODED_H
#define ENCODED_H

#include "check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct encoded {
    uint8_t tag;
    int64_t number; /* of the integer tags */
    const uint8_t *bytes; /* of text and bytes; borrowed */
    size_t length; /* how many of them */
    uint64_t original; /* the length before a cut; `length` if there was none */
    size_t size; /* of the whole value */
};

static inline struct encoded decode(const uint8_t *p)
{
    struct encoded value = {.tag = p[0]};
    switch (p[0]) {
    case 0x03: case 0x04: case 0x05: case 0x06: { /* integer of 1, 2, 4, 8 bytes */
        unsigned width = 1u << (p[0] - 3);
        uint64_t bits = (p[width] & 0x80) != 0 ? UINT64_MAX : 0;
        for (unsigned i = width; i-- > 0;)
            bits = bits << 8 | p[1 + i];
        value.number = (int64_t)bits;
        value.size = 1 + width;
        break;
    }
    case 0x07: case 0x08: case 0x09: /* 8 bytes */
        memcpy(&value.number, p + 1, 8);
        value.size = 9;
        break;
    case 0x17: case 0x20: /* 4 bytes */
        value.number = p[1] | p[2] << 8 | p[3] << 16 | (int64_t)p[4] << 24;
        value.size = 5;
        break;
    case 0x0a: case 0x10: case 0x15: case 0x22: /* u8 length */
        value.length = value.original = p[1];
        value.bytes = p + 2;
        value.size = 2 + value.length;
        break;
    case 0x11: case 0x13: /* u16 length */
        value.length = value.original = (size_t)p[1] | (size_t)p[2] << 8;
        value.bytes = p + 3;
        value.size = 3 + value.length;
        break;
    case 0x12: case 0x14: /* u16 length, u64 original */
        value.length = (size_t)p[1] | (size_t)p[2] << 8;
        memcpy(&value.original, p + 3, 8);
        value.bytes = p + 11;
        value.size = 11 + value.length;
        break;
    default: /* the tag says all */
        value.size = 1;
    }
    return value;
}

/* Calls an encoder, as an expression in `p` and `end`, with every room from none
 * to more than it can need.  Too little room gives NULL; 8 bytes to spare are
 * enough for any of them; whatever the room, nothing past `end` is touched. */
#define CHECK_EVERY_ROOM(encoder)                                                                  \
    do {                                                                                           \
        uint8_t whole[4096], tight[4096];                                                          \
        uint8_t *p = whole;                                                                        \
        const uint8_t *end = whole + sizeof whole;                                                 \
        const uint8_t *after = (encoder);                                                          \
        CHECK(after != NULL);                                                                      \
        size_t needed = (size_t)(after - whole);                                                   \
        for (size_t room = 0; room <= needed + 16; room++) {                                       \
            memset(tight, 0xa5, sizeof tight);                                                     \
            p = tight;                                                                             \
            end = tight + room;                                                                    \
            after = (encoder);                                                                     \
            if (room < needed)                                                                     \
                CHECK(after == NULL);                                                              \
            if (room >= needed + 8)                                                                \
                CHECK(after != NULL);                                                              \
            if (after != NULL) {                                                                   \
                CHECK_EQ(after - tight, needed);                                                   \
                CHECK_EQ(memcmp(tight, whole, needed), 0);                                         \
            }                                                                                      \
            for (size_t i = room; i < sizeof tight; i++)                                           \
                CHECK_EQ(tight[i], 0xa5);                                                          \
        }                                                                                          \
    } while (0)

#endif
