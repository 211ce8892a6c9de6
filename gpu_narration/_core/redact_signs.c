#include "redact_parts.h"

const uint8_t gn_class[256] = {
    [0 ... 32] = C_SPACE,
    ['+'] = C_PLUS,
    ['-'] = C_DASH,
    ['.'] = C_DOT,
    ['/'] = C_PLUS,
    ['0' ... '9'] = C_DIGIT,
    ['A' ... 'Z'] = C_UPPER,
    ['_'] = C_UNDER,
    ['a' ... 'z'] = C_LOWER,
    [127] = C_SPACE,
};

bool gn_has_nocase(const struct gn_scan *scan, size_t i, const char *lower_word)
{
    for (; *lower_word != '\0'; lower_word++, i++)
        if (gn_lower(gn_at(scan, i)) != (unsigned char)*lower_word)
            return false;
    return true;
}

static int hex(unsigned char c)
{
    if (gn_is(c, C_DIGIT))
        return c - '0';
    c = gn_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static unsigned char hex_pair(const struct gn_scan *scan, size_t i)
{
    int high = hex(gn_at(scan, i)), low = hex(gn_at(scan, i + 1));
    int value = high < 0 || low < 0 ? 0 : high * 16 + low;
    return value < 128 ? (unsigned char)value : 0;
}

static struct gn_sign entity_at(const struct gn_scan *scan, size_t i)
{
    static const struct {
        char text[8];
        unsigned char c;
    } entities[] = {
        {"&quot;", '"'}, {"&#34;", '"'}, {"&#39;", '\''}, {"&#x27;", '\''}, {"&apos;", '\''},
        {"&lt;", '<'},   {"&gt;", '>'},  {"&amp;", '&'},
    };
    for (size_t k = 0; k < sizeof entities / sizeof entities[0]; k++) {
        size_t length = strlen(entities[k].text);
        if (gn_has(scan, i, entities[k].text, length))
            return (struct gn_sign){entities[k].c, (uint8_t)length};
    }
    return (struct gn_sign){'&', 1};
}

struct gn_sign gn_sign_at(const struct gn_scan *scan, size_t i)
{
    unsigned char c = gn_at(scan, i);
    struct gn_sign sign = {c, 1};
    if (c == '%') {
        sign = (struct gn_sign){hex_pair(scan, i + 1), 3};
    } else if (c == '\\') {
        unsigned char kind = gn_at(scan, i + 1);
        if (kind == 'u' && gn_has(scan, i + 2, "00", 2))
            sign = (struct gn_sign){hex_pair(scan, i + 4), 6};
        else if (kind == 'x')
            sign = (struct gn_sign){hex_pair(scan, i + 2), 4};
    } else if (c == '&') {
        sign = entity_at(scan, i);
    } else if (c == 0xef && (gn_at(scan, i + 1) & 0xfe) == 0xbc) {
        /* U+FF01 ... U+FF5E are the signs from '!' to '~' in full width. */
        unsigned point = (gn_at(scan, i + 1) & 1u) * 64u + (gn_at(scan, i + 2) & 63u) + 0x20u;
        sign = (struct gn_sign){point < 127 ? (unsigned char)point : 0, 3};
    }
    return sign.c != 0 ? sign : (struct gn_sign){c, 1};
}

struct gn_sign gn_sign_before(const struct gn_scan *scan, size_t end)
{
    for (uint8_t width = 3; width <= 6 && end >= scan->floor + width; width++) {
        unsigned char c = scan->text[end - width];
        if (c != '%' && c != '\\' && c != '&' && c != 0xef)
            continue;
        struct gn_sign sign = gn_sign_at(scan, end - width);
        if (sign.width == width)
            return sign;
    }
    return (struct gn_sign){end > scan->floor ? gn_at(scan, end - 1) : 0, 1};
}

size_t gn_skip_ansi(const struct gn_scan *scan, size_t i)
{
    while (gn_at(scan, i) == 0x1b && gn_at(scan, i + 1) == '[') {
        size_t k = i + 2, limit = i + 20;
        while (k < limit && (gn_is(gn_at(scan, k), C_DIGIT) || gn_at(scan, k) == ';'))
            k++;
        if (gn_at(scan, k) != 'm')
            break;
        i = k + 1;
    }
    return i;
}

static size_t ansi_back(const struct gn_scan *scan, size_t end)
{
    if (end < 3 || gn_at(scan, end - 1) != 'm')
        return end;
    size_t i = end - 1, limit = end > 20 ? end - 20 : 0;
    while (i > limit && (gn_is(gn_at(scan, i - 1), C_DIGIT) || gn_at(scan, i - 1) == ';'))
        i--;
    return i >= 2 && gn_at(scan, i - 1) == '[' && gn_at(scan, i - 2) == 0x1b ? i - 2 : end;
}

size_t gn_skip_ansi_back(const struct gn_scan *scan, size_t end)
{
    for (int times = 0; times < 3; times++) {
        size_t before = ansi_back(scan, end);
        if (before == end || before < scan->floor)
            break;
        end = before;
    }
    return end;
}

size_t gn_skip_spaces(const struct gn_scan *scan, size_t i)
{
    for (;;) {
        unsigned char c = gn_at(scan, i);
        if (i < scan->size && (c == ' ' || c == '\t'))
            i++;
        else if (c == 0xc2 && gn_at(scan, i + 1) == 0xa0) /* no-break space */
            i += 2;
        else if (c == '%' && gn_has(scan, i, "%20", 3))
            i += 3;
        else if (c == '\\' && gn_has(scan, i, "\\u0020", 6))
            i += 6;
        else
            return i;
    }
}

size_t gn_space_width(const struct gn_scan *scan, size_t i)
{
    unsigned char c = gn_at(scan, i);
    if (gn_is(c, C_SPACE))
        return 1;
    if (c < 0xc2)
        return 0;
    if (c == 0xc2)
        return gn_at(scan, i + 1) == 0xa0 || gn_at(scan, i + 1) == 0x85 ? 2 : 0;
    if (gn_has(scan, i, "\xe3\x80\x80", 3)) /* ideographic space */
        return 3;
    /* U+2000 ... U+200B, line and paragraph separators */
    if (gn_has(scan, i, "\xe2\x80", 2)) {
        unsigned char last = gn_at(scan, i + 2);
        return last <= 0x8b || last == 0xa8 || last == 0xa9 ? 3 : 0;
    }
    return 0;
}

bool gn_begins(const struct gn_scan *scan, size_t at, unsigned classes)
{
    if (at <= scan->floor || !gn_is(gn_before(scan, at), classes))
        return true;
    for (size_t i = at - scan->floor < 8 ? scan->floor : at - 8; i < at; i++) {
        unsigned char c = gn_at(scan, i);
        if ((c == '\\' || c == '%') && gn_skip_escape(scan, i + 1, at + 1) == at)
            return true;
    }
    return gn_skip_ansi_back(scan, at) < at;
}

size_t gn_skip_escape(const struct gn_scan *scan, size_t start, size_t end)
{
    unsigned char before = start > scan->floor ? gn_before(scan, start) : 0;
    unsigned char first = gn_at(scan, start);
    size_t skip = 0;
    if (before == '%') {
        skip = 2;
    } else if (before == '\\') {
        if (first == 'u')
            skip = 5;
        else if (first == 'x')
            skip = 3;
        else if (first == 'n' || first == 'r' || first == 't' || first == 'f' || first == 'b')
            skip = 1;
    } else if (before == '[' || before == ';') { /* the end of a colour: ESC [ 1 ; 36 m */
        size_t i = start;
        while (i < end && i < start + 4 && gn_is(gn_at(scan, i), C_DIGIT))
            i++;
        size_t colour = gn_at(scan, i) == 'm' && i < end ? i + 1 : start;
        if (colour > start && gn_skip_ansi_back(scan, colour) < start)
            skip = colour - start;
    }
    return start + skip < end ? start + skip : start;
}
