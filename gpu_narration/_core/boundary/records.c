/* Full events (narrations, launches, VRAM changes), annotations of events that
 * are already written, and notes about the recording itself. */
#include "boundary.h"

static bool text_argument(PyObject *value, const char *name)
{
    if (PyUnicode_CheckExact(value))
        return true;
    PyErr_Format(PyExc_TypeError, "%s must be str, not %.200s", name, Py_TYPE(value)->tp_name);
    return false;
}

/* A name by its id where it may have one for good, else in full. */
static uint8_t *put_origin(uint8_t *p, const uint8_t *end, PyObject *text, bool constant)
{
    uint32_t id = constant ? string_id(text) : 0;
    return id != 0 ? gn_put_ref(p, end, GN_STRREF, id) : put_string(p, end, text, GN_TEXT_MAX);
}

static bool put_texts(struct event *event, const struct site *site, PyObject *const *names,
                      const struct origin *origin, Py_ssize_t behind)
{
    for (int i = 0; i < NAME_COUNT; i++) {
        if (!(site->dynamic >> i & 1))
            continue;
        uint8_t *p = put_string(event->p, event->end, names[i], RECORD_TEXT_MAX);
        if (!event_advance(event, p, 1 + behind))
            return false;
    }
    if (origin == NULL)
        return true;
    uint8_t *p = put_origin(event->p, event->end, origin->emitter, true);
    if (p != NULL)
        p = put_origin(p, event->end, origin->location, origin->location_is_constant);
    return event_advance(event, p, 2 + behind);
}

PyObject *record_write(struct site *site, PyObject *const *names, const struct origin *origin,
                       const struct fields *fields, const struct strand *strand, size_t room)
{
    struct event event;
    if (!event_prepare(&event, gn_clock_ticks(), room))
        Py_RETURN_NONE;
    struct thread_state *thread = event.thread;
    const struct strand own = {thread->span, thread->correlation};
    if (UNLIKELY(strand != NULL)) {
        thread->span = strand->span;
        thread->correlation = strand->correlation;
    }
    bool stated = LIKELY(thread->span == (int64_t)thread->writer.span &&
                         thread->correlation == thread->writer.correlation) ||
                  strand_write_state(thread);
    thread->span = own.span;
    thread->correlation = own.correlation;
    if (!stated)
        Py_RETURN_NONE;
    event_write_head(&event, site->id, room);
    if (put_texts(&event, site, names, origin, fields->count + fields->left_out))
        (void)fields_put(&event, fields);
    int64_t id = event_commit(&event);
    if (UNLIKELY(core.tells))
        event_tell(thread, site, id);
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
    fields_begin(&fields);
    if (!fields_add_dict(&fields, args[7])) {
        fields_release(&fields);
        return NULL;
    }
    fields_summarise(&fields);
    PyObject *origin = Py_NewRef(args[2]);
    PyUnicode_InternInPlace(&origin);
    struct site *site = site_named((enum gn_kind)kind, (int)level, origin, args + 3);
    Py_DECREF(origin);
    const struct strand *given = strand.span != 0 ? &strand : NULL;
    /* Big: the head says how big it came to be. */
    PyObject *id = site != NULL && site_wanted(site)
                       ? record_write(site, args + 3, NULL, &fields, given, GN_RECORD_BIG)
                       : Py_NewRef(Py_None);
    fields_release(&fields);
    return id;
}

/* Fields behind one leading value, into a stream. */
static PyObject *put_stream(uint32_t stream, uint32_t site, PyObject *lead, PyObject *dict)
{
    struct fields fields;
    fields_begin(&fields);
    if (!fields_add_dict(&fields, dict)) {
        fields_release(&fields);
        return NULL;
    }
    fields_summarise(&fields);
    if (core.generation == 0) {
        fields_release(&fields);
        Py_RETURN_FALSE;
    }
    uint8_t bytes[GN_RECORD_BIG - GN_RECORD_HEAD_WIDE];
    struct event event = {.p = bytes, .end = bytes + sizeof bytes - 3};
    if (event_advance(&event, put_value(event.p, event.end, lead, false), fields.count + 1))
        (void)fields_put(&event, &fields);
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

bool annotate_count(int64_t id, PyObject *key, uint64_t count)
{
    uint8_t bytes[64 + 256];
    const uint8_t *end = bytes + sizeof bytes;
    uint32_t key_id = string_id(key);
    uint8_t *p = gn_put_int(bytes, end, id);
    p = key_id != 0 ? gn_put_ref(p, end, GN_KEY, key_id) : put_named(p, end, GN_NAME, key);
    p = p == NULL ? NULL : gn_put_int(p, end, (int64_t)count);
    return p != NULL && core.generation != 0 &&
           gn_recording_put(core.recording, GN_STREAM_ANNOTATIONS, GN_SYS_ANNOTATE, bytes,
                            (size_t)(p - bytes)) == GN_OK;
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

uint8_t *put_dict(uint8_t *p, const uint8_t *end, PyObject *dict)
{
    struct fields fields;
    if (!fields_make(&fields, dict)) {
        PyErr_Clear(); /* no memory, or no dict: the caller does without */
        return NULL;
    }
    struct event event = {.p = p, .end = end - 3}; /* a GN_CUT fits behind */
    (void)fields_put(&event, &fields);
    fields_release(&fields);
    return event.p;
}
