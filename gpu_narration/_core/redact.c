/* The pass over a text: from one byte that may be part of a secret to the next. */
#include "redact_parts.h"

#include <stdlib.h>

/* Every secret has one of these bytes at a known place. */
static const uint8_t triggers[256] = {
    ['='] = 1, [':'] = 1, ['-'] = 1, ['_'] = 1, ['.'] = 1, ['>'] = 1, [','] = 1, ['%'] = 1,
    ['\\'] = 1, ['&'] = 1, ['~'] = 1, ['I'] = 1, ['C'] = 1, ['B'] = 1, ['b'] = 1, [0xef] = 1,
};

static const char *const names[GN_SECRET_COUNT] = {
    [GN_SECRET_NONE] = "",
    [GN_SECRET_BEARER] = "[redacted bearer token]",
    [GN_SECRET_BASIC] = "[redacted basic auth]",
    [GN_SECRET_AUTHORIZATION] = "[redacted authorization]",
    [GN_SECRET_JWT] = "[redacted jwt]",
    [GN_SECRET_PRIVATE_KEY] = "[redacted private key]",
    [GN_SECRET_URL] = "[redacted url credentials]",
    [GN_SECRET_PASSWORD] = "[redacted password]",
    [GN_SECRET_SECRET] = "[redacted secret]",
    [GN_SECRET_TOKEN] = "[redacted token]",
    [GN_SECRET_API_KEY] = "[redacted api key]",
    [GN_SECRET_VENDOR_KEY] = "[redacted vendor key]",
    [GN_SECRET_COOKIE] = "[redacted cookie]",
    [GN_SECRET_UUID] = "[redacted uuid]",
    [GN_SECRET_FIELD] = "[redacted field]",
};

const char *gn_secret_name(enum gn_secret kind)
{
    return kind < GN_SECRET_COUNT ? names[kind] : "";
}

static size_t next_trigger(const unsigned char *text, size_t i, size_t size)
{
    for (; i + 8 <= size; i += 8)
        if (triggers[text[i]] | triggers[text[i + 1]] | triggers[text[i + 2]] |
            triggers[text[i + 3]] | triggers[text[i + 4]] | triggers[text[i + 5]] |
            triggers[text[i + 6]] | triggers[text[i + 7]])
            break;
    while (i < size && !triggers[text[i]])
        i++;
    return i;
}

bool gn_redact_needed(const char *text, size_t size)
{
    return next_trigger((const unsigned char *)text, 0, size) < size;
}

void gn_scan_begin(struct gn_scan *scan, const char *text, size_t size, unsigned policy)
{
    *scan = (struct gn_scan){.text = (const unsigned char *)text, .size = size, .policy = policy};
}

static bool wants(const struct gn_scan *scan, unsigned what)
{
    return (scan->policy & what) != 0;
}

#define NAMES (GN_REDACT_NAMED | GN_REDACT_AUTH | GN_REDACT_COOKIES)

/* = and : in any of their writings; :// in a URL. */
static bool find_at_sign(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    struct gn_sign sign = gn_sign_at(scan, at);
    if (sign.c != '=' && sign.c != ':')
        return sign.c == '>' && wants(scan, NAMES) && gn_find_element(scan, at, match);
    if (sign.c == ':' && wants(scan, GN_REDACT_URL)) {
        size_t authority = at + sign.width;
        static const char *const slashes[] = {"//", "\\/\\/", "%2F%2F", "%2f%2f"};
        for (size_t k = 0; k < 4; k++)
            if (gn_has(scan, authority, slashes[k], strlen(slashes[k])) &&
                gn_find_url(scan, at, authority + strlen(slashes[k]), match))
                return true;
    }
    if (wants(scan, NAMES) && gn_find_named(scan, at, sign, match))
        return true;
    return sign.c == ':' && sign.width == 1 && wants(scan, GN_REDACT_KEYS) &&
           gn_find_plain_key(scan, at, match);
}

static bool find_at_dash(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    bool first = at == scan->floor || gn_before(scan, at) != '-';
    if (first && gn_at(scan, at + 1) == '-') {
        if (wants(scan, GN_REDACT_PEM) && gn_find_private_key(scan, at, match))
            return true;
        if (wants(scan, NAMES) && gn_find_option(scan, at, match))
            return true;
    }
    if (wants(scan, GN_REDACT_UUID) && gn_find_uuid(scan, at, match))
        return true;
    return wants(scan, GN_REDACT_KEYS) && gn_find_key(scan, at, match);
}

static bool find_at(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    switch (scan->text[at]) {
    case '=':
    case ':':
    case '%':
    case '\\':
    case '&':
    case '>':
    case 0xef:
        return find_at_sign(scan, at, match);
    case '-':
        return find_at_dash(scan, at, match);
    case '.':
        if (wants(scan, GN_REDACT_JWT) && gn_find_jwt(scan, at, match))
            return true;
        return wants(scan, GN_REDACT_KEYS) && gn_find_key(scan, at, match);
    case '_':
        return wants(scan, GN_REDACT_KEYS) && gn_find_key(scan, at, match);
    case ',':
        return wants(scan, NAMES) && gn_find_pair(scan, at, match);
    case 'B':
    case 'b':
        if (wants(scan, GN_REDACT_AUTH) && gn_find_scheme(scan, at, match))
            return true;
        return wants(scan, GN_REDACT_KEYS) && gn_find_plain_key(scan, at, match);
    default:
        return wants(scan, GN_REDACT_KEYS) && gn_find_plain_key(scan, at, match);
    }
}

bool gn_scan_next(struct gn_scan *scan, struct gn_match *match)
{
    for (;;) {
        size_t at = next_trigger(scan->text, scan->at, scan->size);
        if (at == scan->size) {
            scan->at = at;
            return false;
        }
        scan->at = at + 1;
        if (find_at(scan, at, match)) {
            scan->floor = match->end;
            if (match->end > scan->at)
                scan->at = match->end;
            return true;
        }
    }
}

/* Appends to a buffer that doubles; false without memory, and then it is gone. */
static bool append(struct gn_redacted *to, size_t *room, const void *bytes, size_t size)
{
    if (size == 0)
        return true;
    if (to->size + size > *room) {
        size_t wanted = 2 * (to->size + size);
        char *grown = realloc(to->bytes, wanted);
        if (grown == NULL) {
            free(to->bytes);
            to->bytes = NULL;
            return false;
        }
        to->bytes = grown;
        *room = wanted;
    }
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
    return true;
}

bool gn_redact(const char *text, size_t size, unsigned policy, struct gn_redacted *result)
{
    struct gn_scan scan;
    struct gn_match match;
    size_t room = 0, copied = 0;
    *result = (struct gn_redacted){NULL, 0};
    gn_scan_begin(&scan, text, size, policy);
    while (gn_scan_next(&scan, &match)) {
        const char *name = gn_secret_name(match.kind);
        if (!append(result, &room, text + copied, match.start - copied) ||
            !append(result, &room, name, strlen(name)))
            return false;
        copied = match.end;
    }
    return result->bytes == NULL || append(result, &room, text + copied, size - copied);
}
