/* A call of narrate() as it was made: its arguments sorted, and what is asked of them
 * checked. */
#include "boundary.h"

/* Words of the call itself; every other keyword is a field. */
static const char *const spellings[WORD_COUNT] = {
    "actor", "action", "target", "human", "level", "stacklevel", "extra", "cute", "story",
};
PyObject *narrate_words[WORD_COUNT];
static PyObject *empty; /* "" */

/* ---- what was given ---- */

static int word_of(PyObject *key)
{
    for (int i = 0; i < WORD_COUNT; i++)
        if (key == narrate_words[i])
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
static bool names_from(struct draft *draft)
{
    for (int i = 0; i < NAME_COUNT; i++) {
        PyObject *value = draft->given[i];
        if (value == Py_None && i >= WORD_TARGET)
            value = NULL; /* not said */
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
        draft->names[i] = value == NULL ? Py_NewRef(empty) : PyUnicode_FromObject(value);
        if (draft->names[i] == NULL)
            return false;
    }
    return true;
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

void draft_begin(struct draft *draft, const char *function, int fixed_level)
{
    draft->function = function;
    draft->fixed_level = fixed_level;
    memset(draft->given, 0, sizeof draft->given);
    memset(draft->names, 0, sizeof draft->names);
    fields_begin(&draft->fields);
}

bool draft_take(struct draft *draft, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    bool positional[NAME_COUNT] = {false};
    if (nargs == 1 && PyDict_Check(args[0])) {
        if (!take_dict(draft, args[0]))
            return false;
    } else if (nargs > NAME_COUNT) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments but %zd were "
                     "given", draft->function, NAME_COUNT, nargs);
        return false;
    } else {
        for (Py_ssize_t i = 0; i < nargs; i++) {
            draft->given[i] = args[i];
            positional[i] = true;
        }
    }
    return take_keywords(draft, args + nargs, kwnames, positional) && take_extra(draft) &&
           settings_from(draft) && names_from(draft);
}

void draft_release(struct draft *draft)
{
    for (int i = 0; i < NAME_COUNT; i++)
        Py_CLEAR(draft->names[i]);
    fields_release(&draft->fields);
}

int draft_init(void)
{
    for (int i = 0; i < WORD_COUNT; i++) {
        narrate_words[i] = PyUnicode_InternFromString(spellings[i]);
        if (narrate_words[i] == NULL)
            return -1;
    }
    empty = PyUnicode_InternFromString("");
    return empty == NULL ? -1 : 0;
}
