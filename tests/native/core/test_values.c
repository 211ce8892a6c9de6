/* Numbers, references and short texts. */
#include "encoded.h"
#include "values.h"

static void check_integer(int64_t number, size_t width)
{
    uint8_t bytes[16];
    const uint8_t *after = gn_put_int(bytes, bytes + sizeof bytes, number);
    struct encoded value = decode(bytes);
    CHECK_EQ(value.number, number);
    CHECK_EQ(value.size, 1 + width);
    CHECK_EQ(after - bytes, 1 + width);
}

TEST(an_integer_of_8_bits_takes_one_byte)
{
    check_integer(0, 1);
    check_integer(-1, 1);
    check_integer(127, 1);
    check_integer(-128, 1);
}

TEST(an_integer_of_16_bits_takes_two_bytes)
{
    check_integer(128, 2);
    check_integer(-129, 2);
    check_integer(INT16_MAX, 2);
    check_integer(INT16_MIN, 2);
}

TEST(an_integer_of_32_bits_takes_four_bytes)
{
    check_integer(INT16_MAX + 1, 4);
    check_integer(INT16_MIN - 1, 4);
    check_integer(INT32_MAX, 4);
    check_integer(INT32_MIN, 4);
}

TEST(an_integer_of_64_bits_takes_eight_bytes)
{
    check_integer((int64_t)INT32_MAX + 1, 8);
    check_integer((int64_t)INT32_MIN - 1, 8);
    check_integer(INT64_MAX, 8);
    check_integer(INT64_MIN, 8);
}

TEST(every_power_of_two_and_its_neighbours_come_back)
{
    for (unsigned bit = 0; bit < 63; bit++) {
        for (int64_t near = -1; near <= 1; near++) {
            int64_t number = ((int64_t)1 << bit) + near;
            size_t width = number > INT32_MAX ? 8 : number > INT16_MAX ? 4 : number > 127 ? 2 : 1;
            check_integer(number, width);
            check_integer(-number, -number < INT32_MIN ? 8
                                   : -number < INT16_MIN ? 4
                                   : -number < -128 ? 2 : 1);
        }
    }
}

TEST(an_unsigned_integer_keeps_all_64_bits)
{
    uint8_t bytes[16];
    CHECK(gn_put_wide(bytes, bytes + sizeof bytes, GN_U64, UINT64_MAX) == bytes + 9);
    CHECK_EQ(decode(bytes).tag, 0x07);
    CHECK_EQ(decode(bytes).number, -1);
}

TEST(a_pointer_is_tagged_as_one)
{
    uint8_t bytes[16];
    CHECK(gn_put_wide(bytes, bytes + sizeof bytes, GN_POINTER, 0x7f00deadbeefu) == bytes + 9);
    CHECK_EQ(decode(bytes).tag, 0x08);
    CHECK_EQ(decode(bytes).number, 0x7f00deadbeef);
}

TEST(a_double_keeps_its_bits)
{
    /* GIVEN a quiet NaN with a payload, which a conversion would lose */
    const uint64_t bits = 0x7ff8000000001234u;
    double number;
    memcpy(&number, &bits, 8);
    uint8_t bytes[16];
    /* WHEN it is encoded */
    CHECK(gn_put_double(bytes, bytes + sizeof bytes, number) == bytes + 9);
    /* THEN all bits are there */
    CHECK_EQ(decode(bytes).tag, 0x09);
    CHECK_EQ(decode(bytes).number, bits);
}

TEST(a_reference_is_the_id_behind_its_tag)
{
    uint8_t bytes[16];
    CHECK(gn_put_ref(bytes, bytes + sizeof bytes, GN_STRREF, 0xfedcba98u) == bytes + 5);
    CHECK_EQ(decode(bytes).tag, 0x17);
    CHECK_EQ(decode(bytes).number, 0xfedcba98);
}

TEST(a_short_text_is_kept_whole_up_to_255_bytes)
{
    char text[255];
    memset(text, 'x', sizeof text);
    uint8_t bytes[300];
    CHECK(gn_put_short(bytes, bytes + sizeof bytes, GN_OBJECT, text, 255) == bytes + 257);
    CHECK_EQ(decode(bytes).tag, 0x15);
    CHECK_EQ(decode(bytes).length, 255);
    CHECK_EQ(memcmp(decode(bytes).bytes, text, 255), 0);
}

TEST(a_short_text_is_cut_at_255_bytes)
{
    char text[300];
    memset(text, 'x', sizeof text);
    uint8_t bytes[400];
    CHECK(gn_put_short(bytes, bytes + sizeof bytes, GN_NAME, text, 300) == bytes + 257);
    CHECK_EQ(decode(bytes).length, 255);
}

TEST(bytes_up_to_the_limit_are_kept_whole)
{
    uint8_t data[GN_TEXT_MAX], bytes[GN_TEXT_MAX + 16];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    CHECK(gn_put_bytes(bytes, bytes + sizeof bytes, data, sizeof data) == bytes + 3 + GN_TEXT_MAX);
    CHECK_EQ(decode(bytes).tag, 0x13);
    CHECK_EQ(decode(bytes).length, GN_TEXT_MAX);
    CHECK_EQ(memcmp(decode(bytes).bytes, data, sizeof data), 0);
}

TEST(bytes_past_the_limit_are_cut_and_their_length_noted)
{
    uint8_t data[GN_TEXT_MAX + 1] = {1, 2, 3}, bytes[GN_TEXT_MAX + 16];
    CHECK(gn_put_bytes(bytes, bytes + sizeof bytes, data, sizeof data) == bytes + 11 + GN_TEXT_MAX);
    CHECK_EQ(decode(bytes).tag, 0x14);
    CHECK_EQ(decode(bytes).length, GN_TEXT_MAX);
    CHECK_EQ(decode(bytes).original, GN_TEXT_MAX + 1);
    CHECK_EQ(memcmp(decode(bytes).bytes, data, GN_TEXT_MAX), 0);
}

TEST(no_number_is_written_past_the_end_of_the_room)
{
    CHECK_EVERY_ROOM(gn_put_tag(p, end, GN_NONE));
    CHECK_EVERY_ROOM(gn_put_int(p, end, 5));
    CHECK_EVERY_ROOM(gn_put_int(p, end, -300));
    CHECK_EVERY_ROOM(gn_put_int(p, end, 70000));
    CHECK_EVERY_ROOM(gn_put_int(p, end, INT64_MIN));
    CHECK_EVERY_ROOM(gn_put_wide(p, end, GN_U64, 1));
    CHECK_EVERY_ROOM(gn_put_double(p, end, 1.5));
    CHECK_EVERY_ROOM(gn_put_ref(p, end, GN_KEY, 1));
}

TEST(no_text_or_bytes_are_written_past_the_end_of_the_room)
{
    static const char data[2000] = "abc";
    CHECK_EVERY_ROOM(gn_put_short(p, end, GN_BIGINT, data, 0));
    CHECK_EVERY_ROOM(gn_put_short(p, end, GN_BIGINT, data, 255));
    CHECK_EVERY_ROOM(gn_put_short(p, end, GN_BIGINT, data, 256));
    CHECK_EVERY_ROOM(gn_put_bytes(p, end, data, 0));
    CHECK_EVERY_ROOM(gn_put_bytes(p, end, data, 100));
    CHECK_EVERY_ROOM(gn_put_bytes(p, end, data, 2000));
}
