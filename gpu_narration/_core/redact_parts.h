/* What the files of the scanner share.
 *
 *   redact.c         the pass over the text, and who is asked at which byte
 *   redact_signs.c   classes of bytes; signs that are written as escapes
 *   redact_names.c   what a name says of its value
 *   redact_named.c   names and their values: name=value, "name": "value", --name value ...
 *   redact_values.c  where a value ends, and whether it is one
 *   redact_auth.c    bearer, basic, JWT, private keys, URLs
 *   redact_keys.c    keys with the prefix of a vendor
 *
 * A finder is asked at one byte and looks around it.  It may look at any number of
 * bytes only if they belong to the match, or if no other call can look at them again. */
#ifndef GN_REDACT_PARTS_H
#define GN_REDACT_PARTS_H

#include "redact.h"

#include <stdint.h>
#include <string.h>

enum {
    C_DIGIT = 1,
    C_LOWER = 2,
    C_UPPER = 4,
    C_UNDER = 8,
    C_DASH = 16,
    C_DOT = 32,
    C_PLUS = 64, /* + and /, the rest of base64 */
    C_SPACE = 128, /* blanks, and all other controls */
    C_ALPHA = C_LOWER | C_UPPER,
    C_ALNUM = C_ALPHA | C_DIGIT,
    C_WORD = C_ALNUM | C_UNDER,
    C_URL64 = C_WORD | C_DASH,
    C_NAME = C_URL64 | C_DOT,
    C_BASE64 = C_URL64 | C_PLUS,
};
extern const uint8_t gn_class[256];

static inline bool gn_is(unsigned char c, unsigned classes)
{
    return (gn_class[c] & classes) != 0;
}

static inline unsigned char gn_lower(unsigned char c)
{
    return gn_is(c, C_UPPER) ? (unsigned char)(c + 32) : c;
}

/* 0 behind the end: a control, which belongs to no secret. */
static inline unsigned char gn_at(const struct gn_scan *scan, size_t i)
{
    return i < scan->size ? scan->text[i] : 0;
}

/* The byte before i, 0 at the start. */
static inline unsigned char gn_before(const struct gn_scan *scan, size_t i)
{
    return i > 0 ? gn_at(scan, i - 1) : 0;
}

static inline bool gn_has(const struct gn_scan *scan, size_t i, const char *word, size_t length)
{
    return i <= scan->size && scan->size - i >= length && memcmp(scan->text + i, word, length) == 0;
}

bool gn_has_nocase(const struct gn_scan *scan, size_t i, const char *lower_word);

static inline size_t gn_run(const struct gn_scan *scan, size_t i, unsigned classes)
{
    while (i < scan->size && gn_is(scan->text[i], classes))
        i++;
    return i;
}

/* ---- redact_signs.c ---- */

/* An ASCII character in any of its writings: itself, %3D, \u003d, \x3d, &quot;, or full
 * width.  c is 0 where there is none. */
struct gn_sign {
    unsigned char c;
    uint8_t width;
};
struct gn_sign gn_sign_at(const struct gn_scan *scan, size_t i);
struct gn_sign gn_sign_before(const struct gn_scan *scan, size_t end);

size_t gn_skip_ansi(const struct gn_scan *scan, size_t i); /* ESC [ ... m, once or more */
size_t gn_skip_ansi_back(const struct gn_scan *scan, size_t end);
size_t gn_skip_spaces(const struct gn_scan *scan, size_t i); /* no line breaks */
size_t gn_space_width(const struct gn_scan *scan, size_t i); /* any blank or control; 0: none */
/* Where the name that begins at `start` really begins: "\napi_key" begins at "api_key". */
size_t gn_skip_escape(const struct gn_scan *scan, size_t start, size_t end);
/* Whether what stands at `at` does not go on a word of these classes; what belongs to an
 * escape or to a colour is no part of one. */
bool gn_begins(const struct gn_scan *scan, size_t at, unsigned classes);

/* ---- redact_names.c ---- */

/* As gn_redact_name, by the end of the name alone: what text says of a value. */
enum gn_name_rule gn_name_end(const char *name, size_t size, enum gn_secret *kind);

/* ---- redact_values.c ---- */

struct gn_quote {
    size_t inside; /* where the value begins; 0: there is no quote */
    struct gn_sign sign; /* width: all of the opening quote, with its backslashes */
    unsigned backslashes;
    unsigned doubled; /* as in CSV: "" stands for the quote */
    bool raw; /* it is the byte itself */
};
struct gn_quote gn_quote_at(const struct gn_scan *scan, size_t i);
/* The closing quote, or the end of the text where there is none. */
size_t gn_quote_end(const struct gn_scan *scan, const struct gn_quote *quote);
/* Of the value that begins at `start`, looked for from i on. */
size_t gn_bare_end_behind(const struct gn_scan *scan, size_t start, size_t i);
static inline size_t gn_bare_end(const struct gn_scan *scan, size_t start)
{
    return gn_bare_end_behind(scan, start, start);
}
size_t gn_container_end(const struct gn_scan *scan, size_t start); /* at a { [ or ( */

/* Nothing to hide: empty, masked already, a placeholder that names the secret. */
bool gn_is_blank(const struct gn_scan *scan, size_t start, size_t end);
/* None, null, true ...: what stands, without quotes, where there is no secret. */
bool gn_is_constant(const struct gn_scan *scan, size_t start, size_t end);
/* A word that goes on with a sentence: "password: required". */
bool gn_is_remark(const struct gn_scan *scan, size_t start, size_t end);
/* The end of "[redacted ...]" at i, or i. */
size_t gn_redacted_end(const struct gn_scan *scan, size_t i);
/* Shorter and looser than gn_looks_like_credential: for what a quoted token holds. */
bool gn_looks_like_token(const unsigned char *text, size_t size);

/* ---- the finders ---- */

bool gn_find_named(struct gn_scan *scan, size_t at, struct gn_sign sign, struct gn_match *match);
bool gn_find_option(struct gn_scan *scan, size_t at, struct gn_match *match); /* --name value */
bool gn_find_element(struct gn_scan *scan, size_t at, struct gn_match *match); /* <name>value< */
bool gn_find_pair(struct gn_scan *scan, size_t at, struct gn_match *match); /* ("name", "value") */

bool gn_find_scheme(struct gn_scan *scan, size_t at, struct gn_match *match); /* bearer, basic */
bool gn_find_jwt(struct gn_scan *scan, size_t at, struct gn_match *match);
bool gn_find_private_key(struct gn_scan *scan, size_t at, struct gn_match *match);
bool gn_find_url(struct gn_scan *scan, size_t at, size_t authority, struct gn_match *match);
bool gn_find_uuid(struct gn_scan *scan, size_t at, struct gn_match *match);

/* At - _ and . the keys with one of these in their prefix; at letters, : and ~ the rest. */
bool gn_find_key(struct gn_scan *scan, size_t at, struct gn_match *match);
bool gn_find_plain_key(struct gn_scan *scan, size_t at, struct gn_match *match);

#endif
