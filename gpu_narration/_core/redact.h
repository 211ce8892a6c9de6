/* Finds secrets in text: a single pass over bytes, in time linear in their number.
 *
 * The text is UTF-8 or anything else: what is not ASCII only ever separates.  The
 * scanner stops at the few bytes that every secret has near its start ('=', ':', '-',
 * '_', '.' and some more), looks back over at most GN_LOOK_BACK bytes and forward
 * over a bounded probe; only what belongs to a match, or is remembered in gn_scan as
 * holding none, is looked at any further.  docs/redaction.md says what is found. */
#ifndef GN_REDACT_H
#define GN_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#define GN_LOOK_BACK 64u

/* What to look for; a policy is an "or" of these. */
enum gn_redact {
    GN_REDACT_AUTH = 1, /* bearer and basic authentication, Authorization headers */
    GN_REDACT_JWT = 2,
    GN_REDACT_PEM = 4, /* private keys */
    GN_REDACT_URL = 8, /* user information of a URL */
    GN_REDACT_NAMED = 16, /* values behind names: password, secret, api_key, token ... */
    GN_REDACT_KEYS = 32, /* keys with the prefix of a vendor */
    GN_REDACT_COOKIES = 64,
    GN_REDACT_UUID = 128,
    GN_REDACT_DEFAULT = 127, /* everything but UUIDs */
};

/* What was found; gn_secret_name() is what stands in the text instead.  The names are
 * stable, and so are the numbers. */
enum gn_secret {
    GN_SECRET_NONE,
    GN_SECRET_BEARER,
    GN_SECRET_BASIC,
    GN_SECRET_AUTHORIZATION,
    GN_SECRET_JWT,
    GN_SECRET_PRIVATE_KEY,
    GN_SECRET_URL,
    GN_SECRET_PASSWORD,
    GN_SECRET_SECRET,
    GN_SECRET_TOKEN,
    GN_SECRET_API_KEY,
    GN_SECRET_VENDOR_KEY,
    GN_SECRET_COOKIE,
    GN_SECRET_UUID,
    GN_SECRET_FIELD, /* a field that is hidden whatever it holds */
    GN_SECRET_COUNT,
};

struct gn_match {
    size_t start, end; /* bytes [start, end) of the text are to be replaced */
    enum gn_secret kind;
};

/* False only if gn_scan_next would find nothing under any policy; tens of ns. */
bool gn_redact_needed(const char *text, size_t size);

struct gn_scan {
    const unsigned char *text; /* borrowed until the last gn_scan_next */
    size_t size, at;
    size_t floor; /* end of the match before: nothing before it is looked at again */
    size_t no_user; /* up to here no user information of a URL ends */
    unsigned policy;
};

void gn_scan_begin(struct gn_scan *scan, const char *text, size_t size, unsigned policy);
/* The next secret, behind the one before; false at the end of the text. */
bool gn_scan_next(struct gn_scan *scan, struct gn_match *match);

/* The text without its secrets; `bytes` is NULL where it has none, else the caller frees
 * it.  False if there was no memory for it. */
struct gn_redacted {
    char *bytes;
    size_t size;
};
bool gn_redact(const char *text, size_t size, unsigned policy, struct gn_redacted *result);

/* "[redacted jwt]" and so on. */
const char *gn_secret_name(enum gn_secret kind);

/* What the name of a field or of a parameter says of its value.  A secret word anywhere
 * in it counts, unless the name is of a property: password_length. */
enum gn_name_rule {
    GN_NAME_PLAIN = 0,
    GN_NAME_SECRET = 1, /* whatever the value is */
    GN_NAME_CHECKED = 2, /* token, key: where the value looks like a credential */
};
/* `kind`: what to call the value; may be NULL. */
enum gn_name_rule gn_redact_name(const char *name, size_t size, enum gn_secret *kind);

/* True for text that as a whole reads like a credential and not like a word, an id of
 * a token or a KV-cache key: a known prefix, or long and random-looking. */
bool gn_looks_like_credential(const char *text, size_t size);

#endif
