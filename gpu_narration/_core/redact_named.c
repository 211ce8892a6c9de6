/* Names and their values. */
#include "redact_parts.h"

#define PROBE 96u

struct name {
    size_t start, end;
    enum gn_name_rule rule;
    enum gn_secret kind;
    bool quoted; /* a quote stands behind it */
};

static unsigned policy_bit(enum gn_secret kind)
{
    switch (kind) {
    case GN_SECRET_AUTHORIZATION:
    case GN_SECRET_BEARER:
        return GN_REDACT_AUTH;
    case GN_SECRET_COOKIE:
        return GN_REDACT_COOKIES;
    default:
        return GN_REDACT_NAMED;
    }
}

/* "cache key": the word before the name makes it one that opens nothing. */
static bool is_of_a_table(const struct gn_scan *scan, const struct name *name)
{
    size_t start = name->start;
    if (start <= scan->floor || gn_before(scan, start) != ' ')
        return false;
    size_t word = start - 1;
    while (word > scan->floor && start - word < GN_LOOK_BACK / 2 &&
           gn_is(gn_before(scan, word), C_ALNUM))
        word--;
    enum gn_secret kind = name->kind;
    return word < start - 1 && gn_name_end((const char *)scan->text + word, name->end - word,
                                           &kind) == GN_NAME_PLAIN;
}

static bool judge(const struct gn_scan *scan, struct name *name)
{
    if (name->end <= name->start)
        return false;
    name->rule = gn_name_end((const char *)scan->text + name->start, name->end - name->start,
                             &name->kind);
    if (name->rule == GN_NAME_CHECKED && is_of_a_table(scan, name))
        return false;
    return name->rule != GN_NAME_PLAIN && (scan->policy & policy_bit(name->kind)) != 0;
}

/* What may stand between a name and its sign: "name" =, user[name]=, **name**:, name != */
static bool may_follow_name(unsigned char c)
{
    return c == '"' || c == '\'' || c == '`' || c == ']' || c == '*' || c == '\\' || c == '!' ||
           c == '?' || c == '+' || c == ')';
}

static size_t skip_closers_back(const struct gn_scan *scan, size_t end, bool *quoted)
{
    size_t i = end;
    for (int times = 0; times < 12; times++) {
        size_t before = i;
        i = gn_skip_ansi_back(scan, i);
        while (i > scan->floor && end - i < 16 &&
               (gn_before(scan, i) == ' ' || gn_before(scan, i) == '\t'))
            i--;
        struct gn_sign sign = gn_sign_before(scan, i);
        if (i > scan->floor && may_follow_name(sign.c)) {
            *quoted = *quoted || sign.c == '"' || sign.c == '\'';
            i -= sign.width;
        }
        if (i == before)
            break;
    }
    return i;
}

/* A letter stands before it, and neither the end of an escape nor of a colour. */
static bool is_plain_end(const struct gn_scan *scan, size_t end)
{
    if (end < scan->floor + 6)
        return false;
    const unsigned char *text = scan->text + end;
    return gn_is(text[-1], C_NAME) && text[-1] != 'm' && text[-3] != '%' && text[-4] != '\\' &&
           text[-6] != '\\';
}

/* "[redacted secret]:" is no secret's name. */
static bool is_redacted(const struct gn_scan *scan, const struct name *name)
{
    if (gn_at(scan, name->end) != ']')
        return false;
    for (size_t i = name->start; i > scan->floor && i + 32 > name->start; i--)
        if (gn_at(scan, i - 1) == '[')
            return gn_redacted_end(scan, i - 1) == name->end + 1;
    return false;
}

/* The name that ends before `end`, if its value is to be hidden. */
static bool name_before(const struct gn_scan *scan, size_t end, struct name *name)
{
    name->quoted = false;
    size_t i = is_plain_end(scan, end) ? end : skip_closers_back(scan, end, &name->quoted);
    name->end = i;
    size_t limit = i > scan->floor + GN_LOOK_BACK ? i - GN_LOOK_BACK : scan->floor;
    while (i > limit && gn_is(gn_at(scan, i - 1), C_NAME))
        i--;
    name->start = gn_skip_escape(scan, i, name->end);
    return judge(scan, name) && !is_redacted(scan, name);
}

static bool found(struct gn_match *match, size_t start, size_t end, enum gn_secret kind)
{
    if (end <= start)
        return false;
    *match = (struct gn_match){start, end, kind};
    return true;
}

/* ---- values ---- */

static bool is_number(const struct gn_scan *scan, size_t start, size_t end, size_t most)
{
    size_t i = start;
    while (i < end && (gn_is(gn_at(scan, i), C_DIGIT) || gn_at(scan, i) == '.' ||
                       (i == start && gn_at(scan, i) == '-')))
        i++;
    return i == end && end - start <= most;
}

static bool is_credential(const struct gn_scan *scan, const struct name *name, size_t start,
                          size_t end, bool quoted)
{
    const char *text = (const char *)scan->text + start;
    if (gn_looks_like_credential(text, end - start))
        return true;
    /* Keys are names of tensors and of cache entries, words all of them. */
    return quoted && name->kind != GN_SECRET_API_KEY &&
           gn_looks_like_token(scan->text + start, end - start);
}

static bool is_plural(const struct gn_scan *scan, const struct name *name)
{
    return gn_lower(gn_at(scan, name->end - 1)) == 's';
}

/* `prose`: behind a colon and a blank, where a sentence may go on instead. */
static bool is_secret(const struct gn_scan *scan, const struct name *name, size_t start,
                      size_t end, bool quoted, bool prose)
{
    if (gn_is_blank(scan, start, end))
        return false;
    if (name->rule == GN_NAME_CHECKED)
        return is_credential(scan, name, start, end, quoted);
    if (quoted)
        return true;
    if (gn_is_constant(scan, start, end) || (prose && gn_is_remark(scan, start, end)))
        return false;
    if (name->kind == GN_SECRET_PASSWORD || name->kind == GN_SECRET_SECRET) {
        /* PWD=/home/me */
        bool directory = (gn_at(scan, start) == '/' || gn_at(scan, start) == '~') &&
                         name->end - name->start >= 3 && gn_has_nocase(scan, name->end - 3, "pwd");
        return !directory && !(is_plural(scan, name) && is_number(scan, start, end, 8));
    }
    return !is_number(scan, start, end, 8); /* id_token=17, cookies: 3 */
}

/* b"...", u'...': the letters before a quote. */
static size_t skip_prefix(const struct gn_scan *scan, size_t i)
{
    size_t k = i;
    while (k < i + 2 && gn_at(scan, k) != 0 && strchr("bBuUrRfF", gn_at(scan, k)) != NULL)
        k++;
    unsigned char c = gn_at(scan, k);
    return k > i && (c == '"' || c == '\'' || c == '\\') ? k : i;
}

/* name=value pairs with "; " between them, as one. */
static size_t cookie_end(const struct gn_scan *scan, size_t i)
{
    for (;;) {
        i = gn_bare_end(scan, i);
        size_t next = gn_at(scan, i) == ';' || gn_at(scan, i) == ',' ? i + 1 : i;
        if (next == i)
            return i;
        next = gn_skip_spaces(scan, next);
        size_t word = gn_run(scan, next, C_NAME);
        if (gn_at(scan, i) == ',' ? gn_at(scan, word) != '=' : word == next)
            return i;
        i = next;
    }
}

/* A scheme and its credentials, or one word; a list of name="value" as a whole. */
static size_t authorization_end(const struct gn_scan *scan, size_t i)
{
    static const char *const schemes[] = {
        "basic", "bearer", "digest", "token", "negotiate", "ntlm", "aws4-hmac-sha256", "apikey",
        "key", "hawk", "oauth", "jwt", "sharedkey", "sharedaccesssignature", "vapid",
        "goog4-rsa-sha256", "genie", "splunk", "ssws", "hmac", NULL,
    };
    size_t end = gn_bare_end(scan, i), next = gn_skip_spaces(scan, end);
    bool known = false;
    for (size_t k = 0; schemes[k] != NULL; k++)
        known = known || (strlen(schemes[k]) == end - i && gn_has_nocase(scan, i, schemes[k]));
    if (next == end)
        return end;
    size_t second = gn_bare_end(scan, next);
    if (!known && !gn_looks_like_token(scan->text + next, second - next))
        return end;
    for (;;) {
        size_t word = gn_run(scan, next, C_NAME);
        if (gn_at(scan, word) == '=' && (gn_at(scan, word + 1) == '"')) {
            struct gn_quote quote = gn_quote_at(scan, word + 1);
            end = gn_quote_end(scan, &quote);
            end = end < scan->size ? end + 1 : end;
        } else {
            end = gn_bare_end(scan, next);
        }
        if (gn_at(scan, end) != ',')
            return end;
        next = gn_skip_spaces(scan, end + 1);
        word = gn_run(scan, next, C_NAME);
        if (word == next || gn_at(scan, word) != '=')
            return end;
    }
}

/* What only might be a secret is judged by its first word: if it is none, others that may
 * begin behind it look at the same bytes. */
static size_t word_end(const struct gn_scan *scan, size_t i)
{
    while (i < scan->size && (gn_is(scan->text[i], C_NAME | C_PLUS) || scan->text[i] == '%'))
        i++;
    return i;
}

static bool bare_value(struct gn_scan *scan, const struct name *name, size_t i, bool prose,
                       struct gn_match *match)
{
    size_t redacted = gn_redacted_end(scan, i);
    bool checked = name->rule == GN_NAME_CHECKED;
    size_t end = checked ? word_end(scan, redacted) : gn_bare_end_behind(scan, i, redacted);
    size_t closed = end; /* with the closing signs of a placeholder */
    for (; closed < end + 3; closed++)
        if (gn_at(scan, closed) == 0 || strchr("}>])s", gn_at(scan, closed)) == NULL)
            break;
    if ((redacted > i && end == redacted) || gn_is_blank(scan, i, closed) ||
        !is_secret(scan, name, i, end, false, prose))
        return false;
    if (checked)
        return found(match, i, gn_bare_end_behind(scan, i, redacted), name->kind);
    if (name->kind == GN_SECRET_COOKIE && memchr(scan->text + i, '=', end - i) != NULL)
        end = cookie_end(scan, i);
    if (name->kind == GN_SECRET_AUTHORIZATION)
        end = authorization_end(scan, i);
    return found(match, i, end, name->kind);
}

/* {"user": "x"} and ["x", "y"] behind a name, and auth=("user", "x"). */
static bool container_value(struct gn_scan *scan, const struct name *name, size_t i,
                            struct gn_match *match)
{
    unsigned char c = gn_at(scan, i);
    size_t inner = i + 1;
    while (gn_is(gn_at(scan, inner), C_SPACE) && inner < scan->size)
        inner++;
    bool quote = gn_quote_at(scan, skip_prefix(scan, inner)).inside != 0;
    bool pair = c == '(' && quote && name->kind == GN_SECRET_AUTHORIZATION;
    bool list = (c == '{' || c == '[') && name->rule == GN_NAME_SECRET && quote;
    if (!(pair || list) || gn_redacted_end(scan, i) > i)
        return false;
    return found(match, i, gn_container_end(scan, i), name->kind);
}

static bool quoted_value(struct gn_scan *scan, const struct name *name,
                         const struct gn_quote *quote, struct gn_match *match)
{
    struct gn_scan probe = *scan; /* what only might be one is judged by its beginning */
    if (name->rule == GN_NAME_CHECKED && probe.size - quote->inside > PROBE)
        probe.size = quote->inside + PROBE;
    size_t end = gn_quote_end(&probe, quote);
    return is_secret(scan, name, quote->inside, end, true, false) &&
           found(match, quote->inside, end == probe.size ? gn_quote_end(scan, quote) : end,
                 name->kind);
}

static bool value_at(struct gn_scan *scan, const struct name *name, size_t i, bool prose,
                     struct gn_match *match)
{
    struct gn_quote quote = gn_quote_at(scan, skip_prefix(scan, i));
    if (quote.inside != 0)
        return quoted_value(scan, name, &quote, match);
    unsigned char c = gn_at(scan, i);
    if ((c == '{' || c == '[' || c == '(') && container_value(scan, name, i, match))
        return true;
    return bare_value(scan, name, i, prose, match);
}

bool gn_find_named(struct gn_scan *scan, size_t at, struct gn_sign sign, struct gn_match *match)
{
    struct name name;
    size_t i = at + sign.width;
    if (sign.c == ':' && (gn_at(scan, i) == ':' || gn_before(scan, at) == ':' ||
                          gn_has(scan, i, "//", 2)))
        return false;
    if (!name_before(scan, at, &name))
        return false;
    bool colon = sign.c == ':';
    for (int times = 0; times < 2; times++) { /* := => == === */
        struct gn_sign more = gn_sign_at(scan, i);
        if (more.c != '=' && !(more.c == '>' && !colon))
            break;
        colon = false;
        i += more.width;
    }
    size_t after = i;
    i = gn_skip_ansi(scan, i);
    if (gn_has(scan, i, "**", 2))
        i += 2;
    i = gn_skip_ansi(scan, gn_skip_spaces(scan, i));
    size_t line = i;
    while (line < scan->size && line < i + 256 && gn_is(gn_at(scan, line), C_SPACE) &&
           gn_at(scan, line) != 0x1b)
        line++;
    if (line > i && gn_quote_at(scan, line).inside != 0)
        i = line; /* JSON over two lines */
    return value_at(scan, &name, i, colon && i > after, match);
}

bool gn_find_option(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    /* at the first of exactly two dashes */
    unsigned char before = at > scan->floor ? gn_before(scan, at) : 0;
    if (gn_is(before, C_NAME | C_PLUS) || gn_at(scan, at + 2) == '-')
        return false;
    struct name name = {.start = at + 2, .end = at + 2};
    size_t limit = name.end + GN_LOOK_BACK;
    while (name.end < limit && gn_is(gn_at(scan, name.end), C_URL64))
        name.end++;
    size_t i = gn_skip_spaces(scan, name.end);
    if (i == name.end || gn_at(scan, i) == '-' || gn_at(scan, i) == '=' || gn_at(scan, i) == ':' ||
        !judge(scan, &name))
        return false;
    return value_at(scan, &name, i, true, match);
}

bool gn_find_element(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    struct gn_sign sign = gn_sign_at(scan, at);
    struct name name = {.start = at, .end = at};
    size_t limit = at > scan->floor + GN_LOOK_BACK ? at - GN_LOOK_BACK : scan->floor;
    while (name.start > limit && gn_is(gn_at(scan, name.start - 1), C_NAME))
        name.start--;
    size_t open = name.start;
    if (open > limit && gn_at(scan, open - 1) == ':') /* a prefix for a namespace */
        for (open--; open > limit && gn_is(gn_at(scan, open - 1), C_NAME); open--)
            ;
    if (gn_sign_before(scan, open).c == ';' && open >= scan->floor + 4 &&
        gn_has(scan, open - 4, "&lt;", 4))
        open -= 3; /* the escaped sign counts as one byte */
    if (open <= scan->floor || (gn_at(scan, open - 1) != '<' && gn_at(scan, open - 1) != '&' &&
                                gn_sign_before(scan, open).c != '<'))
        return false;
    if (!judge(scan, &name))
        return false;
    size_t start = at + sign.width, end = start;
    const unsigned char *close = memchr(scan->text + start, sign.width == 1 ? '<' : '&',
                                        scan->size - start);
    if (close == NULL)
        return false;
    end = (size_t)(close - scan->text);
    if (gn_at(scan, end + gn_sign_at(scan, end).width) != '/' || gn_sign_at(scan, end).c != '<')
        return false;
    while (start < end && gn_space_width(scan, start) > 0)
        start += gn_space_width(scan, start);
    while (end > start && gn_is(gn_at(scan, end - 1), C_SPACE))
        end--;
    return is_secret(scan, &name, start, end, true, false) && found(match, start, end, name.kind);
}

/* The byte before the quotes that a name stands in. */
static unsigned char opener_of(const struct gn_scan *scan, const struct name *name)
{
    size_t i = name->start, limit = i > scan->floor + 16 ? i - 16 : scan->floor;
    while (i > limit && (gn_at(scan, i - 1) == '"' || gn_at(scan, i - 1) == '\'' ||
                         gn_at(scan, i - 1) == '\\'))
        i--;
    if (i > limit && (gn_at(scan, i - 1) == 'b' || gn_at(scan, i - 1) == 'u'))
        i--;
    return gn_before(scan, i);
}

/* ("name", "value") and ["--name", "value"], at the comma */
bool gn_find_pair(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    struct name name;
    unsigned char before = gn_before(scan, at);
    if ((before != '"' && before != '\'') || !name_before(scan, at, &name) || !name.quoted)
        return false;
    struct gn_quote quote = gn_quote_at(scan, skip_prefix(scan, gn_skip_spaces(scan, at + 1)));
    bool option = gn_has(scan, name.start, "--", 2);
    unsigned char bracket = opener_of(scan, &name);
    if (quote.inside == 0 || !quote.raw ||
        (option ? gn_at(scan, quote.inside) == '-' : bracket != '(' && bracket != '['))
        return false;
    size_t end = gn_quote_end(scan, &quote);
    bool alone = option || name.kind == GN_SECRET_AUTHORIZATION || name.kind == GN_SECRET_COOKIE;
    if (!alone && end < scan->size) { /* two of a list that goes on are no pair */
        unsigned char next = gn_at(scan, gn_skip_spaces(scan, end + quote.sign.width));
        if (next != ')' && next != ']' && next != 0)
            return false;
    }
    return is_secret(scan, &name, quote.inside, end, true, false) &&
           found(match, quote.inside, end, name.kind);
}
