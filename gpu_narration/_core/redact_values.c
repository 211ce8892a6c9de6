/* Where a value ends, and whether it is one. */
#include "redact_parts.h"

/* ---- quotes ---- */

static size_t backslashes_before(const struct gn_scan *scan, size_t i, size_t floor)
{
    size_t count = 0;
    while (i - count > floor && gn_at(scan, i - count - 1) == '\\')
        count++;
    return count;
}

/* Whether a quote behind `before` backslashes ends a value whose opening quote stood
 * behind `opening`: JSON in JSON has one, three, seven ... of them.  Unescapes level by
 * level; an even number at any level leaves the quote bare, and so ends all inside. */
static bool closes(size_t before, size_t opening)
{
    for (; opening > 0; opening /= 2, before /= 2)
        if (before % 2 == 0)
            return true;
    return before % 2 == 0;
}

struct gn_quote gn_quote_at(const struct gn_scan *scan, size_t i)
{
    struct gn_quote quote = {0};
    size_t start = i;
    while (gn_at(scan, i) == '\\' && i < start + 16)
        i++;
    unsigned char c = gn_at(scan, i);
    if (c == '"' || c == '\'' || c == '`') {
        quote.backslashes = (unsigned)(i - start);
        quote.raw = true;
        quote.sign = (struct gn_sign){c, (uint8_t)(i - start + 1)};
        quote.inside = i + 1;
        /* Three, as in Python, or two, as in CSV inside quotes; two may also be empty. */
        if (quote.backslashes == 0 && gn_at(scan, i + 1) == c) {
            bool three = gn_at(scan, i + 2) == c;
            unsigned char next = gn_at(scan, i + 2);
            if (three || gn_is(next, C_ALNUM)) {
                quote.doubled = three ? 3 : 2;
                quote.inside = i + quote.doubled;
            }
        }
        return quote;
    }
    struct gn_sign sign = gn_sign_at(scan, start);
    if (sign.width > 1 && (sign.c == '"' || sign.c == '\'')) {
        quote.sign = sign;
        quote.inside = start + sign.width;
        return quote;
    }
    static const char pairs[][2][4] = {
        {"\xe2\x80\x9c", "\xe2\x80\x9d"}, {"\xe2\x80\x98", "\xe2\x80\x99"},
        {"\xe2\x80\x9e", "\xe2\x80\x9c"}, {"\xc2\xab", "\xc2\xbb"},
    };
    for (size_t k = 0; k < sizeof pairs / sizeof pairs[0]; k++) {
        size_t length = strlen(pairs[k][0]);
        if (gn_has(scan, start, pairs[k][0], length)) {
            quote.sign = (struct gn_sign){(unsigned char)(128 + k), (uint8_t)length};
            quote.inside = start + length;
        }
    }
    return quote;
}

static const char typographic_ends[4][4] = {
    "\xe2\x80\x9d", "\xe2\x80\x99", "\xe2\x80\x9c", "\xc2\xbb",
};

/* The shell's ways to put a single quote between single quotes, and SQL's. */
static size_t inner_quote(const struct gn_scan *scan, size_t i, unsigned char c)
{
    if (c == '\'' && (gn_has(scan, i, "'\"'\"'", 5)))
        return 5;
    if (c == '\'' && gn_has(scan, i, "'\\''", 4))
        return 4;
    return gn_at(scan, i + 1) == c ? 2 : 0;
}

static size_t raw_quote_end(const struct gn_scan *scan, const struct gn_quote *quote)
{
    unsigned char c = quote->sign.c;
    for (size_t i = quote->inside; i < scan->size; i++) {
        if (gn_at(scan, i) != c)
            continue;
        if (quote->doubled != 0) {
            size_t run = 1;
            while (run < quote->doubled && gn_at(scan, i + run) == c)
                run++;
            if (run == quote->doubled && (run == 2 || gn_before(scan, i) != '\\'))
                return i;
            continue;
        }
        if (!closes(backslashes_before(scan, i, quote->inside), quote->backslashes))
            continue;
        size_t inner = quote->backslashes == 0 && i > quote->inside ? inner_quote(scan, i, c) : 0;
        if (inner == 0) {
            size_t run = backslashes_before(scan, i, quote->inside);
            return i - (run < quote->backslashes ? run : quote->backslashes);
        }
        i += inner - 1;
    }
    return scan->size;
}

size_t gn_quote_end(const struct gn_scan *scan, const struct gn_quote *quote)
{
    if (quote->raw)
        return raw_quote_end(scan, quote);
    for (size_t i = quote->inside; i < scan->size; i++) {
        if (quote->sign.c >= 128) {
            const char *end = typographic_ends[quote->sign.c - 128];
            if (gn_has(scan, i, end, strlen(end)))
                return i;
            continue;
        }
        struct gn_sign sign = gn_sign_at(scan, i);
        if (sign.c == quote->sign.c && sign.width == quote->sign.width) {
            bool escaped = gn_sign_before(scan, i).c == '\\' && i > quote->inside;
            if (!escaped)
                return i;
        }
    }
    return scan->size;
}

/* ---- bare values ---- */

/* `name=` or `name:` at i: here begins the next of a list of pairs. */
static bool pair_begins(const struct gn_scan *scan, size_t i)
{
    size_t start = i, limit = i + GN_LOOK_BACK;
    while (i < limit && gn_is(gn_at(scan, i), C_NAME))
        i++;
    unsigned char c = gn_sign_at(scan, i).c;
    return i > start && (c == '=' || c == ':');
}

static bool is_closing(unsigned char c)
{
    return c == ')' || c == ']' || c == '}' || c == '.' || c == ',' || c == ';' || c == ':' ||
           c == '!' || c == '?' || c == '"' || c == '\'' || c == '`' || c == '>';
}

/* Only closing signs up to the next blank: they belong to the sentence around. */
static bool only_closing(const struct gn_scan *scan, size_t i)
{
    size_t limit = i + 16;
    while (i < limit && is_closing(gn_at(scan, i)))
        i++;
    return gn_space_width(scan, i) > 0;
}

static bool ends_bare(const struct gn_scan *scan, size_t i, bool encoded)
{
    unsigned char c = gn_at(scan, i);
    switch (c) {
    case '"':
    case '\'':
    case '`':
        return !gn_is(gn_at(scan, i + 1), C_ALNUM);
    case '<':
        return gn_at(scan, i + 1) == '/' || gn_has(scan, i, "<br", 3);
    case '&':
        return gn_has(scan, i, "&quot;", 6) || gn_has(scan, i, "&lt;", 4) ||
               gn_has(scan, i, "&#34;", 5) ||
               pair_begins(scan, i + (gn_has(scan, i, "&amp;", 5) ? 5 : 1));
    case ',':
    case ';':
        if (gn_at(scan, i + 1) == '"' || gn_at(scan, i + 1) == '\'' || pair_begins(scan, i + 1))
            return true;
        return only_closing(scan, i);
    case '%':
        return encoded && (gn_has(scan, i, "%26", 3) || gn_has(scan, i, "%3B", 3)) &&
               pair_begins(scan, i + 3);
    case '\\':
        return gn_at(scan, i + 1) == '"' || gn_at(scan, i + 1) == '\'' ||
               gn_has(scan, i, "\\u0026", 6);
    default:
        return is_closing(c) ? only_closing(scan, i) : gn_space_width(scan, i) > 0;
    }
}

size_t gn_bare_end_behind(const struct gn_scan *scan, size_t start, size_t i)
{
    bool encoded = start >= 3 && gn_at(scan, start - 3) == '%';
    while (i < scan->size && !ends_bare(scan, i, encoded)) {
        size_t redacted = gn_at(scan, i) == '[' ? gn_redacted_end(scan, i) : i;
        i = redacted > i ? redacted : i + 1; /* its blanks end nothing */
    }
    return i;
}

size_t gn_container_end(const struct gn_scan *scan, size_t start)
{
    size_t depth = 0;
    for (size_t i = start; i < scan->size; i++) {
        unsigned char c = gn_at(scan, i);
        if (c == '{' || c == '[' || c == '(') {
            depth++;
        } else if (c == '}' || c == ']' || c == ')') {
            if (--depth == 0)
                return i + 1;
        } else if (c == '"' || (c == '\'' && !gn_is(gn_before(scan, i), C_ALNUM))) {
            size_t level = backslashes_before(scan, i, start);
            struct gn_quote quote = gn_quote_at(scan, i - (level < 16 ? level : 0));
            if (quote.inside > i)
                i = gn_quote_end(scan, &quote) + quote.backslashes;
            if (quote.doubled != 0)
                i += quote.doubled - 1u;
        }
    }
    return scan->size;
}

/* ---- what is no secret ---- */

size_t gn_redacted_end(const struct gn_scan *scan, size_t i)
{
    if (!gn_has(scan, i, "[redacted ", 10))
        return i;
    for (int kind = 1; kind < GN_SECRET_COUNT; kind++) {
        const char *name = gn_secret_name((enum gn_secret)kind);
        size_t length = strlen(name);
        if (gn_has(scan, i, name, length))
            return i + length;
    }
    return gn_has(scan, i, "[redacted custom]", 17) ? i + 17 : i;
}

static size_t mask_width(const struct gn_scan *scan, size_t i)
{
    unsigned char c = gn_at(scan, i);
    if (c == '*' || (c == '.' && gn_has(scan, i, "...", 3)))
        return c == '*' ? 1 : 3;
    return gn_has(scan, i, "\xe2\x80\xa2", 3) || gn_has(scan, i, "\xe2\x80\xa6", 3) ? 3 : 0;
}

static bool is_mask(const struct gn_scan *scan, size_t start, size_t end)
{
    size_t width;
    while (start < end && (width = mask_width(scan, start)) > 0)
        start += width;
    return start >= end;
}

/* {password}, ${DB_PASSWORD}, <api key>, {{ secret }}, %(password)s */
static bool is_placeholder(const struct gn_scan *scan, size_t start, size_t end)
{
    size_t size = end - start, from, to;
    if (size < 3 || size > GN_LOOK_BACK)
        return false;
    unsigned char first = gn_at(scan, start), last = gn_at(scan, end - 1);
    for (from = start; from < end && !gn_is(gn_at(scan, from), C_WORD); from++)
        ;
    for (to = from; to < end && (gn_is(gn_at(scan, to), C_URL64) || gn_at(scan, to) == ' '); to++)
        ;
    bool braces = (first == '{' || first == '$') && last == '}';
    bool angles = first == '<' && last == '>';
    bool percent = first == '%' && gn_at(scan, start + 1) == '(' && last == 's';
    if (!(braces || angles || percent))
        return false;
    for (size_t i = to; i < end; i++)
        if (gn_at(scan, i) != '}' && gn_at(scan, i) != '>' &&
            !(percent && (gn_at(scan, i) == ')' || i == end - 1)))
            return false;
    enum gn_secret kind = GN_SECRET_NONE;
    while (to > from && gn_at(scan, to - 1) == ' ')
        to--;
    return gn_name_end((const char *)scan->text + from, to - from, &kind) != GN_NAME_PLAIN;
}

bool gn_is_blank(const struct gn_scan *scan, size_t start, size_t end)
{
    if (start >= end || is_mask(scan, start, end) || is_placeholder(scan, start, end))
        return true;
    if (end - start == 2 && (gn_has(scan, start, "[]", 2) || gn_has(scan, start, "{}", 2)))
        return true;
    return gn_redacted_end(scan, start) == end;
}

static bool is_one_of(const struct gn_scan *scan, size_t start, size_t end,
                      const char *const *words)
{
    for (; *words != NULL; words++)
        if (strlen(*words) == end - start && gn_has_nocase(scan, start, *words))
            return true;
    return false;
}

bool gn_is_constant(const struct gn_scan *scan, size_t start, size_t end)
{
    static const char *const constants[] = {
        "none", "null", "nil", "true", "false", "undefined", "yes", "no", "on", "off", NULL,
    };
    return is_one_of(scan, start, end, constants);
}

bool gn_is_remark(const struct gn_scan *scan, size_t start, size_t end)
{
    static const char *const remarks[] = {
        "a", "an", "the", "is", "was", "are", "were", "not", "must", "should", "has", "have",
        "had", "to", "for", "of", "in", "or", "and", "with", "by", "from", "on", "at", "as",
        "too", "may", "can", "cannot", "could", "will", "it", "this", "that", "your", "our",
        "required", "missing", "invalid", "valid", "wrong", "incorrect", "correct", "expired",
        "empty", "unset", "set", "unchanged", "changed", "rotated", "revoked", "accepted",
        "rejected", "denied", "granted", "failed", "passed", "ok", "unknown", "present", "absent",
        "found", "checked", "verified", "loaded", "used", "unused", "enabled", "disabled",
        "optional", "mandatory", "default", "supplied", "given", "provided", "needed", "hidden",
        "str", "string", "bytes", "int", "bool", "optional[str]", "secretstr", "any", "object",
        "flag", "option", "argument", "field", "parameter", "header", "value", "n/a", NULL,
    };
    while (end > start && is_closing(gn_at(scan, end - 1)) && gn_at(scan, end - 1) != ']')
        end--;
    return is_one_of(scan, start, end, remarks) || gn_is_constant(scan, start, end);
}

bool gn_looks_like_token(const unsigned char *text, size_t size)
{
    size_t letters = 0, digits = 0, signs = 0, other = 0;
    if (size < 8 || text[0] == '<' || gn_is(text[0], C_SPACE) || gn_is(text[size - 1], C_SPACE))
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = text[i];
        if (gn_is(c, C_ALPHA))
            letters++;
        else if (gn_is(c, C_DIGIT))
            digits++;
        else if (gn_is(c, C_SPACE))
            return false; /* text, and no token */
        else if (c == '-' || c == '_' || c == '.' || c == ',' || c == '\'' || c >= 0x80)
            other++;
        else
            signs++;
    }
    if (digits >= 2 && letters >= 2 && letters + digits >= 8)
        return true;
    return (signs >= 2 && letters >= 4) || (signs + digits > 0 && letters > 0 && size >= 16);
}
