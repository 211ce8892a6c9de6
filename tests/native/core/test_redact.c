/* The scanner for secrets: what it finds, where it stops, and that it reads nothing else. */
#include "check.h"
#include "redact.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* On a copy of exactly its length: reading past the end is an error of ASan. */
static bool redacts(const char *text, size_t size, unsigned policy, struct gn_redacted *result)
{
    char *copy = malloc(size == 0 ? 1 : size);
    CHECK(copy != NULL);
    memcpy(copy, text, size);
    CHECK(gn_redact(copy, size, policy, result));
    free(copy);
    return result->bytes != NULL;
}

#define SHOWN(text, expected) check_shown(__FILE__, __LINE__, text, expected)

static void check_shown(const char *file, int line, const char *text, const char *expected)
{
    struct gn_redacted result;
    bool changed = redacts(text, strlen(text), GN_REDACT_DEFAULT, &result);
    size_t size = changed ? result.size : strlen(text);
    const char *shown = changed ? result.bytes : text;
    if (size != strlen(expected) || memcmp(shown, expected, size) != 0)
        check_failed(file, line, "\"%s\" became \"%.*s\"", text, (int)size, shown);
    free(result.bytes);
}

TEST(a_secret_is_replaced_by_what_it_was)
{
    SHOWN("password=hunter2", "password=[redacted password]");
    SHOWN("a client_secret: x1, b", "a client_secret: [redacted secret], b");
    SHOWN("postgres://me:pw@db", "postgres://[redacted url credentials]@db");
    SHOWN("Bearer abc123def456", "Bearer [redacted bearer token]");
    SHOWN("Basic dXNlcjpwYXNz", "Basic [redacted basic auth]");
    SHOWN("--api-key x1 --fast", "--api-key [redacted api key] --fast");
}

TEST(words_of_this_field_are_left_alone)
{
    SHOWN("token=17", "token=17");
    SHOWN("next token: 42", "next token: 42");
    SHOWN("KV cache key: layer.3", "KV cache key: layer.3");
    SHOWN("monkey=banana", "monkey=banana");
    SHOWN("http://gpu-1:9200/v2 user bob@x", "http://gpu-1:9200/v2 user bob@x");
}

TEST(a_text_that_ends_in_the_midst_of_a_secret_holds_none_of_it)
{
    SHOWN("password=\"no end", "password=\"[redacted password]");
    SHOWN("password='x", "password='[redacted password]");
    SHOWN("password=", "password=");
    SHOWN("password=\"", "password=\"");
    SHOWN("password=\\", "password=[redacted password]");
    SHOWN("secrets={\"a\": \"b", "secrets=[redacted secret]");
}

TEST(the_fast_look_passes_nothing_that_has_a_secret)
{
    CHECK(gn_redact_needed("password=x", 10));
    CHECK(gn_redact_needed("AKIA", 4));
    CHECK(!gn_redact_needed("Decoded the next one", 20));
    CHECK(!gn_redact_needed("", 0));
}

TEST(nothing_is_found_under_a_policy_of_nothing)
{
    static const char text[] = "password=hunter2 postgres://a:b@c Bearer abc123def456";
    struct gn_redacted result;
    CHECK(!redacts(text, sizeof text - 1, 0, &result));
}

TEST(matches_come_in_order_and_do_not_overlap)
{
    static const char text[] =
        "password=a1 secret=\"b 2\" x://c:d@e Bearer abc123def456, cookie=f=1";
    struct gn_scan scan;
    struct gn_match match;
    size_t before = 0, count = 0;
    gn_scan_begin(&scan, text, sizeof text - 1, GN_REDACT_DEFAULT);
    while (gn_scan_next(&scan, &match)) {
        CHECK(match.start >= before && match.end > match.start && match.end <= sizeof text - 1);
        before = match.end;
        count++;
    }
    CHECK_EQ(count, 5);
}

TEST(every_kind_has_a_name_of_its_own)
{
    for (int kind = 1; kind < GN_SECRET_COUNT; kind++) {
        const char *name = gn_secret_name((enum gn_secret)kind);
        CHECK(strncmp(name, "[redacted ", 10) == 0 && name[strlen(name) - 1] == ']');
        for (int other = 1; other < kind; other++)
            CHECK(strcmp(name, gn_secret_name((enum gn_secret)other)) != 0);
    }
}

TEST(a_name_counts_by_its_end_and_a_property_does_not_count)
{
    enum gn_secret kind = GN_SECRET_NONE;
    CHECK_EQ(gn_redact_name("dbPassword", 10, &kind), GN_NAME_SECRET);
    CHECK_EQ(kind, GN_SECRET_PASSWORD);
    CHECK_EQ(gn_redact_name("next_token", 10, NULL), GN_NAME_CHECKED);
    CHECK_EQ(gn_redact_name("password_length", 15, NULL), GN_NAME_PLAIN);
    CHECK_EQ(gn_redact_name("monkey", 6, NULL), GN_NAME_PLAIN);
    CHECK_EQ(gn_redact_name("", 0, NULL), GN_NAME_PLAIN);
}

/* ---- any bytes ---- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const char *const pieces[] = {
    "password", "token", "key", "auth", "=", ":", "\"", "'", "\\", "://", "@", "/", "Bearer ",
    "Basic ", "%3D", "%22", "\\u003d", "\\u0022", "&quot;", "&amp;", "<", ">", "</", "(", ")", "[",
    "]", "{", "}", ",", ";", "-----", "-----BEGIN PRIVATE KEY-----", "-----END ", "eyJhbGciOiJ",
    ".", "Cookie: ", "Authorization: ", "\n", "\x1b[0m", "--", "hunter2", "[redacted password]",
    "ghp_", "sk-", "AKIA", "Q~", "0123456789", "abcdefghijklmnopqrst",
    "\xe2\x80\x9c", "\xef\xbc\x9a",
    "\xef", "\xff", " ", "...", "b'", "''", "\"\"\"", "01234567-0123-0123-0123-012345678901", "\0",
};

static size_t make_soup(char *to, size_t room, uint64_t *state)
{
    size_t size = 0, count = next_random(state) % 24;
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[next_random(state) % (sizeof pieces / sizeof pieces[0])];
        size_t length = strlen(piece);
        if (next_random(state) % 8 == 0) {
            to[size++] = (char)next_random(state);
            continue;
        }
        if (size + length > room)
            break;
        memcpy(to + size, piece, length);
        size += length;
    }
    return size;
}

TEST(any_mixture_of_pieces_of_secrets_is_read_within_its_bounds)
{
    /* GIVEN 60,000 mixtures WHEN each is redacted THEN no byte outside it was read (ASan),
     * and no round makes more of it than names in place of secrets */
    uint64_t state = 0x9e3779b97f4a7c15u;
    char soup[1024];
    for (int round = 0; round < 60000; round++) {
        size_t size = make_soup(soup, sizeof soup - 64, &state);
        struct gn_redacted result, again;
        unsigned policy = (unsigned)(round % 3 == 0 ? next_random(&state) & 0xff : 0xff);
        if (!redacts(soup, size, policy, &result))
            continue;
        CHECK(result.size < size + 64 * size + 64);
        redacts(result.bytes, result.size, policy, &again);
        free(again.bytes);
        free(result.bytes);
    }
}

TEST(any_prefix_of_a_text_is_read_within_its_bounds)
{
    static const char text[] =
        "{\"password\": \"a\\\"b\", \"url\": \"postgres://u:p@h/x\"} "
        "Authorization: Digest a=\"b\", "
        "c=\"d\"\nCookie: a=b; c=d, Basic dXNlcjpwYXNz eyJhbGciOiJub25lIn0.eyJhIjoxfQ.abc "
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY----- "
        "<secret>x</secret> ('password', b'x') %22key%22%3A%22x%22 &quot;token&quot;:&quot;x&quot; "
        "password\xef\xbc\x9a\xe2\x80\x9cx y\xe2\x80\x9d ghp_0123456789abcdef0123456789abcdef0123";
    for (size_t from = 0; from < sizeof text - 1; from++)
        for (size_t to = from; to < sizeof text; to += 3) {
            struct gn_redacted result;
            redacts(text + from, to - from, 0xff, &result);
            free(result.bytes);
        }
}
