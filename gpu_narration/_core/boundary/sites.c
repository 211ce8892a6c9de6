/* Strings and call sites.
 *
 * A string that a program uses again and again (a constant) gets an id and is
 * written once; all others travel as bytes with each record.  Constants are
 * told by identity: the table holds a reference, so an address can never come
 * to mean another string.  What is not certainly a constant must be seen several
 * times first, and all tables are bounded: a program that makes new strings for
 * ever only ever fills its quota. */
#include "boundary.h"

#define STRING_QUOTA 32768u /* ids for all strings */
#define TARGET_QUOTA 4096u /* of them, for targets that were not interned */
#define SITE_QUOTA 65536u /* of sites by all their names; as many more by actor and module */
#define MODULES_KEPT 4096 /* modules whose sites have slots; those of others are looked up */
#define STRING_BYTES_MAX 4096
#define CANDIDATES 256u /* power of two */

/* How often a string must come along before it counts as a constant.  Targets
 * are often ids of requests that live for some hundred events. */
#define SEEN_ENOUGH 4u
#define SEEN_ENOUGH_TARGET 64u

struct interned {
    PyObject *text; /* owned; NULL: free entry */
    uint32_t id;
    uint32_t defined; /* generation in which its definition was written */
};

static struct {
    struct interned *entries; /* open addressing by address */
    uint32_t room, count, targets;
} strings;

static struct {
    struct site **entries; /* open addressing by the names' addresses */
    uint32_t room, count;
    uint32_t next_id;
} sites;

static struct {
    PyObject *text; /* owned */
    uint32_t seen;
} candidates[CANDIDATES];

_Alignas(64) struct slot site_slots[SITE_SLOTS];
static PyObject *module_dicts; /* dict: module name -> its namespace, which lives on anyway */
static PyObject *empty; /* "" */

/* ---- strings ---- */

static struct interned *string_entry(PyObject *text)
{
    if (strings.room == 0)
        return NULL;
    uint32_t mask = strings.room - 1;
    for (uint32_t i = site_fold(site_mix(0, text)) & mask;; i = (i + 1) & mask) {
        if (strings.entries[i].text == text || strings.entries[i].text == NULL)
            return &strings.entries[i];
    }
}

static bool strings_grow(void)
{
    uint32_t room = strings.room == 0 ? 1024 : strings.room * 2;
    struct interned *entries = PyMem_Calloc(room, sizeof *entries);
    if (entries == NULL)
        return false;
    struct interned *old = strings.entries;
    uint32_t old_room = strings.room;
    strings.entries = entries;
    strings.room = room;
    for (uint32_t i = 0; i < old_room; i++)
        if (old[i].text != NULL)
            *string_entry(old[i].text) = old[i];
    PyMem_Free(old);
    return true;
}

static struct interned *string_add(PyObject *text)
{
    if (strings.count >= STRING_QUOTA)
        return NULL;
    if (strings.count * 2 >= strings.room && !strings_grow())
        return NULL;
    struct interned *entry = string_entry(text);
    entry->text = Py_NewRef(text);
    entry->id = ++strings.count;
    entry->defined = 0;
    return entry;
}

static void string_define(struct interned *entry)
{
    uint8_t values[GN_RECORD_BIG - GN_RECORD_HEAD_WIDE];
    const uint8_t *end = values + sizeof values;
    uint8_t *p = gn_put_int(values, end, entry->id);
    p = put_string(p, end, entry->text, STRING_BYTES_MAX * 4);
    if (p != NULL && gn_recording_put(core.recording, GN_STREAM_DEFINITIONS, GN_SYS_STRING, values,
                                      (size_t)(p - values)) == GN_OK)
        entry->defined = core.generation;
}

uint32_t string_id(PyObject *text)
{
    struct interned *entry = string_entry(text);
    if (entry == NULL || entry->text == NULL)
        entry = string_add(text);
    if (entry == NULL)
        return 0;
    if (entry->defined != core.generation)
        string_define(entry);
    return entry->defined == core.generation ? entry->id : 0;
}

bool string_known(PyObject *text)
{
    struct interned *entry = string_entry(text);
    return entry != NULL && entry->text != NULL;
}

/* Only the caller's stack refers to it: an f-string, a fresh concatenation. */
static bool is_temporary(PyObject *text)
{
#if PY_VERSION_HEX >= 0x030e0000
    return PyUnstable_Object_IsUniqueReferencedTemporary(text);
#else
    return Py_REFCNT(text) == 1;
#endif
}

static bool is_constant(PyObject *text, int position)
{
    if (!PyUnicode_CheckExact(text))
        return false;
    if (string_known(text))
        return true;
    if (is_temporary(text) || PyUnicode_GET_LENGTH(text) > STRING_BYTES_MAX)
        return false;
    if (PyUnicode_CHECK_INTERNED(text))
        return string_add(text) != NULL;

    uint32_t i = site_fold(site_mix(0, text)) & (CANDIDATES - 1);
    if (candidates[i].text != text) {
        Py_XSETREF(candidates[i].text, Py_NewRef(text));
        candidates[i].seen = 1;
        return false;
    }
    bool target = position == NAME_TARGET;
    if (++candidates[i].seen < (target ? SEEN_ENOUGH_TARGET : SEEN_ENOUGH))
        return false;
    if (target && strings.targets >= TARGET_QUOTA)
        return false;
    if (string_add(text) == NULL)
        return false;
    strings.targets += target;
    return true;
}

uint32_t string_constant_id(PyObject *text)
{
    return is_constant(text, NAME_ACTION) ? string_id(text) : 0;
}

/* ---- sites ---- */

static uint64_t site_hash(enum gn_kind kind, int level, PyObject *module, PyObject *const *names,
                          uint8_t dynamic)
{
    uint64_t hash = site_mix((uint64_t)kind << 16 | (uint64_t)level << 8 | dynamic, module);
    for (int i = 0; i < NAME_COUNT; i++)
        hash = site_mix(hash, names[i]);
    return hash;
}

static bool site_is(const struct site *site, enum gn_kind kind, int level, PyObject *module,
                    PyObject *const *names, uint8_t dynamic)
{
    return site->kind == kind && site->level == level && site->module == module &&
           site->dynamic == dynamic && memcmp(site->names, names, sizeof site->names) == 0;
}

static bool sites_grow(void)
{
    uint32_t room = sites.room == 0 ? 1024 : sites.room * 2;
    struct site **entries = PyMem_Calloc(room, sizeof(struct site *));
    if (entries == NULL)
        return false;
    for (uint32_t i = 0; i < sites.room; i++) {
        struct site *site = sites.entries[i];
        if (site == NULL)
            continue;
        uint32_t j = site_fold(site_hash(site->kind, site->level, site->module, site->names,
                                    site->dynamic)) & (room - 1);
        while (entries[j] != NULL)
            j = (j + 1) & (room - 1);
        entries[j] = site;
    }
    PyMem_Free(sites.entries);
    sites.entries = entries;
    sites.room = room;
    return true;
}

struct site *site_create(enum gn_kind kind, int level, PyObject *module,
                         PyObject *const names[NAME_COUNT], uint8_t dynamic)
{
    struct site *site = PyMem_Calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->id = ++sites.next_id;
    site->kind = kind;
    site->level = level;
    site->dynamic = dynamic;
    site->module = Py_NewRef(module);
    for (int i = 0; i < NAME_COUNT; i++)
        site->names[i] = Py_XNewRef(names[i]);
    return site;
}

/* The one site of these names; made if it is new.  `module` is interned. */
static struct site *site_unique(enum gn_kind kind, int level, PyObject *module,
                                PyObject *const *names, uint8_t dynamic)
{
    if (sites.count * 2 >= sites.room && !sites_grow())
        return NULL;
    uint32_t mask = sites.room - 1;
    uint32_t i = site_fold(site_hash(kind, level, module, names, dynamic)) & mask;
    while (sites.entries[i] != NULL) {
        if (site_is(sites.entries[i], kind, level, module, names, dynamic))
            return sites.entries[i];
        i = (i + 1) & mask;
    }
    /* A program may name modules without end, too: from here on they are not told apart. */
    if (sites.count >= 2 * SITE_QUOTA && module != empty)
        return site_unique(kind, level, empty, names, dynamic);
    struct site *site = site_create(kind, level, module, names, dynamic);
    if (site != NULL) {
        sites.entries[i] = site;
        sites.count++;
    }
    return site;
}

/* By id where it has one; in full when the quota is used up or its definition
 * could not be written. */
static uint8_t *put_name(uint8_t *p, const uint8_t *end, PyObject *name)
{
    if (p == NULL)
        return NULL;
    if (name == NULL)
        return gn_put_tag(p, end, GN_NONE);
    uint32_t id = string_id(name);
    return id != 0 ? gn_put_ref(p, end, GN_STRREF, id) : put_string(p, end, name, GN_TEXT_MAX);
}

/* Parameters: per parameter its name, its rule, and its default where that is a
 * plain value. */
static uint8_t *put_parameters(uint8_t *p, const uint8_t *end, const struct site *site)
{
    for (Py_ssize_t i = 0; p != NULL && i < site->parameter_count; i++) {
        uint8_t *before = p;
        const struct parameter *parameter = &site->parameters[i];
        p = put_name(p, end, parameter->name);
        if (p != NULL)
            p = gn_put_int(p, end,
                           parameter->rule | (parameter->keyword_only ? PARAMETER_KEYWORD_ONLY : 0));
        PyObject *value = PyTuple_GET_ITEM(site->defaults, i);
        if (p != NULL && value_is_plain(value))
            p = put_value(p, end, value, false);
        else if (p != NULL)
            p = gn_put_tag(p, end, GN_ABSENT);
        if (p == NULL)
            return before; /* the reader numbers the rest */
    }
    return p;
}

void site_define(struct site *site)
{
    uint8_t values[GN_RECORD_BIG - GN_RECORD_HEAD_WIDE];
    const uint8_t *end = values + sizeof values;
    uint8_t *p = gn_put_int(values, end, site->id);
    p = gn_put_int(p, end, site->kind);
    p = gn_put_int(p, end, site->level);
    p = gn_put_int(p, end, site->dynamic);
    p = put_name(p, end, site->module);
    for (int i = 0; i < NAME_COUNT; i++)
        p = put_name(p, end, site->names[i]);
    p = put_parameters(p, end, site);
    if (gn_recording_put(core.recording, GN_STREAM_DEFINITIONS, GN_SYS_SITE, values,
                         (size_t)(p - values)) == GN_OK)
        site->defined = core.generation;
}

/* ---- finding a site from a call ---- */

/* Keeps a loaded module's namespace alive, so that its address names it, and lets go
 * of the one that was loaded under this name before.  Whether it is kept. */
static bool keep_namespace(PyObject *name, PyObject *globals)
{
    PyObject *kept = PyDict_GetItemWithError(module_dicts, name);
    if (kept == globals)
        return true;
    if (kept == NULL && PyDict_GET_SIZE(module_dicts) >= MODULES_KEPT)
        return false;
    for (uint32_t i = 0; kept != NULL && i < SITE_SLOTS; i++)
        if (site_slots[i].globals == kept)
            memset(&site_slots[i], 0, sizeof site_slots[i]);
    /* What goes with the one before may run code that comes here again. */
    return PyDict_SetItem(module_dicts, name, globals) == 0 &&
           PyDict_GetItemWithError(module_dicts, name) == globals;
}

/* The namespace's module name, interned; `*lasting` if the namespace is that of
 * a loaded module, so that keeping it alive keeps nothing alive that would have
 * gone.  A namespace made for exec() is looked up anew each time. */
static PyObject *module_name(PyObject *globals, bool *lasting)
{
    *lasting = false;
    if (globals == NULL)
        return Py_NewRef(empty);
    PyObject *name = PyDict_GetItemString(globals, "__name__");
    if (name == NULL || !PyUnicode_CheckExact(name))
        return Py_NewRef(empty);
    Py_INCREF(name);
    PyUnicode_InternInPlace(&name);
    PyObject *module = PyImport_GetModule(name);
    bool loaded = module != NULL && PyModule_Check(module) && PyModule_GetDict(module) == globals;
    Py_XDECREF(module);
    contain(); /* a namespace that cannot be kept is only slower */
    *lasting = loaded && keep_namespace(name, globals);
    PyErr_Clear(); /* no memory: the same */
    return name;
}

/* Leaves in `constant` the names that have an id and marks the others. */
static uint8_t split_names(PyObject *const names[NAME_COUNT], PyObject *constant[NAME_COUNT])
{
    uint8_t dynamic = 0;
    for (int i = 0; i < NAME_COUNT; i++) {
        constant[i] = names[i];
        bool full = i != NAME_ACTOR && sites.count >= SITE_QUOTA;
        if (names[i] != NULL && (full || !is_constant(names[i], i))) {
            constant[i] = NULL;
            dynamic |= (uint8_t)(1u << i);
        }
    }
    return dynamic;
}

struct site *site_named(enum gn_kind kind, int level, PyObject *module,
                        PyObject *const names[NAME_COUNT])
{
    PyObject *constant[NAME_COUNT];
    uint8_t dynamic = split_names(names, constant);
    struct site *site = site_unique(kind, level, module, constant, dynamic);
    core.suppressed += site == NULL;
    return site;
}

/* The site of names of which some are certainly no constants: no table holds a
 * string to which only the caller's stack refers. */
static struct site *site_of_temporaries(enum gn_kind kind, PyObject *const names[NAME_COUNT],
                                        PyObject *globals)
{
    PyObject *constant[NAME_COUNT];
    bool any = false;
    for (int i = 0; i < NAME_COUNT; i++) {
        bool temporary = names[i] != NULL && is_temporary(names[i]);
        constant[i] = temporary ? NULL : names[i];
        any |= temporary;
    }
    return any ? site_cached(kind, names_of(constant), globals) : NULL;
}

static struct site *site_resolve(enum gn_kind kind, PyObject *const names[NAME_COUNT],
                                 PyObject *globals)
{
    struct site *known = site_of_temporaries(kind, names, globals);
    if (known != NULL)
        return known;
    PyObject *constant[NAME_COUNT];
    uint8_t dynamic = split_names(names, constant);
    /* A slot needs no dynamic mask: a kind always uses the same names. */
    struct site *cached = site_cached(kind, names_of(constant), globals);
    if (cached != NULL)
        return cached;

    bool lasting;
    PyObject *module = module_name(globals, &lasting);
    struct site *site = site_unique(kind, GN_LEVEL_TRACE, module, constant, dynamic);
    if (site != NULL && lasting) {
        struct slot *slot = site_slot(kind, names_of(constant), globals);
        slot->globals = globals;
        memcpy(slot->names, constant, sizeof slot->names);
        slot->kind = (uint64_t)kind;
        slot->site = site;
    }
    Py_DECREF(module);
    core.suppressed += site == NULL;
    return site;
}

struct site *site_find(enum gn_kind kind, PyObject *const names[NAME_COUNT], PyObject *globals)
{
    struct site *site = site_cached(kind, names_of(names), globals);
    return LIKELY(site != NULL) ? site : site_resolve(kind, names, globals);
}

int sites_init(void)
{
    module_dicts = PyDict_New();
    empty = PyUnicode_InternFromString("");
    return module_dicts == NULL || empty == NULL ? -1 : 0;
}
