/* Full events (narrations, launches, VRAM changes), annotations of events that
 * are already written, and notes about the recording itself. */
#include "boundary.h"

#define TEXT_BYTES_MAX 6000u /* of a narration's human text and target */
#define FIELDS_MAX 256

void fields_release(struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        Py_DECREF(fields->keys[i]);
        Py_DECREF(fields->items[i]);
    }
    PyMem_Free(fields->keys);
    fields->count = 0;
    fields->keys = NULL;
}

bool fields_make(struct fields *fields, PyObject *dict)
{
    memset(fields, 0, sizeof *fields);
    if (dict == NULL || dict == Py_None)
        return true;
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "fields must be a dict or None");
        return false;
    }
    PyObject *list = PyDict_Items(dict); /* a copy: summaries may run Python code */
    if (list == NULL)
        return false;
    Py_ssize_t count = PyList_GET_SIZE(list) < FIELDS_MAX ? PyList_GET_SIZE(list) : FIELDS_MAX;
    fields->keys = PyMem_Malloc(2 * (size_t)(count + 1) * sizeof *fields->keys);
    if (fields->keys == NULL) {
        Py_DECREF(list);
        PyErr_NoMemory();
        return false;
    }
    fields->items = fields->keys + count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        PyObject *key = PyTuple_GET_ITEM(pair, 0);
        if (!PyUnicode_Check(key)) {
            PyErr_SetString(PyExc_TypeError, "names of fields must be str");
            Py_DECREF(list);
            fields_release(fields);
            return false;
        }
        bool object;
        fields->items[i] = summarise(PyTuple_GET_ITEM(pair, 1), &object);
        fields->keys[i] = Py_NewRef(key);
        if (object && i < 64)
            fields->objects |= 1ull << i;
        fields->count = i + 1;
    }
    Py_DECREF(list);
    return true;
}

/* A name of a field by its id where it is a constant, else in full. */
uint8_t *put_key(uint8_t *p, const uint8_t *end, PyObject *key)
{
    uint32_t id = string_constant_id(key);
    if (id != 0)
        return gn_put_ref(p, end, GN_KEY, id);
    return put_named(p, end, GN_NAME, key);
}

bool put_fields(struct event *event, const struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        bool object = i < 64 && (fields->objects >> i & 1);
        uint8_t *p = put_key(event->p, event->end, fields->keys[i]);
        if (p != NULL)
            p = put_value(p, event->end, fields->items[i], object);
        if (!event_advance(event, p, fields->count - i))
            return false;
    }
    return true;
}

static bool text_argument(PyObject *value, const char *name)
{
    if (PyUnicode_CheckExact(value))
        return true;
    PyErr_Format(PyExc_TypeError, "%s must be str, not %.200s", name, Py_TYPE(value)->tp_name);
    return false;
}

/* Whose event it is: the span it happened in, and the correlation. */
struct strand {
    int64_t span;
    uint32_t correlation;
};

/* `strand`: of another thread, as scopes() gave it; NULL for the caller's own. */
static PyObject *emit(struct site *site, PyObject *const *names, const struct fields *fields,
                      const struct strand *strand)
{
    struct event event;
    /* Written as one big record; the head says how big it came to be. */
    if (!event_prepare(&event, gn_clock_ticks(), GN_RECORD_BIG))
        Py_RETURN_NONE;
    struct thread_state *thread = event.thread;
    const struct strand own = {thread->span, thread->correlation};
    if (strand != NULL) {
        thread->span = strand->span;
        thread->correlation = strand->correlation;
    }
    bool stated = (thread->span == (int64_t)thread->writer.span &&
                   thread->correlation == thread->writer.correlation) ||
                  strand_write_state(thread);
    thread->span = own.span;
    thread->correlation = own.correlation;
    if (!stated)
        Py_RETURN_NONE;
    event_write_head(&event, site->id, GN_RECORD_BIG);
    for (int i = 0; i < NAME_COUNT; i++) {
        if (!(site->dynamic >> i & 1))
            continue;
        uint8_t *p = put_string(event.p, event.end, names[i], TEXT_BYTES_MAX);
        if (!event_advance(&event, p, 1))
            break;
    }
    (void)put_fields(&event, fields);
    int64_t id = event_commit(&event);
    if (core.nvtx_on)
        nvtx_mark(thread, site, id);
    return PyLong_FromLongLong(id);
}

/* emit(kind, level, module, actor, action, target, human, fields, span=0,
 * correlation=0) -> event id, or None when it was filtered out, lost, or nothing
 * records.  With a span the event belongs to that one, of whatever thread. */
PyObject *record_emit(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 8 && nargs != 10) {
        PyErr_SetString(PyExc_TypeError, "emit() takes 8 or 10 arguments");
        return NULL;
    }
    struct strand strand = {0, 0};
    if (nargs == 10) {
        strand.span = PyLong_AsLongLong(args[8]);
        strand.correlation = (uint32_t)PyLong_AsUnsignedLongMask(args[9]);
    }
    long kind = PyLong_AsLong(args[0]);
    long level = PyLong_AsLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    static const char *const what[] = {"module", "actor", "action", "target", "human"};
    for (int i = 0; i < 5; i++)
        if (!text_argument(args[2 + i], what[i]))
            return NULL;
    if (!is_recording())
        Py_RETURN_NONE;
    struct fields fields;
    if (!fields_make(&fields, args[7]))
        return NULL;
    PyObject *origin = Py_NewRef(args[2]);
    PyUnicode_InternInPlace(&origin);
    struct site *site = site_named((enum gn_kind)kind, (int)level, origin, args + 3);
    Py_DECREF(origin);
    const struct strand *given = strand.span != 0 ? &strand : NULL;
    PyObject *id = site != NULL && site_ready(site) ? emit(site, args + 3, &fields, given)
                                                    : Py_NewRef(Py_None);
    fields_release(&fields);
    return id;
}

/* Fields behind one leading value, into a stream. */
static PyObject *put_stream(uint32_t stream, uint32_t site, PyObject *lead, PyObject *dict)
{
    struct fields fields;
    if (!fields_make(&fields, dict))
        return NULL;
    if (core.generation == 0) {
        fields_release(&fields);
        Py_RETURN_FALSE;
    }
    uint8_t bytes[GN_RECORD_BIG - GN_RECORD_HEAD_WIDE];
    struct event event = {.p = bytes, .end = bytes + sizeof bytes - 3};
    if (event_advance(&event, put_value(event.p, event.end, lead, false), fields.count + 1))
        (void)put_fields(&event, &fields);
    fields_release(&fields);
    enum gn_result result =
        gn_recording_put(core.recording, stream, site, bytes, (size_t)(event.p - bytes));
    return PyBool_FromLong(result == GN_OK);
}

/* annotate(event id, fields) -> whether it was recorded */
PyObject *record_annotate(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2 || !PyLong_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "annotate() takes an event id and a dict");
        return NULL;
    }
    return put_stream(GN_STREAM_ANNOTATIONS, GN_SYS_ANNOTATE, args[0], args[1]);
}

/* note(topic, fields) -> whether it was recorded */
PyObject *record_note(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2 || !PyUnicode_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "note() takes a topic and a dict");
        return NULL;
    }
    return put_stream(GN_STREAM_DEFINITIONS, GN_SYS_NOTE, args[0], args[1]);
}

bool note_fields(const char *topic, PyObject *fields)
{
    PyObject *name = PyUnicode_InternFromString(topic);
    PyObject *done = name == NULL
                         ? NULL
                         : put_stream(GN_STREAM_DEFINITIONS, GN_SYS_NOTE, name, fields);
    Py_XDECREF(name);
    Py_XDECREF(done); /* not recorded: the ring's header still tells the counts */
    return done != NULL;
}
