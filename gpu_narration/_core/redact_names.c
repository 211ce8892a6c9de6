/* What a name says of its value.
 *
 * A name counts by its end: "db_password" and "DB-PASSWORD" and "dbPassword" end in a
 * secret word, "password_length" does not.  It is compared in lower case and without
 * its joints, so that "api_key", "apiKey" and "API-KEY" are one word; where a word is
 * also the end of harmless ones, a joint must stand before it ("key", not "monkey"). */
#include "redact_parts.h"

enum { ANYWHERE = 0, JOINT = 1 };

struct word {
    const char *text;
    uint8_t size, where, rule, kind;
};

#define SECRET GN_NAME_SECRET
#define CHECKED GN_NAME_CHECKED
#define WORD(text, where, rule, kind) {text, sizeof(text) - 1, where, rule, kind}
#define PASSWORD(text, where) WORD(text, where, SECRET, GN_SECRET_PASSWORD)
#define HIDDEN(text, where) WORD(text, where, SECRET, GN_SECRET_SECRET)
#define TOKEN(text, where) WORD(text, where, SECRET, GN_SECRET_TOKEN)
#define KEY(text, where) WORD(text, where, SECRET, GN_SECRET_API_KEY)
#define COOKIE(text) WORD(text, JOINT, SECRET, GN_SECRET_COOKIE)
#define AUTH(text) WORD(text, ANYWHERE, SECRET, GN_SECRET_AUTHORIZATION)
#define MAYBE(text, kind) WORD(text, JOINT, CHECKED, kind)
#define END {NULL, 0, 0, 0, 0}

/* By the last letter; of two that fit the first counts. */
static const struct word ends_d[] = {
    PASSWORD("password", ANYWHERE), PASSWORD("passwd", ANYWHERE), PASSWORD("pwd", JOINT),
    PASSWORD("pgpasswd", ANYWHERE), MAYBE("sid", GN_SECRET_TOKEN),
    MAYBE("sessionid", GN_SECRET_TOKEN), END,
};
static const struct word ends_e[] = {
    PASSWORD("passphrase", ANYWHERE), COOKIE("cookie"), MAYBE("signature", GN_SECRET_TOKEN), END,
};
static const struct word ends_g[] = {MAYBE("sig", GN_SECRET_TOKEN), END};
static const struct word ends_h[] = {
    AUTH("proxyauth"), MAYBE("auth", GN_SECRET_AUTHORIZATION), END,
};
static const struct word ends_l[] = {HIDDEN("credential", JOINT), END};
static const struct word ends_n[] = {
    AUTH("authorization"), AUTH("authorisation"),
    TOKEN("accesstoken", ANYWHERE), TOKEN("authtoken", ANYWHERE), TOKEN("apitoken", ANYWHERE),
    TOKEN("bearertoken", ANYWHERE), TOKEN("refreshtoken", ANYWHERE),
    TOKEN("sessiontoken", ANYWHERE), TOKEN("securitytoken", ANYWHERE),
    TOKEN("secrettoken", ANYWHERE), TOKEN("privatetoken", ANYWHERE),
    TOKEN("csrftoken", ANYWHERE), TOKEN("xsrftoken", ANYWHERE), TOKEN("oauthtoken", ANYWHERE),
    TOKEN("githubtoken", JOINT), TOKEN("gitlabtoken", JOINT), TOKEN("slacktoken", JOINT),
    TOKEN("deploytoken", JOINT), TOKEN("vaulttoken", JOINT), TOKEN("jwttoken", JOINT),
    TOKEN("hubtoken", JOINT), TOKEN("huggingfacetoken", JOINT), TOKEN("openaitoken", JOINT),
    TOKEN("registrytoken", JOINT), TOKEN("runnertoken", JOINT), TOKEN("webhooktoken", JOINT),
    TOKEN("logintoken", JOINT), TOKEN("resettoken", JOINT), TOKEN("clienttoken", JOINT),
    TOKEN("servicetoken", JOINT), TOKEN("admintoken", JOINT), TOKEN("roottoken", JOINT),
    TOKEN("bottoken", JOINT), TOKEN("npmtoken", JOINT), TOKEN("pypitoken", JOINT),
    TOKEN("sastoken", JOINT), TOKEN("ghtoken", JOINT), TOKEN("idtoken", JOINT),
    TOKEN("hftoken", JOINT), MAYBE("token", GN_SECRET_TOKEN), END,
};
static const struct word ends_r[] = {WORD("bearer", JOINT, SECRET, GN_SECRET_BEARER), END};
static const struct word ends_s[] = {
    PASSWORD("passwords", ANYWHERE), HIDDEN("secrets", JOINT), HIDDEN("credentials", JOINT),
    COOKIE("cookies"), PASSWORD("dbpass", JOINT), PASSWORD("userpass", JOINT),
    PASSWORD("rootpass", JOINT), PASSWORD("adminpass", JOINT), PASSWORD("smtppass", JOINT),
    PASSWORD("mailpass", JOINT), PASSWORD("mysqlpass", JOINT), PASSWORD("redispass", JOINT),
    PASSWORD("ftppass", JOINT), PASSWORD("sshpass", JOINT), PASSWORD("httppass", JOINT),
    KEY("apikeys", JOINT), MAYBE("pass", GN_SECRET_PASSWORD), MAYBE("keys", GN_SECRET_API_KEY),
    MAYBE("tokens", GN_SECRET_TOKEN), END,
};
static const struct word ends_t[] = {
    HIDDEN("secret", ANYWHERE), WORD("jwt", JOINT, SECRET, GN_SECRET_TOKEN), END,
};
static const struct word ends_y[] = {
    KEY("apikey", ANYWHERE), KEY("secretkey", ANYWHERE), KEY("privatekey", ANYWHERE),
    KEY("accesskey", ANYWHERE), KEY("signingkey", ANYWHERE), KEY("encryptionkey", ANYWHERE),
    KEY("authkey", ANYWHERE), KEY("accountkey", JOINT), KEY("sshkey", JOINT),
    KEY("masterkey", JOINT), KEY("sharedkey", JOINT), KEY("storagekey", JOINT),
    KEY("subscriptionkey", JOINT), KEY("licensekey", JOINT), KEY("consumerkey", JOINT),
    KEY("functionskey", JOINT), KEY("hmackey", JOINT), KEY("aeskey", JOINT),
    KEY("deploykey", JOINT), KEY("adminkey", JOINT), KEY("appkey", JOINT),
    KEY("openaikey", JOINT), KEY("anthropickey", JOINT), MAYBE("key", GN_SECRET_API_KEY), END,
};

static const struct word *const by_end[256] = {
    ['d'] = ends_d, ['e'] = ends_e, ['g'] = ends_g, ['h'] = ends_h, ['l'] = ends_l,
    ['n'] = ends_n, ['r'] = ends_r, ['s'] = ends_s, ['t'] = ends_t, ['y'] = ends_y,
};

/* Behind a secret word these change nothing: password_hash, SECRET_KEY_BASE, apiKey2. */
static const char *const suffixes[] = {
    "base", "b", "value", "hash", "confirmation", "confirm", "old", "new", "text",
    "plain", "plaintext", "env", "str", "string", "raw", NULL,
};
/* Before one these make a question of it: has_password, use_auth_token. */
static const char *const questions[] = {
    "has", "is", "no", "use", "uses", "show", "hide", "require", "requires", "required", "need",
    "needs", "with", "without", "allow", "enable", "disable", "check", "verify", "num", "n", NULL,
};

/* A key of one of these finds something and opens nothing, even where it is a hash. */
static const char *const tables[] = {
    "cache", "kv", "block", "prefix", "page", "hash", "map", "dict", "lookup", "index", "partition",
    "primary", "foreign", "sort", "group", "shard", "routing", "object", "row", "layer", "tensor",
    "slot", "batch", NULL,
};

/* The name in lower case without joints; bit i of `joints`: a word begins at i. */
struct plain_name {
    unsigned char text[GN_LOOK_BACK];
    uint64_t joints;
    size_t size;
};

static void make_plain(struct plain_name *name, const char *text, size_t size)
{
    bool joint = true;
    unsigned char before = 0;
    name->size = 0;
    name->joints = 0;
    if (size > GN_LOOK_BACK) {
        text += size - GN_LOOK_BACK;
        size = GN_LOOK_BACK;
        joint = false;
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!gn_is(c, C_ALNUM)) {
            joint = true;
            before = c;
            continue;
        }
        unsigned char next = i + 1 < size ? (unsigned char)text[i + 1] : 0;
        bool camel = gn_is(c, C_UPPER) && (gn_is(before, C_LOWER | C_DIGIT) ||
                                           (gn_is(before, C_UPPER) && gn_is(next, C_LOWER)));
        bool digits = gn_is(before, C_ALNUM) && gn_is(c, C_DIGIT) != gn_is(before, C_DIGIT);
        if (joint || camel || digits)
            name->joints |= 1ull << name->size;
        name->text[name->size++] = gn_lower(c);
        joint = false;
        before = c;
    }
}

static bool ends_in(const struct plain_name *name, size_t end, const char *word, size_t length)
{
    return length <= end && name->text[end - length] == (unsigned char)word[0] &&
           memcmp(name->text + end - length, word, length) == 0;
}

static bool joint_at(const struct plain_name *name, size_t i)
{
    return i < GN_LOOK_BACK && (name->joints >> i & 1) != 0;
}

/* Where the word begins that ends at `end`. */
static size_t last_joint(const struct plain_name *name, size_t end)
{
    uint64_t joints = name->joints & ((1ull << (end - 1) << 1) - 1);
    return joints == 0 ? 0 : 63u - (size_t)__builtin_clzll(joints);
}

static bool is_one_of(const struct plain_name *name, size_t start, size_t end,
                      const char *const *words)
{
    for (; *words != NULL; words++)
        if (name->text[start] == (unsigned char)(*words)[0] && strlen(*words) == end - start &&
            memcmp(name->text + start, *words, end - start) == 0)
            return true;
    return false;
}

/* Without digits and suffixes at its end. */
static size_t without_suffix(const struct plain_name *name)
{
    size_t end = name->size;
    for (int times = 0; times < 2 && end > 0; times++) {
        while (end > 1 && gn_is(name->text[end - 1], C_DIGIT))
            end--;
        size_t start = last_joint(name, end);
        if (start == 0 || !is_one_of(name, start, end, suffixes))
            break;
        end = start;
    }
    return end;
}

static const struct word *find_word(const struct plain_name *name, size_t end, size_t *start)
{
    const struct word *word = end == 0 ? NULL : by_end[name->text[end - 1]];
    for (; word != NULL && word->text != NULL; word++) {
        size_t length = word->size;
        if (ends_in(name, end, word->text, length) &&
            (word->where == ANYWHERE || joint_at(name, end - length))) {
            *start = end - length;
            return word;
        }
    }
    return NULL;
}

static bool is_question(const struct plain_name *name, size_t end)
{
    return end > 0 && joint_at(name, end) && is_one_of(name, last_joint(name, end), end, questions);
}

/* By the words that end at `end`. */
static enum gn_name_rule rule_at(const struct plain_name *name, size_t end, enum gn_secret *kind)
{
    size_t start = 0;
    const struct word *word = find_word(name, end, &start);
    if (word == NULL)
        return GN_NAME_PLAIN;
    *kind = (enum gn_secret)word->kind;
    if (word->rule == CHECKED && word->kind == GN_SECRET_API_KEY && start > 0 &&
        joint_at(name, start) && is_one_of(name, last_joint(name, start), start, tables))
        return GN_NAME_PLAIN;
    return is_question(name, start) ? GN_NAME_CHECKED : (enum gn_name_rule)word->rule;
}

enum gn_name_rule gn_name_end(const char *name, size_t size, enum gn_secret *kind)
{
    struct plain_name plain;
    if (size == 0)
        return GN_NAME_PLAIN;
    make_plain(&plain, name, size);
    enum gn_name_rule rule = rule_at(&plain, plain.size, kind);
    size_t end = rule != GN_NAME_PLAIN ? plain.size : without_suffix(&plain);
    return end == plain.size ? rule : rule_at(&plain, end, kind);
}

/* Behind a secret word these tell something about the secret, not the secret. */
static const char *const properties[] = {
    "length", "len", "size", "count", "policy", "name", "id", "ids", "type", "kind", "age",
    "expiry", "expires", "file", "path", "field", "enabled", "required", "set", NULL,
};

static bool is_property(const struct plain_name *name)
{
    return name->size > 0 &&
           is_one_of(name, last_joint(name, name->size), name->size, properties);
}

enum gn_name_rule gn_redact_name(const char *name, size_t size, enum gn_secret *kind)
{
    struct plain_name plain;
    enum gn_secret found = GN_SECRET_SECRET, *which = kind != NULL ? kind : &found;
    enum gn_name_rule rule = gn_name_end(name, size, which);
    if (rule == GN_NAME_SECRET || size == 0)
        return rule;
    make_plain(&plain, name, size);
    if (is_property(&plain))
        return rule;
    for (size_t end = plain.size; end-- > 1;) {
        enum gn_secret inner = GN_SECRET_SECRET;
        if (joint_at(&plain, end) && rule_at(&plain, end, &inner) == GN_NAME_SECRET) {
            *which = inner;
            return GN_NAME_SECRET;
        }
    }
    return rule;
}
