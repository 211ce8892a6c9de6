/* narrate() and its sisters: full events for people, with any number of fields.
 *
 * What is asked of a call is checked in every state, so that switching recording on
 * never turns a working program into one that raises (draft.c).  Then: where it comes
 * from (origin.c), whether the filter keeps it out, what may be told of it (redact.c),
 * and one record (records.c). */
#include "boundary.h"

static PyObject *empty; /* "" */

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
#define KEY_CHARACTERS 240 /* as put_named */

/* New reference, never NULL, and a str for a str; `name` may be NULL. */
static PyObject *checked(PyObject *name, PyObject *value)
{
    if (LIKELY(!PyUnicode_Check(value) || PyUnicode_GET_LENGTH(value) <= TEXT_LOOKED_AT))
        return redact_field(name, value);
    PyObject *head = PyUnicode_Substring(value, 0, TEXT_LOOKED_AT);
    if (head == NULL) {
        contain();
        return Py_NewRef(empty);
    }
    PyObject *clean = redact_field(name, head);
    /* As it was it tells its whole length. */
    if (clean == head)
        Py_SETREF(clean, Py_NewRef(value));
    Py_DECREF(head);
    return clean;
}

/* The names of fields that come from nowhere in the source may hold anything, and be of
 * any length; afterwards they are no longer than what is recorded of them. */
static void check_key(PyObject **key)
{
    if (LIKELY(PyUnicode_CheckExact(*key) && PyUnicode_CHECK_INTERNED(*key)))
        return;
    PyObject *exact = PyUnicode_FromObject(*key);
    if (exact == NULL)
        contain();
    Py_SETREF(*key, exact != NULL ? exact : Py_NewRef(empty));
    PyObject *clean = checked(NULL, *key);
    if (PyUnicode_GET_LENGTH(clean) > KEY_CHARACTERS)
        Py_SETREF(clean, PyUnicode_Substring(clean, 0, KEY_CHARACTERS));
    if (clean == NULL)
        contain();
    Py_SETREF(*key, clean != NULL ? clean : Py_NewRef(empty));
}

static void check_names(PyObject *names[NAME_COUNT])
{
    for (int i = 0; i < NAME_COUNT; i++) {
        PyObject *clean = checked(narrate_words[i], names[i]);
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
        check_key(&field->key);
        PyObject *name = field->key;
        /* First as it was given: its name may hide it, whatever it is. */
        Py_SETREF(field->value, checked(name, field->value));
        if (UNLIKELY(!value_is_plain(field->value))) {
            bool object;
            Py_SETREF(field->value, summarise(field->value, &object));
            field->form = object ? FIELD_OBJECT : FIELD_AS_IT_IS;
            Py_SETREF(field->value, checked(name, field->value));
        }
    }
}

/* Never NULL.  `place` may be NULL. */
static PyObject *tell(struct draft *draft, const struct origin *origin, struct place *place)
{
    PyObject **names = draft->names;
    check_names(names);
    struct site *site = site_named(GN_KIND_NARRATION, (int)draft->level, origin->module, names);
    if (site == NULL)
        Py_RETURN_NONE;
    if (!site_wanted(site)) {
        if (site->off)
            place_keep_out(place, origin, site);
        Py_RETURN_NONE;
    }
    check_fields(&draft->fields);
    if (core.generation == 0) /* it ended while Python code ran */
        Py_RETURN_NONE;
    PyObject *id = record_write(site, names, origin, &draft->fields, NULL,
                                room_for(names, origin, &draft->fields));
    if (UNLIKELY(id == NULL)) {
        contain(); /* recorded, but no memory for its number */
        id = Py_NewRef(Py_None);
    }
    return id;
}

static PyObject *tell_from_here(struct draft *draft)
{
    struct origin origin;
    struct place *place = place_here(draft->stacklevel, &origin);
    PyObject *id = NULL;
    if (UNLIKELY(origin.module == NULL))
        core.suppressed++; /* no memory */
    else if (place == NULL || !place_keeps_out(place, draft->names, draft->level))
        id = tell(draft, &origin, place);
    origin_release(&origin);
    return id != NULL ? id : Py_NewRef(Py_None);
}

static PyObject *narrate_call(const char *function, int fixed_level, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    struct draft draft;
    draft_begin(&draft, function, fixed_level);
    PyObject *id = NULL;
    if (draft_take(&draft, args, nargs, kwnames)) {
        /* MUTE is never shown, so it need not be recorded. */
        bool told = draft.level > GN_LEVEL_MUTE && is_recording();
        id = told ? tell_from_here(&draft) : Py_NewRef(Py_None);
    }
    draft_release(&draft);
    return id;
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
    PyObject *module, *location, *fields, *names[NAME_COUNT];
    long level;
    if (!PyArg_ParseTuple(args, "UUlUUUUO!:narrate_from", &module, &location, &level, &names[0],
                          &names[1], &names[2], &names[3], &PyDict_Type, &fields))
        return NULL;
    if (level <= GN_LEVEL_MUTE || level > GN_LEVEL_FATAL || !is_recording())
        Py_RETURN_NONE;
    struct draft draft;
    draft_begin(&draft, "narrate_from", (int)level);
    draft.level = level;
    for (int i = 0; i < NAME_COUNT; i++)
        draft.names[i] = Py_NewRef(names[i]);
    struct origin origin;
    PyObject *id = NULL;
    if (fields_add_dict(&draft.fields, fields)) {
        if (origin_make(&origin, Py_NewRef(module), Py_NewRef(location))) {
            id = tell(&draft, &origin, NULL);
            origin_release(&origin);
        } else {
            core.suppressed++; /* no memory */
            id = Py_NewRef(Py_None);
        }
    }
    draft_release(&draft);
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
    empty = PyUnicode_InternFromString("");
    return empty == NULL || draft_init() < 0 || origin_init() < 0 ? -1 : 0;
}
