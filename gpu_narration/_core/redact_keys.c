/* Keys that their makers mark with a prefix, so that they are found where they leak.
 * The forms are those of the makers' public documentation; docs/redaction.md lists them. */
#include "redact_parts.h"

enum {
    GLUED = 1, /* odd enough to be one behind a letter, too */
    MIXED = 2, /* needs a digit: without one it may be words */
};

#define ALNUM C_ALNUM
#define WORD C_WORD
#define DASHED C_URL64
#define DOTTED C_NAME
#define BASE64 C_BASE64

/* Looked for at the first of - _ . in the prefix. */
static const struct prefix {
    char text[26];
    uint8_t least; /* bytes behind the prefix */
    uint8_t classes; /* of those */
    uint8_t flags;
} prefixes[] = {
    /* hosts of git */
    {"ghp_", 36, WORD, GLUED}, {"gho_", 36, WORD, GLUED}, {"ghu_", 36, WORD, GLUED},
    {"ghs_", 36, DOTTED, GLUED}, {"ghr_", 36, WORD, GLUED}, {"github_pat_", 22, WORD, GLUED},
    {"glpat-", 20, DOTTED, GLUED}, {"gloas-", 20, DASHED, GLUED}, {"gldt-", 20, DASHED, GLUED},
    {"glrt-", 20, DOTTED, GLUED}, {"glrtr-", 20, DASHED, GLUED}, {"glcbt-", 20, DASHED, GLUED},
    {"glptt-", 20, DASHED, GLUED}, {"glft-", 20, DASHED, GLUED}, {"glimt-", 20, DASHED, GLUED},
    {"glagent-", 20, DASHED, GLUED}, {"glwt-", 20, DASHED, GLUED}, {"glsoat-", 20, DASHED, GLUED},
    {"glffct-", 20, DASHED, GLUED},
    /* hosts of models */
    {"hf_", 30, ALNUM, GLUED}, {"api_org_", 30, ALNUM, GLUED}, {"sk-", 20, DASHED, MIXED},
    {"xai-", 40, WORD, GLUED}, {"gsk_", 40, ALNUM, GLUED}, {"r8_", 36, ALNUM, GLUED},
    {"pplx-", 40, ALNUM, GLUED}, {"nvapi-", 40, DASHED, GLUED}, {"fw_", 20, ALNUM, MIXED},
    {"tgp_v1_", 36, DASHED, GLUED}, {"csk-", 40, ALNUM, MIXED}, {"pcsk_", 40, WORD, GLUED},
    {"tvly-", 20, DASHED, MIXED}, {"lsv2_pt_", 32, WORD, GLUED}, {"lsv2_sk_", 32, WORD, GLUED},
    {"wandb_v1_", 20, WORD, GLUED}, {"pa-", 43, DASHED, MIXED}, {"sk_", 40, ALNUM, MIXED},
    /* clouds */
    {"GOCSPX-", 24, DASHED, GLUED}, {"ya29.", 20, DASHED, GLUED}, {"dop_v1_", 40, ALNUM, GLUED},
    {"doo_v1_", 40, ALNUM, GLUED}, {"dor_v1_", 40, ALNUM, GLUED}, {"HRKU-", 32, DASHED, GLUED},
    {"nfp_", 36, ALNUM, GLUED}, {"sbp_", 36, ALNUM, GLUED}, {"sb_secret_", 20, DASHED, GLUED},
    {"hvs.", 24, DASHED, GLUED}, {"hvb.", 24, DASHED, GLUED}, {"hvr.", 24, DASHED, GLUED},
    {"dp.pt.", 40, ALNUM, GLUED}, {"dp.st.", 40, DOTTED, GLUED}, {"pul-", 40, ALNUM, MIXED},
    {"tskey-", 20, DASHED, GLUED}, {"ops_eyJ", 40, BASE64, GLUED},
    {"AGE-SECRET-KEY-1", 50, ALNUM, GLUED},
    /* payment, mail, chat, shops */
    {"sk_live_", 16, WORD, GLUED}, {"sk_test_", 16, WORD, GLUED}, {"rk_live_", 16, WORD, GLUED},
    {"rk_test_", 16, WORD, GLUED}, {"whsec_", 24, BASE64, GLUED}, {"sq0atp-", 22, DASHED, GLUED},
    {"sq0csp-", 40, DASHED, GLUED}, {"SG.", 40, DOTTED, MIXED}, {"key-", 32, ALNUM, MIXED},
    {"xoxb-", 10, DASHED, GLUED}, {"xoxp-", 10, DASHED, GLUED}, {"xoxa-", 10, DASHED, GLUED},
    {"xoxr-", 10, DASHED, GLUED}, {"xoxs-", 10, DASHED, GLUED}, {"xoxe-", 20, DASHED, GLUED},
    {"xoxe.xox", 20, DASHED, GLUED}, {"xapp-", 20, DASHED, GLUED},
    {"hooks.slack.com/services/", 20, BASE64, GLUED},
    {"discord.com/api/webhooks/", 40, BASE64, GLUED},
    {"shpat_", 32, ALNUM, GLUED}, {"shpss_", 32, ALNUM, GLUED}, {"shpca_", 32, ALNUM, GLUED},
    {"shppa_", 32, ALNUM, GLUED},
    /* registries and tools */
    {"npm_", 36, ALNUM, GLUED}, {"pypi-", 40, DASHED, GLUED}, {"rubygems_", 40, ALNUM, GLUED},
    {"dckr_pat_", 20, DASHED, GLUED}, {"dckr_oat_", 20, DASHED, GLUED},
    {"lin_api_", 30, ALNUM, GLUED},
    {"ntn_", 40, ALNUM, GLUED}, {"figd_", 36, DASHED, GLUED}, {"sntrys_", 20, BASE64, GLUED},
    {"sntryu_", 40, ALNUM, GLUED}, {"glsa_", 32, WORD, GLUED}, {"glc_", 32, BASE64, GLUED},
    {"PMAK-", 50, DASHED, GLUED}, {"NRAK-", 24, ALNUM, GLUED}, {"CCIPAT_", 40, WORD, GLUED},
};

#define COUNT (sizeof prefixes / sizeof prefixes[0])
_Static_assert(COUNT < 255, "an index fits a byte");

/* Chains of prefixes by the two bytes before the anchor. */
static uint8_t anchors[COUNT];
static uint8_t first[256], next[COUNT]; /* index + 1; 0: none */

static uint8_t slot_of(unsigned char before_last, unsigned char last)
{
    return (uint8_t)(before_last * 29u + last * 7u);
}

__attribute__((constructor)) static void index_prefixes(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        const char *text = prefixes[i].text;
        size_t anchor = strcspn(text, "-_.");
        uint8_t slot = slot_of((unsigned char)text[anchor - 2], (unsigned char)text[anchor - 1]);
        anchors[i] = (uint8_t)anchor;
        next[i] = first[slot];
        first[slot] = (uint8_t)(i + 1);
    }
}

/* Whether `least` bytes of the classes stand at i, one of them a digit if it must. */
static bool has_body(const struct gn_scan *scan, size_t i, const struct prefix *prefix)
{
    bool digit = false;
    if (i > scan->size || scan->size - i < prefix->least)
        return false;
    for (size_t k = 0; k < prefix->least; k++) {
        if (!gn_is(scan->text[i + k], prefix->classes))
            return false;
        digit = digit || gn_is(scan->text[i + k], C_DIGIT);
    }
    for (size_t k = i + prefix->least; k < i + 128 && !digit && k < scan->size; k++) {
        if (!gn_is(scan->text[k], prefix->classes))
            break;
        digit = gn_is(scan->text[k], C_DIGIT);
    }
    return digit || (prefix->flags & MIXED) == 0;
}

static bool found(const struct gn_scan *scan, size_t start, size_t body, unsigned classes,
                  struct gn_match *match)
{
    size_t end = gn_run(scan, body, classes);
    while (end > body && gn_at(scan, end - 1) == '.') /* of the sentence */
        end--;
    while (gn_at(scan, end) == '=')
        end++;
    *match = (struct gn_match){start, end, GN_SECRET_VENDOR_KEY};
    return true;
}

bool gn_find_key(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    if (at < scan->floor + 2)
        return false;
    uint8_t i = first[slot_of(gn_at(scan, at - 2), gn_at(scan, at - 1))];
    for (; i != 0; i = next[i - 1]) {
        const struct prefix *prefix = &prefixes[i - 1];
        size_t anchor = anchors[i - 1], length = strlen(prefix->text);
        if (at < scan->floor + anchor || !gn_has(scan, at - anchor, prefix->text, length))
            continue;
        size_t start = at - anchor;
        if ((prefix->flags & GLUED || gn_begins(scan, start, C_NAME)) &&
            has_body(scan, start + length, prefix))
            return found(scan, start, start + length, prefix->classes, match);
    }
    return false;
}

/* ---- keys without a sign to look for ---- */

static size_t run_of(const struct gn_scan *scan, size_t i, unsigned classes, size_t most)
{
    size_t end = i;
    while (end < scan->size && end < i + most && gn_is(scan->text[end], classes))
        end++;
    return end - i;
}

/* At the I of AKIA, ASIA, ABIA (AWS), AIza (Google) and LTAI (Alibaba), the second C of
 * ACCA (AWS), the B of ATBB (Bitbucket). */
static bool find_lettered(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    static const struct {
        char text[5];
        uint8_t anchor, least, most, classes;
    } keys[] = {
        {"AKIA", 2, 16, 16, C_UPPER | C_DIGIT}, {"ASIA", 2, 16, 16, C_UPPER | C_DIGIT},
        {"ABIA", 2, 16, 16, C_UPPER | C_DIGIT}, {"ACCA", 2, 16, 16, C_UPPER | C_DIGIT},
        {"AIza", 1, 35, 35, C_URL64},           {"LTAI", 3, 12, 26, C_ALNUM},
        {"ATBB", 2, 28, 40, C_ALNUM},
    };
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        size_t start = at - keys[k].anchor;
        if (at < scan->floor + keys[k].anchor || !gn_has(scan, start, keys[k].text, 4))
            continue;
        unsigned char before = start > scan->floor ? gn_before(scan, start) : 0;
        size_t length = run_of(scan, start + 4, keys[k].classes, keys[k].most + 1u);
        if (gn_is(before, C_UPPER | C_DIGIT) || length < keys[k].least || length > keys[k].most)
            continue;
        *match = (struct gn_match){start, start + 4 + length, GN_SECRET_VENDOR_KEY};
        return true;
    }
    return false;
}

/* At the colon of a Telegram bot's token: 8 to 10 digits, ":AA", 33 more. */
static bool find_bot(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    size_t start = at;
    while (start > scan->floor && at - start < 11 && gn_is(gn_at(scan, start - 1), C_DIGIT))
        start--;
    if (at - start < 8 || at - start > 10 || !gn_has(scan, at + 1, "AA", 2) ||
        run_of(scan, at + 3, C_URL64, 33) < 33)
        return false;
    *match = (struct gn_match){start, gn_run(scan, at + 1, C_URL64), GN_SECRET_VENDOR_KEY};
    return true;
}

static bool is_after_tilde(unsigned char c)
{
    return gn_is(c, C_NAME) || c == '~';
}

/* At the tilde of a client secret of Azure (three signs, a digit, "Q~", 31 or more) and of
 * an OpenShift token ("sha256~"). */
static bool find_tilde(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    bool azure = at >= scan->floor + 5 && gn_at(scan, at - 1) == 'Q' &&
                 gn_is(gn_at(scan, at - 2), C_DIGIT);
    bool openshift = at >= scan->floor + 6 && gn_has(scan, at - 6, "sha256", 6);
    size_t length = 0;
    if (!(azure || openshift))
        return false;
    while (length < 34 && is_after_tilde(gn_at(scan, at + 1 + length)))
        length++;
    if (length < 31)
        return false;
    size_t end = at + 1 + length;
    while (is_after_tilde(gn_at(scan, end)) && gn_at(scan, end) != '.')
        end++;
    *match = (struct gn_match){at - (azure ? 5u : 6u), end, GN_SECRET_VENDOR_KEY};
    return true;
}

bool gn_find_plain_key(struct gn_scan *scan, size_t at, struct gn_match *match)
{
    switch (gn_at(scan, at)) {
    case ':':
        return find_bot(scan, at, match);
    case '~':
        return find_tilde(scan, at, match);
    default:
        return find_lettered(scan, at, match);
    }
}

/* ---- whole values ---- */

/* The beginnings that tell even a short value; here there is no text around it. */
static bool has_known_beginning(const char *text, size_t size)
{
    static const char *const beginnings[] = {"akia", "asia", "aiza", "eyj", "basic ", "bearer ",
                                             "-----begin"};
    const struct gn_scan whole = {.text = (const unsigned char *)text, .size = size};
    size_t anchor = 0;
    while (anchor < size && anchor < 10 && gn_is(whole.text[anchor], C_ALNUM))
        anchor++;
    uint8_t i = anchor < 2 ? 0 : first[slot_of(whole.text[anchor - 2], whole.text[anchor - 1])];
    for (; i != 0; i = next[i - 1]) {
        const struct prefix *prefix = &prefixes[i - 1];
        /* Of the short ones that words begin with, too, only the best known. */
        bool odd = (prefix->flags & GLUED) != 0 || strcmp(prefix->text, "sk-") == 0;
        bool here = anchors[i - 1] == anchor && odd;
        if (here && gn_has(&whole, 0, prefix->text, strlen(prefix->text)))
            return true;
    }
    for (size_t k = 0; k < sizeof beginnings / sizeof beginnings[0]; k++)
        if (gn_has_nocase(&whole, 0, beginnings[k]))
            return true;
    return false;
}

bool gn_looks_like_credential(const char *text, size_t size)
{
    if (size >= 12 && has_known_beginning(text, size))
        return true;
    /* Random-looking: long, one word, letters of both cases or hex, and digits. */
    if (size < 24)
        return false;
    size_t upper = 0, lower = 0, digits = 0, slashes = 0, length = size;
    while (length > 0 && text[length - 1] == '=')
        length--;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (gn_is(c, C_UPPER))
            upper++;
        else if (gn_is(c, C_LOWER))
            lower++;
        else if (gn_is(c, C_DIGIT))
            digits++;
        else if (gn_is(c, C_PLUS))
            slashes++;
        else if (c == '.' || gn_is(c, C_SPACE) || c == ':' || c >= 0x80)
            return false; /* a KV key such as blk.0.attn_k, a sentence */
    }
    size_t most = upper + lower + digits;
    if (slashes > 0) /* base64, unless it is a path */
        return most + slashes == length && length >= 32 && upper >= 4 && lower >= 4 && digits >= 2;
    return digits >= 4 && (upper >= 4 || lower >= 4) && most >= length - 4;
}
