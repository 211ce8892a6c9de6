/* narrate() and its sisters: full events for people, with any number of fields.
 *
 * What is asked of a call is checked in every state, so that switching recording on
 * never turns a working program into one that raises.  Where a call stands in the
 * program is found by its code object and instruction, and looked up once. */
#include "boundary.h"

#define PLACES 1024u /* power of two; calls whose origin is remembered */
#define LOCATIONS_MAX 8192u /* locations that get an id; those of endless new code do not */
#define EMITTERS_MAX 4096 /* modules whose package is remembered */

/* Words of the call itself; every other keyword is a field. */
enum word {
    WORD_ACTOR = 0, WORD_ACTION, WORD_TARGET, WORD_HUMAN,
    WORD_LEVEL, WORD_STACKLEVEL, WORD_EXTRA, WORD_CUTE, WORD_STORY,
    WORD_COUNT,
};
static const char *const spellings[WORD_COUNT] = {
    "actor", "action", "target", "human", "level", "stacklevel", "extra", "cute", "story",
};
static PyObject *words[WORD_COUNT]; /* owned, interned */
static PyObject *empty, *dunder_name; /* "", "__name__" */

enum { LEVEL_ANY = -1 }; /* the call says it */

/* A call as it was made. */
struct draft {
    const char *function;
    int fixed_level; /* LEVEL_ANY, or what the function stands for */
    PyObject *given[WORD_CUTE]; /* borrowed from the caller's arguments; NULL: not given */
    struct fields fields;
    long level, stacklevel;
};

/* ---- what was given ---- */

static int word_of(PyObject *key)
{
    for (int i = 0; i < WORD_COUNT; i++)
        if (key == words[i])
            return i;
    if (LIKELY(PyUnicode_CHECK_INTERNED(key)))
        return WORD_COUNT;
    for (int i = 0; i < WORD_COUNT; i++)
        if (PyUnicode_CompareWithASCIIString(key, spellings[i]) == 0)
            return i;
    return WORD_COUNT;
}

/* One named argument; a later one wins over one of the same name. */
static bool take(struct draft *draft, PyObject *key, PyObject *value)
{
    int word = word_of(key);
    if (word == WORD_LEVEL && draft->fixed_level != LEVEL_ANY) {
        PyErr_Format(PyExc_TypeError, "%s() has its level already", draft->function);
        return false;
    }
    if (word < WORD_CUTE) {
        draft->given[word] = value;
        return true;
    }
    if (word < WORD_COUNT && value == Py_None)
        return true; /* a voice that has nothing to say */
    return fields_add(&draft->fields, key, value);
}

static bool take_keywords(struct draft *draft, PyObject *const *values, PyObject *kwnames,
                          bool positional[NAME_COUNT])
{
    Py_ssize_t count = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
        int word = word_of(key);
        if (word < NAME_COUNT && positional[word]) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                         draft->function, key);
            return false;
        }
        if (!take(draft, key, values[i]))
            return false;
    }
    return true;
}

/* NarrationFields(...) is a plain dict. */
static bool take_dict(struct draft *draft, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        if (!PyUnicode_Check(key)) {
            PyErr_Format(PyExc_TypeError, "%s(): names of fields must be str, not %.200s",
                         draft->function, Py_TYPE(key)->tp_name);
            return false;
        }
        if (!take(draft, key, value))
            return false;
    }
    return true;
}

static bool has_field(const struct fields *fields, Py_ssize_t count, PyObject *key)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (fields->items[i].key == key || PyUnicode_Compare(fields->items[i].key, key) == 0)
            return true;
    return false;
}

/* The free fields; one that is also given by name is that one. */
static bool take_extra(struct draft *draft)
{
    PyObject *extra = draft->given[WORD_EXTRA];
    if (LIKELY(extra == NULL || extra == Py_None))
        return true;
    if (!PyDict_Check(extra)) {
        PyErr_Format(PyExc_TypeError, "%s(): extra must be a dict, not %.200s", draft->function,
                     Py_TYPE(extra)->tp_name);
        return false;
    }
    Py_ssize_t named = draft->fields.count, position = 0;
    PyObject *key, *value;
    while (PyDict_Next(extra, &position, &key, &value)) {
        if (!PyUnicode_Check(key)) {
            PyErr_Format(PyExc_TypeError, "%s(): names in extra must be str, not %.200s",
                         draft->function, Py_TYPE(key)->tp_name);
            return false;
        }
        if (!has_field(&draft->fields, named, key) && !fields_add(&draft->fields, key, value))
            return false;
    }
    return true;
}

/* ---- its level, its names ---- */

/* Raises what says so; true where that finds a level after all. */
static bool level_refused(PyObject *value, long *level)
{
    PyObject *levels = PyImport_ImportModule("gpu_narration.narration.levels");
    PyObject *from = levels == NULL ? NULL : PyObject_GetAttrString(levels, "level_from");
    PyObject *found = from == NULL ? NULL : PyObject_CallOneArg(from, value);
    *level = found == NULL ? -1 : PyLong_AsLong(found);
    Py_XDECREF(levels);
    Py_XDECREF(from);
    Py_XDECREF(found);
    return !PyErr_Occurred();
}

static bool level_from(PyObject *value, long *level)
{
    static const char *const names[] = {"mute", "trace", "debug", "info", "warn", "error", "fatal"};
    if (PyLong_Check(value)) {
        int overflow;
        *level = PyLong_AsLongAndOverflow(value, &overflow);
        if (overflow == 0 && *level >= GN_LEVEL_MUTE && *level <= GN_LEVEL_FATAL)
            return true;
    } else if (PyUnicode_Check(value)) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(value, &length);
        PyErr_Clear(); /* a lone surrogate: no level is called so */
        for (int i = GN_LEVEL_MUTE; text != NULL && i <= GN_LEVEL_FATAL; i++) {
            if (PyOS_stricmp(text, names[i]) == 0) {
                *level = i;
                return true;
            }
        }
    }
    return level_refused(value, level);
}

/* A str of another class is taken as the text it is. */
static bool names_from(const struct draft *draft, PyObject *names[NAME_COUNT])
{
    for (int i = 0; i < NAME_COUNT; i++) {
        PyObject *value = draft->given[i];
        if (value == NULL && i < WORD_TARGET) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", draft->function,
                         spellings[i]);
            return false;
        }
        if (value != NULL && !PyUnicode_Check(value)) {
            PyErr_Format(PyExc_TypeError, "%s(): %s must be str, not %.200s", draft->function,
                         spellings[i], Py_TYPE(value)->tp_name);
            return false;
        }
        names[i] = value == NULL ? Py_NewRef(empty) : PyUnicode_FromObject(value);
        if (names[i] == NULL)
            return false;
    }
    return true;
}

static void names_release(PyObject *names[NAME_COUNT])
{
    for (int i = 0; i < NAME_COUNT; i++)
        Py_XDECREF(names[i]);
}

static bool settings_from(struct draft *draft)
{
    draft->level = draft->fixed_level == LEVEL_ANY ? GN_LEVEL_INFO : draft->fixed_level;
    if (draft->given[WORD_LEVEL] != NULL && !level_from(draft->given[WORD_LEVEL], &draft->level))
        return false;
    draft->stacklevel = 1;
    PyObject *stacklevel = draft->given[WORD_STACKLEVEL];
    if (LIKELY(stacklevel == NULL))
        return true;
    int overflow = 0;
    draft->stacklevel = PyLong_Check(stacklevel)
                            ? PyLong_AsLongAndOverflow(stacklevel, &overflow)
                            : 0;
    if (overflow == 0 && draft->stacklevel >= 1)
        return true;
    PyErr_Format(PyExc_TypeError, "%s(): stacklevel must be an int of 1 or more", draft->function);
    return false;
}

/* ---- where it comes from ---- */

struct place {
    PyObject *code; /* owned; NULL: free */
    int instruction;
    struct origin origin; /* owned */
    /* What the filter said last, so that a call that is kept out ends early. */
    PyObject *off_actor; /* owned, or NULL: it is not known to be kept out */
    int off_level;
    uint32_t off_judged;
};
static struct place places[PLACES];
static PyObject *emitters; /* dict: module name -> "package@version" */
static uint32_t locations;

static void origin_release(struct origin *origin)
{
    Py_CLEAR(origin->module);
    Py_CLEAR(origin->emitter);
    Py_CLEAR(origin->location);
}

static void origin_copy(struct origin *to, const struct origin *from)
{
    *to = *from;
    Py_XINCREF(to->module);
    Py_XINCREF(to->emitter);
    Py_XINCREF(to->location);
}

/* New reference; the module's own name where its package cannot be told. */
static PyObject *emitter_of(PyObject *module)
{
    PyObject *known = PyDict_GetItemWithError(emitters, module);
    if (known != NULL)
        return Py_NewRef(known);
    PyObject *found = NULL;
    if (core.hooks.emitter != NULL) {
        found = PyObject_CallOneArg(core.hooks.emitter, module);
        if (found == NULL)
            (void)internal_error("package of a module");
    }
    if (found == NULL || !PyUnicode_CheckExact(found)) {
        Py_XSETREF(found, Py_NewRef(module));
        return found; /* asked again next time */
    }
    PyUnicode_InternInPlace(&found);
    if (PyDict_GET_SIZE(emitters) < EMITTERS_MAX)
        (void)PyDict_SetItem(emitters, module, found);
    contain(); /* no memory: it is only looked up again */
    return found;
}

/* Gives the location an id if it has one already or the quota lets it. */
static void origin_settle(struct origin *origin)
{
    if (locations < LOCATIONS_MAX)
        PyUnicode_InternInPlace(&origin->location);
    origin->location_is_constant = string_known(origin->location);
    if (!origin->location_is_constant && locations < LOCATIONS_MAX) {
        locations++;
        origin->location_is_constant = true;
    }
}

/* False: nothing could be made, and no exception is set. */
static bool origin_make(struct origin *origin, PyObject *module, PyObject *location)
{
    memset(origin, 0, sizeof *origin);
    if (module == NULL || location == NULL || !PyUnicode_CheckExact(module)) {
        Py_XDECREF(module);
        Py_XDECREF(location);
        contain();
        return false;
    }
    PyUnicode_InternInPlace(&module);
    origin->module = module;
    origin->location = location;
    origin->emitter = emitter_of(module);
    origin_settle(origin);
    return true;
}

/* Borrowed.  The namespace itself is kept nowhere, so its address would tell nothing. */
static PyObject *module_of(PyObject *globals)
{
    PyObject *name = PyDict_GetItemWithError(globals, dunder_name);
    if (UNLIKELY(name == NULL))
        contain(); /* a key that cannot be compared */
    return name != NULL && PyUnicode_CheckExact(name) ? name : empty;
}

static bool same_text(PyObject *one, PyObject *other)
{
    return one == other || PyUnicode_Compare(one, other) == 0;
}

static bool origin_of_frame(struct origin *origin, PyFrameObject *frame, PyObject *code,
                            PyObject *module)
{
    PyObject *file = ((PyCodeObject *)code)->co_filename;
    PyObject *location = PyUnicode_FromFormat("%U:%d", file, PyFrame_GetLineNumber(frame));
    return origin_make(origin, Py_NewRef(module), location);
}

/* The frame `stacklevel` up, or the outermost; NULL where no Python code called. */
static PyFrameObject *frame_at(long stacklevel)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != NULL && --stacklevel > 0) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (back == NULL)
            break;
        Py_SETREF(frame, back);
    }
    return frame;
}

/* Finds the place of a frame.  Its slot may come to be another's whenever Python code
 * runs, so the origin is copied out of it. */
static struct place *place_of(PyFrameObject *frame, struct origin *origin)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    PyObject *globals = PyFrame_GetGlobals(frame);
    int instruction = PyFrame_GetLasti(frame);
    uint64_t hash = site_mix((uint64_t)instruction << 20, code);
    struct place *place = &places[site_fold(hash) & (PLACES - 1)];
    PyObject *module = module_of(globals);
    /* The same code may run in several namespaces. */
    if (UNLIKELY(place->code != code || place->instruction != instruction ||
                 !same_text(place->origin.module, module))) {
        struct place found = {.code = code, .instruction = instruction};
        if (origin_of_frame(&found.origin, frame, code, module)) {
            struct place before = *place;
            Py_INCREF(code);
            *place = found;
            Py_XDECREF(before.code);
            Py_XDECREF(before.off_actor);
            origin_release(&before.origin);
        } else {
            place = NULL;
        }
    }
    if (place != NULL)
        origin_copy(origin, &place->origin);
    Py_DECREF(globals);
    Py_DECREF(code);
    return place;
}

static bool kept_out(const struct place *place, PyObject *actor, long level)
{
    return place->off_actor == actor && place->off_level == level &&
           place->off_judged == core.filter_generation;
}

/* `place` may have come to be another's: then its origin is another. */
static void keep_out(struct place *place, const struct origin *origin, const struct site *site)
{
    if (place == NULL || place->origin.location != origin->location || site->names[0] == NULL)
        return;
    place->off_level = site->level;
    place->off_judged = site->judged;
    Py_XSETREF(place->off_actor, Py_NewRef(site->names[0]));
}

/* ---- telling it ---- */

static size_t text_bytes(PyObject *text, size_t most)
{
    size_t length = (size_t)PyUnicode_GET_LENGTH(text) * (PyUnicode_IS_ASCII(text) ? 1 : 4);
    return 16 + (length < most ? length : most);
}

static size_t value_bytes(PyObject *value)
{
    if (PyUnicode_Check(value))
        return text_bytes(value, GN_TEXT_MAX);
    return PyBytes_Check(value) ? 16 + GN_TEXT_MAX : 96; /* the longest int that is kept whole */
}

/* What a record of these texts and fields takes at most. */
static size_t room_for(PyObject *const *names, const struct origin *origin,
                       const struct fields *fields)
{
    size_t bytes = GN_RECORD_HEAD_WIDE + 16;
    bytes += text_bytes(origin->emitter, GN_TEXT_MAX) + text_bytes(origin->location, GN_TEXT_MAX);
    for (int i = 0; i < NAME_COUNT; i++)
        bytes += text_bytes(names[i], RECORD_TEXT_MAX);
    for (Py_ssize_t i = 0; i < fields->count; i++)
        bytes += text_bytes(fields->items[i].key, 255) + value_bytes(fields->items[i].value);
    return bytes <= GN_RECORD_MAX ? GN_RECORD_MAX : GN_RECORD_BIG;
}

/* ---- what may be told of it ---- */

/* Of a text that is cut anyway only so much is looked at; beyond it nothing is recorded.
 * It is long against what is kept, so that no secret is cut before it is known. */
#define TEXT_LOOKED_AT 32768

/* New reference, never NULL; `name` may be NULL. */
static PyObject *checked(PyObject *name, PyObject *value)
{
    if (LIKELY(!PyUnicode_Check(value) || PyUnicode_GET_LENGTH(value) <= TEXT_LOOKED_AT))
        return redact_field(name, value);
    PyObject *head = PyUnicode_Substring(value, 0, TEXT_LOOKED_AT);
    if (head == NULL) {
        contain();
        return Py_NewRef(Py_None);
    }
    PyObject *clean = redact_field(name, head);
    /* As it was it tells its whole length. */
    if (clean == head)
        Py_SETREF(clean, Py_NewRef(value));
    Py_DECREF(head);
    return clean;
}

/* The names of fields that come from nowhere in the source may hold anything. */
static void check_key(PyObject **key)
{
    if (LIKELY(PyUnicode_CheckExact(*key) && PyUnicode_CHECK_INTERNED(*key)))
        return;
    PyObject *exact = PyUnicode_FromObject(*key);
    contain(); /* no memory: it stays, and is checked as it is */
    if (exact != NULL)
        Py_SETREF(*key, exact);
    PyObject *clean = checked(NULL, *key);
    if (PyUnicode_Check(clean))
        Py_SETREF(*key, clean);
    else
        Py_DECREF(clean);
}

static void check_names(PyObject *names[NAME_COUNT])
{
    for (int i = 0; i < NAME_COUNT; i++) {
        PyObject *clean = checked(words[i], names[i]);
        if (LIKELY(PyUnicode_CheckExact(clean)))
            Py_SETREF(names[i], clean);
        else
            Py_SETREF(names[i], (Py_DECREF(clean), Py_NewRef(empty)));
    }
}

/* Afterwards all fields are plain and without secrets. */
static void check_fields(struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        struct field *field = &fields->items[i];
        PyObject *name = PyUnicode_CheckExact(field->key) ? field->key : NULL;
        /* First as it was given: its name may hide it, whatever it is. */
        Py_SETREF(field->value, checked(name, field->value));
        if (UNLIKELY(!value_is_plain(field->value))) {
            bool object;
            Py_SETREF(field->value, summarise(field->value, &object));
            field->form = object ? FIELD_OBJECT : FIELD_AS_IT_IS;
            Py_SETREF(field->value, checked(name, field->value));
        }
        check_key(&field->key);
    }
}

/* Takes over nothing but the names, which are exact str. */
static PyObject *tell(struct draft *draft, PyObject *names[NAME_COUNT],
                      const struct origin *origin, struct place *place)
{
    check_names(names);
    struct site *site = site_named(GN_KIND_NARRATION, (int)draft->level, origin->module, names);
    if (site == NULL)
        Py_RETURN_NONE;
    if (!site_ready(site)) {
        if (site->off)
            keep_out(place, origin, site);
        Py_RETURN_NONE;
    }
    check_fields(&draft->fields);
    if (core.generation == 0) /* it ended while Python code ran */
        Py_RETURN_NONE;
    return record_write(site, names, origin, &draft->fields, NULL,
                        room_for(names, origin, &draft->fields));
}

static PyObject *tell_from_here(struct draft *draft, PyObject *names[NAME_COUNT])
{
    PyFrameObject *frame = frame_at(draft->stacklevel);
    struct origin origin = {NULL, NULL, NULL, false};
    struct place *place = NULL;
    if (LIKELY(frame != NULL)) {
        place = place_of(frame, &origin);
        Py_DECREF(frame);
    }
    if (place != NULL && kept_out(place, names[WORD_ACTOR], draft->level)) {
        origin_release(&origin);
        Py_RETURN_NONE;
    }
    PyObject *id;
    if (origin.module == NULL && !origin_make(&origin, Py_NewRef(empty), Py_NewRef(empty))) {
        core.suppressed++;
        id = Py_NewRef(Py_None);
    } else {
        id = tell(draft, names, &origin, place);
    }
    origin_release(&origin);
    return id;
}

static PyObject *narrate_draft(struct draft *draft)
{
    PyObject *names[NAME_COUNT] = {NULL};
    PyObject *id = NULL;
    if (take_extra(draft) && settings_from(draft) && names_from(draft, names)) {
        /* MUTE is never shown, so it need not be recorded. */
        if (draft->level > GN_LEVEL_MUTE && is_recording())
            id = tell_from_here(draft, names);
        else
            id = Py_NewRef(Py_None);
    }
    names_release(names);
    fields_release(&draft->fields);
    return id;
}

static PyObject *narrate_call(const char *function, int fixed_level, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    struct draft draft;
    draft.function = function;
    draft.fixed_level = fixed_level;
    memset(draft.given, 0, sizeof draft.given);
    fields_begin(&draft.fields);
    bool positional[NAME_COUNT] = {false};
    bool taken = true;
    if (nargs == 1 && PyDict_Check(args[0])) {
        taken = take_dict(&draft, args[0]);
    } else if (nargs > NAME_COUNT) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments but %zd were "
                     "given", function, NAME_COUNT, nargs);
        taken = false;
    } else {
        for (Py_ssize_t i = 0; i < nargs; i++) {
            draft.given[i] = args[i];
            positional[i] = true;
        }
    }
    if (taken && take_keywords(&draft, args + nargs, kwnames, positional))
        return narrate_draft(&draft);
    fields_release(&draft.fields);
    return NULL;
}

#define DEFINE_NARRATE(name, level)                                                           \
    static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t nargs,          \
                          PyObject *kwnames)                                                  \
    {                                                                                         \
        (void)module;                                                                         \
        return narrate_call(#name, level, args, nargs, kwnames);                              \
    }

DEFINE_NARRATE(narrate, LEVEL_ANY)
DEFINE_NARRATE(narrate_trace, GN_LEVEL_TRACE)
DEFINE_NARRATE(narrate_debug, GN_LEVEL_DEBUG)
DEFINE_NARRATE(narrate_info, GN_LEVEL_INFO)
DEFINE_NARRATE(narrate_warn, GN_LEVEL_WARN)
DEFINE_NARRATE(narrate_error, GN_LEVEL_ERROR)
DEFINE_NARRATE(narrate_fatal, GN_LEVEL_FATAL)

/* narrate_from(module, location, level, actor, action, target, human, fields): from a place
 * that is known, and no frame. */
static PyObject *narrate_from(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *module, *location, *names[NAME_COUNT], *fields;
    struct draft draft;
    if (!PyArg_ParseTuple(args, "UUlUUUUO!:narrate_from", &module, &location, &draft.level,
                          &names[0], &names[1], &names[2], &names[3], &PyDict_Type, &fields))
        return NULL;
    if (draft.level <= GN_LEVEL_MUTE || draft.level > GN_LEVEL_FATAL || !is_recording())
        Py_RETURN_NONE;
    fields_begin(&draft.fields);
    struct origin origin;
    PyObject *id = NULL;
    for (int i = 0; i < NAME_COUNT; i++)
        Py_INCREF(names[i]);
    if (!fields_add_dict(&draft.fields, fields))
        ; /* an exception is set */
    else if (origin_make(&origin, Py_NewRef(module), Py_NewRef(location))) {
        id = tell(&draft, names, &origin, NULL);
        origin_release(&origin);
    } else {
        core.suppressed++;
        id = Py_NewRef(Py_None);
    }
    names_release(names);
    fields_release(&draft.fields);
    return id;
}

static PyObject *recording(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return PyBool_FromLong(is_recording());
}

/* summary(value): as a record would have it; a plain value as it is. */
static PyObject *summary(PyObject *self, PyObject *value)
{
    (void)self;
    bool object;
    return summarise(value, &object);
}

#define NARRATE(name, level_argument, text)                                                   \
    {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL | METH_KEYWORDS,                 \
     #name "(actor, action, target='', human='', *, " level_argument                          \
     "cute=None, story=None, extra=None, stacklevel=1, **fields)\n--\n\n" text}

PyMethodDef narrate_methods[] = {
    NARRATE(narrate, "level='info', ",
            "Records a narration: who did what to whom, in a sentence for people.\n\n"
            "Also takes a NarrationFields in place of the four texts.  level is a Level or\n"
            "its name.  cute and story are the same event in other voices; where one is\n"
            "missing, human is shown.  fields, those of NarrationFields and any others, are\n"
            "recorded as they are where they are plain values (str, int, float, bool, bytes,\n"
            "None), else as a short summary; extra is a dict of more of them.  No text is a\n"
            "template.  Time, source line, package, span and correlation come by themselves;\n"
            "stacklevel=2 in a wrapper gives the line of its caller.\n\n"
            "Returns the event's id, or None if it was not recorded.  Raises TypeError for a\n"
            "text that is no str and other wrong arguments, OptionError for an unknown level."),
    NARRATE(narrate_trace, "", "narrate() at level TRACE."),
    NARRATE(narrate_debug, "", "narrate() at level DEBUG."),
    NARRATE(narrate_info, "", "narrate() at level INFO."),
    NARRATE(narrate_warn, "", "narrate() at level WARN."),
    NARRATE(narrate_error, "", "narrate() at level ERROR."),
    NARRATE(narrate_fatal, "", "narrate() at level FATAL: the program cannot go on."),
    {"narrate_from", narrate_from, METH_VARARGS, NULL},
    {"recording", recording, METH_NOARGS, NULL},
    {"summary", summary, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int narrate_init(void)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        words[i] = PyUnicode_InternFromString(spellings[i]);
        if (words[i] == NULL)
            return -1;
    }
    empty = PyUnicode_InternFromString("");
    dunder_name = PyUnicode_InternFromString("__name__");
    emitters = PyDict_New();
    return empty == NULL || dunder_name == NULL || emitters == NULL ? -1 : 0;
}
