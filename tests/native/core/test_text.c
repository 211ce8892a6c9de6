/* Text of any length and of code points of any width. */
#include "encoded.h"
#include "values.h"

/* Characters of 1, 2, 3 and 4 bytes: "a", e acute, euro, a face, "b". */
static const char mixed[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
                            "b";
static const size_t boundaries[] = {0, 1, 3, 6, 10, 11};

static struct encoded put_utf8(const char *text, size_t length, size_t keep)
{
    static uint8_t bytes[70000];
    const uint8_t *after = gn_put_utf8(bytes, bytes + sizeof bytes, text, length, keep);
    CHECK(after != NULL);
    struct encoded value = decode(bytes);
    CHECK_EQ(after - bytes, value.size);
    return value;
}

static struct encoded put_text(const void *points, unsigned width, size_t length, size_t keep)
{
    static uint8_t bytes[70000];
    const uint8_t *after = gn_put_text(bytes, bytes + sizeof bytes, points, width, length, keep);
    CHECK(after != NULL);
    struct encoded value = decode(bytes);
    CHECK_EQ(after - bytes, value.size);
    return value;
}

#define CHECK_TEXT(value, text)                                                                    \
    do {                                                                                           \
        CHECK_EQ((value).length, sizeof(text) - 1);                                                \
        CHECK_EQ(memcmp((value).bytes, text, sizeof(text) - 1), 0);                                \
    } while (0)

/* The code point that starts at p, by the definition of UTF-8. */
static uint32_t point_of(const uint8_t *p, size_t *size)
{
    if (p[0] < 0x80) {
        *size = 1;
        return p[0];
    }
    *size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint32_t point = p[0] & (0x7fu >> *size);
    for (size_t i = 1; i < *size; i++) {
        CHECK_EQ(p[i] & 0xc0, 0x80);
        point = point << 6 | (p[i] & 0x3fu);
    }
    return point;
}

TEST(utf8_of_255_bytes_has_a_length_of_one_byte)
{
    char text[255];
    memset(text, 'x', sizeof text);
    struct encoded value = put_utf8(text, sizeof text, GN_TEXT_MAX);
    CHECK_EQ(value.tag, 0x10);
    CHECK_EQ(value.length, 255);
}

TEST(utf8_of_256_bytes_has_a_length_of_two_bytes)
{
    char text[256];
    memset(text, 'x', sizeof text);
    struct encoded value = put_utf8(text, sizeof text, GN_TEXT_MAX);
    CHECK_EQ(value.tag, 0x11);
    CHECK_EQ(value.length, 256);
    CHECK_EQ(memcmp(value.bytes, text, sizeof text), 0);
}

TEST(utf8_as_long_as_may_be_kept_is_whole)
{
    char text[GN_TEXT_MAX];
    memset(text, 'x', sizeof text);
    struct encoded value = put_utf8(text, sizeof text, GN_TEXT_MAX);
    CHECK_EQ(value.tag, 0x11);
    CHECK_EQ(value.length, GN_TEXT_MAX);
}

TEST(utf8_a_byte_too_long_is_cut_and_its_length_noted)
{
    char text[GN_TEXT_MAX + 1];
    memset(text, 'x', sizeof text);
    struct encoded value = put_utf8(text, sizeof text, GN_TEXT_MAX);
    CHECK_EQ(value.tag, 0x12);
    CHECK_EQ(value.length, GN_TEXT_MAX);
    CHECK_EQ(value.original, GN_TEXT_MAX + 1);
}

TEST(a_short_text_that_may_not_be_kept_is_cut_too)
{
    struct encoded value = put_utf8("abcdef", 6, 4);
    CHECK_EQ(value.tag, 0x12);
    CHECK_TEXT(value, "abcd");
    CHECK_EQ(value.original, 6);
}

TEST(utf8_is_cut_at_the_last_character_that_fits)
{
    for (size_t keep = 0; keep < sizeof mixed - 1; keep++) {
        size_t fits = 0;
        for (size_t i = 0; i < sizeof boundaries / sizeof boundaries[0]; i++)
            if (boundaries[i] <= keep)
                fits = boundaries[i];
        struct encoded value = put_utf8(mixed, sizeof mixed - 1, keep);
        CHECK_EQ(value.length, fits);
        CHECK_EQ(memcmp(value.bytes, mixed, fits), 0);
    }
}

TEST(text_of_one_byte_points_is_latin_1)
{
    static const uint8_t points[] = {'a', 0x7f, 0x80, 0xe9, 0xff};
    struct encoded value = put_text(points, 1, 5, GN_TEXT_MAX);
    CHECK_EQ(value.tag, 0x11);
    CHECK_TEXT(value, "a\x7f\xc2\x80\xc3\xa9\xc3\xbf");
}

TEST(text_of_two_byte_points_reaches_the_end_of_the_first_plane)
{
    static const uint16_t points[] = {0x7ff, 0x800, 0x20ac, 0xffff};
    struct encoded value = put_text(points, 2, 4, GN_TEXT_MAX);
    CHECK_TEXT(value, "\xdf\xbf\xe0\xa0\x80\xe2\x82\xac\xef\xbf\xbf");
}

TEST(text_of_four_byte_points_reaches_the_last_plane)
{
    static const uint32_t points[] = {0x10000, 0x1f600, 0x10ffff, 'z'};
    struct encoded value = put_text(points, 4, 4, GN_TEXT_MAX);
    CHECK_TEXT(value, "\xf0\x90\x80\x80\xf0\x9f\x98\x80\xf4\x8f\xbf\xbfz");
}

TEST(a_lone_surrogate_is_three_bytes_of_its_own)
{
    /* A pair of them is two points here, as in the program: never joined. */
    static const uint16_t points[] = {0xd83d, 0xde00, 'x', 0xd800, 0xdfff};
    struct encoded value = put_text(points, 2, 5, GN_TEXT_MAX);
    CHECK_TEXT(value, "\xed\xa0\xbd\xed\xb8\x80x\xed\xa0\x80\xed\xbf\xbf");
}

TEST(every_code_point_comes_back)
{
    uint8_t bytes[16];
    for (uint32_t point = 0; point < 0x110000; point++) {
        const uint8_t *after = gn_put_text(bytes, bytes + sizeof bytes, &point, 4, 1, 4);
        size_t size;
        CHECK_EQ(point_of(bytes + 3, &size), point);
        CHECK_EQ(after - bytes, 3 + size);
        CHECK_EQ(bytes[1], size);
    }
}

TEST(text_is_cut_between_points_and_counts_the_points_of_the_original)
{
    static const uint32_t points[] = {'a', 0xe9, 0x20ac, 0x1f600, 'b'};
    for (size_t keep = 0; keep < sizeof mixed - 1; keep++) {
        size_t fits = 0;
        for (size_t i = 0; i < sizeof boundaries / sizeof boundaries[0]; i++)
            if (boundaries[i] <= keep)
                fits = boundaries[i];
        struct encoded value = put_text(points, 4, 5, keep);
        CHECK_EQ(value.tag, 0x12);
        CHECK_EQ(value.length, fits);
        CHECK_EQ(memcmp(value.bytes, mixed, fits), 0);
        CHECK_EQ(value.original, 5);
    }
}

TEST(empty_text_is_a_text)
{
    CHECK_EQ(put_utf8("", 0, GN_TEXT_MAX).tag, 0x10);
    CHECK_EQ(put_utf8("", 0, GN_TEXT_MAX).length, 0);
    CHECK_EQ(put_text("", 1, 0, GN_TEXT_MAX).tag, 0x11);
    CHECK_EQ(put_text("", 1, 0, GN_TEXT_MAX).length, 0);
}

TEST(no_utf8_is_written_past_the_end_of_the_room)
{
    char text[1500];
    memset(text, 'x', sizeof text);
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, 0, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, 20, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, 20, 10));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, 255, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, 256, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, text, sizeof text, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_utf8(p, end, mixed, sizeof mixed - 1, 8));
}

TEST(no_text_is_written_past_the_end_of_the_room)
{
    static const uint32_t points[] = {'a', 0xe9, 0x20ac, 0x1f600, 'b'};
    static const uint16_t halves[] = {0xd83d, 0x7ff, 0x80};
    CHECK_EVERY_ROOM(gn_put_text(p, end, points, 4, 0, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_text(p, end, points, 4, 5, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_text(p, end, points, 4, 5, 9));
    CHECK_EVERY_ROOM(gn_put_text(p, end, halves, 2, 3, GN_TEXT_MAX));
    CHECK_EVERY_ROOM(gn_put_text(p, end, "caf\xe9", 1, 4, GN_TEXT_MAX));
}
