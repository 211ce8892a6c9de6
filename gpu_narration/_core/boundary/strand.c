/* Which span and which correlation are current.
 *
 * A strand is a line of execution that spans nest in: a thread, or a task within
 * one.  Three layers, each as cheap as its place allows:
 *
 *   - Plain calls nest in the C stack: scope.parent keeps the span that was
 *     current and gives it back.  Values only, no pointers, so a greenlet that
 *     swaps stacks under us costs attribution, never memory.
 *   - Where an event loop runs, tasks take turns on the thread.  There a span is
 *     also put into a context variable, which every task copies when it is made
 *     and asyncio.to_thread carries over.  Setting it costs some 100 ns, so plain
 *     threads do not, nor do finalisers that the collector runs (collector.c).
 *   - CPython bumps tstate->context_ver whenever a context is entered or left, and
 *     our variables are set only here.  As long as it stands still nothing has to
 *     be looked up: one compare an event.
 *
 * What the reader believes is kept apart (writer.span, writer.correlation) and
 * corrected by a GN_SYS_STATE record only when an event is about to be written
 * under another truth, so a task switch alone writes nothing. */
#include "boundary.h"

#define CORRELATIONS 64u /* power of two; recently used ids */
#define CORRELATION_KEPT_MAX 4096 /* a longer one is defined anew each time, and not kept alive */

static struct {
    PyObject *value; /* owned */
    uint32_t id; /* in the string table of the trace */
    uint32_t generation;
} correlations[CORRELATIONS];

/* Ids of correlations count down from here: each is defined once and not
 * interned, since a server makes a new one per request. */
static uint32_t next_correlation = UINT32_MAX;

static PyObject *fields_name, *correlation_name; /* "fields", "correlation_id" */

/* What else the work of a correlation belongs to: the dict of a contexts.Ids, else NULL.
 * A slot of that very type: reading it runs no code of the program's. */
static PyObject *correlation_fields(PyObject *value)
{
    if ((PyObject *)Py_TYPE(value) != core.hooks.ids)
        return NULL;
    PyObject *fields = PyObject_GetAttr(value, fields_name);
    if (fields == NULL)
        PyErr_Clear(); /* never filled in */
    return fields;
}

/* Once for all events of a context, which refer to it by its number. */
static uint32_t correlation_define(PyObject *value)
{
    uint8_t values[GN_RECORD_BIG - GN_RECORD_HEAD_WIDE];
    const uint8_t *end = values + sizeof values;
    uint32_t id = next_correlation--, generation = core.generation;
    uint8_t *p = gn_put_int(values, end, id);
    PyObject *text = redact_field(correlation_name, value);
    p = text == NULL ? NULL : put_string(p, end, text, GN_TEXT_MAX);
    Py_XDECREF(text);
    PyObject *fields = correlation_fields(value);
    if (fields != NULL && p != NULL)
        p = put_dict(p, end, fields);
    Py_XDECREF(fields);
    if (p == NULL || core.generation != generation || /* the collector may have run */
        gn_recording_put(core.recording, GN_STREAM_DEFINITIONS, GN_SYS_STRING, values,
                         (size_t)(p - values)) != GN_OK)
        return 0;
    return id;
}

static uint32_t correlation_id(PyObject *value)
{
    if (value == NULL || !PyUnicode_Check(value))
        return 0;
    if (PyUnicode_GET_LENGTH(value) > CORRELATION_KEPT_MAX)
        return correlation_define(value);
    uint32_t i = (uint32_t)((uintptr_t)value >> 5) & (CORRELATIONS - 1);
    if (correlations[i].value != value || correlations[i].generation != core.generation ||
        correlations[i].id == 0) {
        uint32_t id = correlation_define(value);
        PyObject *before = correlations[i].value;
        correlations[i].value = Py_NewRef(value);
        correlations[i].generation = core.generation;
        correlations[i].id = id;
        Py_XDECREF(before); /* last: the program's own kind of str may have a finaliser */
        return id;
    }
    return correlations[i].id;
}

static PyObject *variable_get(PyObject *variable)
{
    PyObject *value = NULL;
    if (PyContextVar_Get(variable, NULL, &value) != 0)
        PyErr_Clear(); /* no memory to look: as if it were not set */
    return value;
}

/* What the context variable of the span holds, as bytes.  A context may outlive
 * the recording, and a fork's child inherits it: there the id means nothing. */
struct published {
    int64_t id;
    int64_t generation;
    struct site *site; /* of the span, or NULL; sites are never freed */
};

static struct published span_variable_get(void)
{
    struct published published = {0, 0, NULL};
    PyObject *value = variable_get(core.span_variable);
    if (value != NULL && PyBytes_CheckExact(value) &&
        PyBytes_GET_SIZE(value) == (Py_ssize_t)sizeof published)
        memcpy(&published, PyBytes_AS_STRING(value), sizeof published);
    Py_XDECREF(value);
    return published.generation == core.generation ? published : (struct published){0, 0, NULL};
}

/* Where to ask whether an event loop runs on this thread.  The modules are
 * looked up among the loaded ones, never imported. */
static struct {
    const char *module, *function;
    PyObject *callable; /* owned; NULL until the module is loaded */
} loops[] = {
    {"asyncio", "_get_running_loop", NULL},
    {"trio.lowlevel", "in_trio_run", NULL},
};

static PyObject *loop_question(size_t i)
{
    if (loops[i].callable == NULL) {
        PyObject *name = PyUnicode_InternFromString(loops[i].module);
        PyObject *module = name == NULL ? NULL : PyImport_GetModule(name);
        if (module != NULL)
            loops[i].callable = PyObject_GetAttrString(module, loops[i].function);
        Py_XDECREF(module);
        Py_XDECREF(name);
    }
    return loops[i].callable;
}

/* A span is published where somebody may copy the context: under a running
 * event loop.  Loops run their callbacks through Context.run, so the answer
 * changes only together with context_ver. */
static bool loop_is_running(void)
{
    bool running = false;
    for (size_t i = 0; i < sizeof loops / sizeof loops[0] && !running; i++) {
        PyObject *question = loop_question(i);
        PyObject *answer = question == NULL ? NULL : PyObject_CallNoArgs(question);
        running = answer != NULL && answer != Py_None && answer != Py_False;
        Py_XDECREF(answer);
    }
    contain(); /* a half-imported module has no loop yet */
    return running;
}

void strand_sync(struct thread_state *thread, PyThreadState *python)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* the caller may be unwinding */
    PyObject *correlation = variable_get(core.correlation_variable);
    thread->correlation = correlation_id(correlation);
    Py_XDECREF(correlation);
    struct published variable = span_variable_get();
    if (variable.id != thread->variable) {
        if (thread->variable == 0)
            thread->floor = thread->span;
        thread->span = variable.id != 0 ? variable.id : thread->floor;
        thread->span_site = variable.site; /* of a floor: known to whoever opened it */
        thread->variable = variable.id;
    }
    thread->publishing = loop_is_running();
    if (thread->publishing)
        collector_watch();
    thread->context_version = python->context_ver;
    thread->python_thread = python->id;
    PyErr_Restore(type, value, traceback);
}

bool strand_write_state(struct thread_state *thread)
{
    struct gn_writer *writer = &thread->writer;
    uint64_t tick = gn_clock_ticks();
    /* event_prepare left room for this beside the record itself. */
    uint8_t *p = gn_record_begin(writer, GN_SYS_STATE, tick);
    p = gn_put_wide(p, writer->end, GN_I64, (uint64_t)thread->span);
    p = gn_put_ref(p, writer->end, GN_STRREF, thread->correlation);
    gn_state_commit(writer, p, tick);
    writer->span = (uint64_t)thread->span;
    writer->correlation = thread->correlation;
    return true;
}

/* In here the collector does not run; collector.c tells why. */
static PyObject *context_set(PyObject *variable, PyObject *value)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyContextVar_Set(variable, value);
#else
    int collects = PyGC_Disable();
    PyObject *token = PyContextVar_Set(variable, value);
    if (collects)
        (void)PyGC_Enable();
    return token;
#endif
}

/* Runs no Python code. */
static void variable_set(struct thread_state *thread, int64_t id, struct site *site)
{
    struct published published = {id, core.generation, site};
    PyObject *value = PyBytes_FromStringAndSize((const char *)&published, sizeof published);
    PyObject *token = value == NULL ? NULL : context_set(core.span_variable, value);
    Py_XDECREF(value);
    if (token == NULL) {
        PyErr_Clear(); /* no memory: tasks made from here lack this parent */
        return;
    }
    Py_DECREF(token);
    PyThreadState *python = PyThreadState_Get();
    if (thread->variable == 0)
        thread->floor = thread->span;
    thread->variable = id;
    thread->context_version = python->context_ver; /* our own change: nothing to look up */
}

void strand_push(struct thread_state *thread, struct scope *scope)
{
    scope->parent = thread->span;
    scope->outer_site = thread->span_site;
    scope->published = thread->publishing && !collector_runs;
    if (scope->published) {
        scope->variable_before = thread->variable;
        variable_set(thread, scope->id, scope->site);
    }
    thread->span = scope->id;
    thread->span_site = scope->site;
    thread->writer.span = (uint64_t)scope->id; /* the reader infers it from the record */
}

/* Where a span that is no longer open stands for its parent, -1 if it is open. */
static int closed_index(const struct thread_state *thread, int64_t id)
{
    for (unsigned i = 0; i < thread->closed_count; i++)
        if (thread->closed[i].id == id)
            return (int)i;
    return -1;
}

static int64_t open_ancestor(const struct thread_state *thread, int64_t id)
{
    int at = closed_index(thread, id);
    return at < 0 ? id : thread->closed[at].parent;
}

/* Goes back to a span, or to its parent if it has ended meanwhile. */
static int64_t take_ancestor(struct thread_state *thread, int64_t id)
{
    int at = closed_index(thread, id);
    if (at < 0)
        return id;
    int64_t parent = thread->closed[at].parent;
    thread->closed_count--;
    memmove(&thread->closed[at], &thread->closed[at + 1],
            (thread->closed_count - (unsigned)at) * sizeof thread->closed[0]);
    return parent;
}

/* All parents in the list are open: one look finds the way, and what is
 * forgotten cuts no chain. */
static void note_closed(struct thread_state *thread, const struct scope *scope)
{
    unsigned room = sizeof thread->closed / sizeof thread->closed[0];
    int64_t parent = open_ancestor(thread, scope->parent);
    for (unsigned i = 0; i < thread->closed_count; i++)
        if (thread->closed[i].parent == scope->id)
            thread->closed[i].parent = parent;
    if (thread->closed_count == room) { /* forget the oldest */
        memmove(&thread->closed[0], &thread->closed[1], (room - 1) * sizeof thread->closed[0]);
        thread->closed_count--;
    }
    thread->closed[thread->closed_count].id = scope->id;
    thread->closed[thread->closed_count].parent = parent;
    thread->closed_count++;
}

/* Any order: generators and ExitStacks may end spans that are not innermost.
 * Also for another thread's strand, whose context is out of reach. */
void strand_drop(struct thread_state *thread, const struct scope *scope)
{
    if (thread->span == scope->id) {
        thread->span =
            thread->closed_count == 0 ? scope->parent : take_ancestor(thread, scope->parent);
        thread->span_site = thread->span == scope->parent ? scope->outer_site : NULL;
    } else {
        note_closed(thread, scope);
    }
}

void strand_pop(struct thread_state *thread, const struct scope *scope)
{
    /* Of a span that ends while the collector runs, the context keeps the name. */
    if (scope->published && thread->variable == scope->id && !collector_runs) {
        int64_t before = open_ancestor(thread, scope->variable_before);
        struct site *site = before == scope->parent ? scope->outer_site : NULL;
        variable_set(thread, before, site);
        thread->variable = before;
    }
    strand_drop(thread, scope);
}

void strand_save(const struct thread_state *thread, struct strand_mark *mark)
{
    mark->span = thread->span;
    mark->site = thread->span_site;
    mark->variable = thread->variable;
}

void strand_restore(struct thread_state *thread, const struct strand_mark *mark, bool published)
{
    if (published && thread->variable != mark->variable && !collector_runs) {
        struct site *site = mark->variable == mark->span ? mark->site : NULL;
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback); /* the body's, which no want of memory replaces */
        variable_set(thread, mark->variable, site);
        PyErr_Restore(type, error, traceback);
    }
    thread->span = mark->span;
    thread->span_site = mark->site;
}

/* set_correlation(value): sets the context variable, and makes this thread look. */
PyObject *strand_set_correlation(PyObject *module, PyObject *value)
{
    (void)module;
    if (value != Py_None && !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a correlation id must be str or None, not %.200s",
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    PyObject *token = context_set(core.correlation_variable, value);
    if (token == NULL)
        return NULL;
    Py_DECREF(token);
    if (core.generation != 0 && thread_slot.generation == core.generation)
        thread_slot.state->context_version = UINT64_MAX;
    Py_RETURN_NONE;
}

/* current_span() -> the event id of the innermost open span here, or 0 */
PyObject *strand_current_span(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (core.generation == 0)
        return PyLong_FromLong(0);
    struct thread_state *thread = recording_thread();
    PyThreadState *python = PyThreadState_Get();
    if (thread == NULL || ((python->context_ver != thread->context_version ||
                            python->id != thread->python_thread) &&
                           !thread_sync(thread, python)))
        return PyLong_FromLong(0);
    return PyLong_FromLongLong(thread->span);
}

/* publish_span(id): what runs in the context that is current, a copy made for it, is in
 * that span.  The thread's own strand stays as it is until it looks again. */
PyObject *strand_publish_span(PyObject *module, PyObject *id)
{
    (void)module;
    struct published published = {PyLong_AsLongLong(id), core.generation, NULL};
    if (PyErr_Occurred())
        return NULL;
    PyObject *value = PyBytes_FromStringAndSize((const char *)&published, sizeof published);
    PyObject *token = value == NULL ? NULL : context_set(core.span_variable, value);
    Py_XDECREF(value);
    if (token == NULL)
        return NULL;
    Py_DECREF(token);
    if (core.generation != 0 && thread_slot.generation == core.generation)
        thread_slot.state->context_version = UINT64_MAX;
    Py_RETURN_NONE;
}

int strand_init(PyObject *module)
{
    fields_name = PyUnicode_InternFromString("fields");
    correlation_name = PyUnicode_InternFromString("correlation_id");
    if (fields_name == NULL || correlation_name == NULL)
        return -1;
    core.span_variable = PyContextVar_New("gpu_narration_span", NULL);
    core.correlation_variable = PyContextVar_New("gpu_narration_correlation_id", NULL);
    if (core.span_variable == NULL || core.correlation_variable == NULL)
        return -1;
    if (PyModule_AddObjectRef(module, "span_variable", core.span_variable) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "correlation_variable", core.correlation_variable);
}
