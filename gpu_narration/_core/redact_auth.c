/* Credentials that are told by their own form: bearer, basic, JWT, private keys, URLs. */
#include "redact_parts.h"

/* ---- bearer and basic ---- */

/* Behind the word: blanks, also as + and %20; 0 where there are none. */
static size_t behind_scheme(const struct gn_scan *scan, size_t i)
{
    size_t start = gn_skip_spaces(scan, i);
    if (start == i && gn_at(scan, i) == '+')
        start = i + 1;
    if (start > i && (gn_at(scan, start) == '"' || gn_at(scan, start) == '\''))
        start++;
    return start > i ? start : 0;
}

/* Words go on in prose ("bearer tokens expired"); a credential has digits or the signs
 * of base64, or is longer than words are. */
static bool is_bearer(const struct gn_scan *scan, size_t start, size_t end)
{
    size_t limit = end - start > 256 ? start + 256 : end;
    size_t digits = 0, upper = 0, lower = 0, signs = 0;
    while (limit > start && gn_at(scan, limit - 1) == '=')
        limit--, signs++;
    for (size_t i = start; i < limit; i++) {
        unsigned char c = gn_at(scan, i);
        digits += gn_is(c, C_DIGIT);
        upper += gn_is(c, C_UPPER);
        lower += gn_is(c, C_LOWER);
        signs += c == '+' || c == '~' || c == '|' || c == '$' || c == '!';
        if (c == '=' || c == '"') { /* realm="x": a challenge, unless it is too long for one */
            if (i - start < 20)
                return false;
            end = i;
            break;
        }
        if (c == '[' && gn_redacted_end(scan, i) > i) { /* no letters of a credential */
            end = i;
            break;
        }
    }
    size_t size = end - start;
    if (size < 6)
        return false;
    return (digits > 0 && size >= 8) || signs > 0 || (size >= 20 && upper > 0 && lower > 0) ||
           size >= 32;
}

static int base64_value(unsigned char c)
{
    if (gn_is(c, C_UPPER))
        return c - 'A';
    if (gn_is(c, C_LOWER))
        return c - 'a' + 26;
    if (gn_is(c, C_DIGIT))
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : 63;
}

/* Basic credentials are user:password in base64 (RFC 7617). */
static bool is_basic(const struct gn_scan *scan, size_t start, size_t end)
{
    unsigned bits = 0, held = 0, upper = 0, digits = 0, lower = 0;
    bool colon = false, text = true;
    size_t limit = end - start > 512 ? start + 512 : end;
    for (size_t i = start; i < limit; i++) {
        unsigned char c = gn_at(scan, i);
        upper += i > start && gn_is(c, C_UPPER); /* the first may be that of a word */
        lower += gn_is(c, C_LOWER);
        digits += gn_is(c, C_DIGIT | C_PLUS);
        bits = bits << 6 | (unsigned)base64_value(c);
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        unsigned char byte = (unsigned char)(bits >> held);
        colon = colon || byte == ':';
        text = text && (colon || (byte >= 32 && byte != 127));
    }
    bool padded = gn_at(scan, end) == '=' || gn_has(scan, end, "%3D", 3);
    if (end - start < 3)
        return false;
    if (colon && text && (padded || upper + digits > 0))
        return true;
    return end - start >= 12 && (padded || (digits > 0 && upper > 0 && lower > 0));
}

bool gn_find_scheme(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    bool bearer = gn_has_nocase(scan, at, "bearer");
    if ((!bearer && !gn_has_nocase(scan, at, "basic")) || !gn_begins(scan, at, C_WORD))
        return false;
    size_t start = behind_scheme(scan, at + (bearer ? 6 : 5)), end;
    unsigned char sign = gn_sign_at(scan, start).c;
    if (start == 0 || sign == '=' || sign == ':') /* then it is the name of a value */
        return false;
    if (bearer) {
        /* As far as it is looked at; the rest only if it is one. */
        struct gn_scan probe = *scan;
        probe.size = probe.size - start > 256 ? start + 256 : probe.size;
        end = gn_bare_end(&probe, start);
        if (!is_bearer(scan, start, end))
            return false;
        end = end == probe.size ? gn_bare_end(scan, start) : end;
        *match = (struct gn_match){start, end, GN_SECRET_BEARER};
        return true;
    }
    end = gn_run(scan, start, C_BASE64);
    if (!is_basic(scan, start, end))
        return false;
    while (gn_at(scan, end) == '=' || gn_has(scan, end, "%3D", 3))
        end += gn_at(scan, end) == '=' ? 1 : 3;
    *match = (struct gn_match){start, end, GN_SECRET_BASIC};
    return true;
}

/* ---- JSON web tokens ---- */

/* The base64 of what a JSON object begins with: {" and { followed by a blank. */
static bool begins_json(const struct gn_scan *scan, size_t i)
{
    return gn_has(scan, i, "eyJ", 3) || gn_has(scan, i, "eyA", 3) || gn_has(scan, i, "ewo", 3) ||
           gn_has(scan, i, "ew0", 3);
}

/* At a dot.  The walk back ends at the dot before, so no byte is walked over twice. */
bool gn_find_jwt(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    if (!gn_is(gn_before(scan, at), C_URL64))
        return false;
    size_t start = at;
    while (start > scan->floor && gn_is(gn_at(scan, start - 1), C_URL64))
        start--;
    while (start + 10 <= at && !begins_json(scan, start))
        start++;
    if (start + 10 > at)
        return false;
    size_t end = gn_run(scan, at + 1, C_URL64), parts = 2;
    size_t behind = end - at - 1;
    bool claims = begins_json(scan, at + 1) && behind >= 4;
    while (gn_at(scan, end) == '.' && parts < 5) {
        size_t next = gn_run(scan, end + 1, C_URL64);
        if (next == end + 1 && parts > 2)
            break; /* the full stop of the sentence */
        behind += next - end - 1;
        end = next;
        parts++;
    }
    if (!claims && (parts < 3 || behind < 16))
        return false;
    *match = (struct gn_match){start, end, GN_SECRET_JWT};
    return true;
}

/* ---- private keys ---- */

/* "END" behind a dash, or behind a dash and a blank; else the end of the text. */
static size_t end_line(const struct gn_scan *scan, size_t i)
{
    while (i < scan->size) {
        const unsigned char *hit = memchr(scan->text + i, 'E', scan->size - i);
        if (hit == NULL)
            break;
        i = (size_t)(hit - scan->text);
        size_t dash = i > 0 && gn_before(scan, i) == ' ' ? i - 1 : i;
        if (gn_before(scan, dash) == '-' && gn_has(scan, i, "END", 3))
            return i;
        i++;
    }
    return scan->size;
}

static size_t label_end(const struct gn_scan *scan, size_t i)
{
    size_t limit = scan->size - i < 96 ? scan->size : i + 96;
    while (i < limit && gn_at(scan, i) != '-' && gn_at(scan, i) != '\n')
        i++;
    return i;
}

/* The end of "BEGIN RSA PRIVATE KEY-----" at i, or 0.  Blanks may be escapes. */
static size_t begin_line_end(const struct gn_scan *scan, size_t i)
{
    size_t end = label_end(scan, i), key = 0;
    if (!gn_has(scan, i, "BEGIN", 5))
        return 0;
    for (; i < end; i++)
        if (gn_has(scan, i, "PRIVATE", 7))
            key = i;
    if (key == 0 || !gn_has(scan, i, "----", 4))
        return 0;
    return gn_run(scan, i, C_DASH);
}

/* A body follows, or a header of one; a marker that is only talked about has none. */
static bool key_follows(const struct gn_scan *scan, size_t i)
{
    static const char *const headers[] = {"Proc-Type", "DEK-Info", "Version", "Comment", "Subject",
                                          "Hash", "X-", NULL};
    size_t limit = i + 64;
    while (i < limit && i < scan->size) {
        size_t width = gn_space_width(scan, i);
        if (gn_at(scan, i) == '\\' || gn_at(scan, i) == '%')
            width = gn_sign_at(scan, i).width > 1 ? gn_sign_at(scan, i).width : 2;
        else if (strchr("\"'+,>|[&", gn_at(scan, i)) != NULL && gn_at(scan, i) != 0)
            width = 1;
        if (width == 0)
            break;
        i += width;
    }
    for (size_t k = 0; headers[k] != NULL; k++)
        if (gn_has(scan, i, headers[k], strlen(headers[k])))
            return true;
    size_t run = i;
    while (run < i + 16 && gn_is(gn_at(scan, run), C_BASE64))
        run++;
    return run == i + 16;
}

/* At the first dash of a run. */
bool gn_find_private_key(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    size_t dashes = gn_run(scan, at, C_DASH);
    if (dashes < at + 4)
        return false;
    size_t body = begin_line_end(scan, gn_skip_spaces(scan, dashes));
    if (body == 0 || !key_follows(scan, body))
        return false;
    size_t end = gn_run(scan, label_end(scan, end_line(scan, body)), C_DASH);
    *match = (struct gn_match){at, end, GN_SECRET_PRIVATE_KEY};
    return true;
}

/* ---- URLs ---- */

static bool ends_authority(const struct gn_scan *scan, size_t i)
{
    unsigned char c = gn_at(scan, i);
    return c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '<' || c == '>' ||
           c == '`' || c == '\\' || gn_space_width(scan, i) > 0;
}

/* The last @ of an authority; 0 if it has none.  `stop`: where the authority ends. */
static size_t last_at_sign(const struct gn_scan *scan, size_t i, bool encoded, size_t *stop)
{
    size_t last = 0;
    for (; !ends_authority(scan, i); i++) {
        if (encoded && (gn_has(scan, i, "%2F", 3) || gn_has(scan, i, "%3F", 3) ||
                        gn_at(scan, i) == '&'))
            break;
        if (encoded ? gn_has(scan, i, "%40", 3) : gn_at(scan, i) == '@')
            last = i;
    }
    *stop = i;
    return last;
}

static size_t colon_in(const struct gn_scan *scan, size_t start, size_t end, bool encoded)
{
    for (size_t i = start; i < end; i++)
        if (encoded ? gn_has(scan, i, "%3A", 3) : gn_at(scan, i) == ':')
            return i;
    return end;
}

/* host:port, and not user:pass with a slash or a quote in the password. */
static bool ends_in_port(const struct gn_scan *scan, size_t start, size_t stop)
{
    size_t colon = colon_in(scan, start, stop, false);
    if (colon == stop || gn_at(scan, start) == '[')
        return true;
    size_t port = gn_run(scan, colon + 1, C_DIGIT);
    return (port == stop && stop - colon <= 6) || gn_at(scan, colon + 1) == '{' ||
           gn_at(scan, colon + 1) == '$' || stop == colon + 1;
}

bool gn_find_url(struct gn_scan *scan, size_t at, size_t authority, struct gn_match *match)
{
    bool encoded = gn_at(scan, at) == '%';
    if (at == 0 || !gn_is(gn_before(scan, at), C_ALNUM))
        return false;
    size_t stop, sign = last_at_sign(scan, authority, encoded, &stop);
    if (sign == 0 && !encoded && !ends_in_port(scan, authority, stop) && stop >= scan->no_user) {
        size_t i = stop;
        while (gn_space_width(scan, i) == 0 && gn_at(scan, i) != '@' && i < scan->size)
            i++;
        if (gn_at(scan, i) == '@')
            sign = i;
        else
            scan->no_user = i;
    }
    if (sign == 0 || sign <= authority)
        return false;
    size_t width = encoded ? 3 : 1, colon = colon_in(scan, authority, sign, encoded);
    size_t user = colon - authority;
    bool secret = colon + width < sign && !gn_is_blank(scan, colon + width, sign);
    if (!secret)
        secret = gn_looks_like_credential((const char *)scan->text + authority, user);
    if (!secret || gn_redacted_end(scan, authority) > authority)
        return false;
    *match = (struct gn_match){authority, sign, GN_SECRET_URL};
    return true;
}

/* ---- UUIDs ---- */

bool gn_find_uuid(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    if (at < scan->floor + 8 || scan->size - at < 28)
        return false;
    size_t start = at - 8;
    for (size_t i = 0; i < 36; i++) {
        unsigned char c = gn_at(scan, start + i);
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        unsigned char low = gn_lower(c);
        if (dash ? c != '-' : !gn_is(c, C_DIGIT) && !(low >= 'a' && low <= 'f'))
            return false;
    }
    if (gn_is(gn_at(scan, start + 36), C_ALNUM))
        return false;
    *match = (struct gn_match){start, start + 36, GN_SECRET_UUID};
    return true;
}
