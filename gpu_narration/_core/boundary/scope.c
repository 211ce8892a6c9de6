/* The beginning and the end of every span, and the context manager Span. */
#include "boundary.h"

#define ERROR_TEXT_MAX 512u

/* ---- opening ---- */

static __attribute__((noinline)) void scope_tell(struct scope *scope, struct thread_state *thread,
                                                 bool pushable)
{
    if (core.nvtx_on)
        nvtx_open(scope, thread, pushable);
    if (scope->site->sampled_out != 0)
        site_tell(scope->site, scope->id);
}

void scope_opened(struct scope *scope, struct thread_state *thread, struct site *site, int64_t id,
                  uint64_t tick, bool pushable)
{
    scope->id = id;
    scope->site = site;
    scope->start_tick = tick;
    scope->hook_token = NULL;
    scope->range = NULL;
    scope->pushed = false;
    scope->generation = core.generation;
    scope->thread_key = thread->key;
    strand_push(thread, scope);
    if (UNLIKELY(core.tells))
        scope_tell(scope, thread, pushable);
}

void scope_hook_enter(struct scope *scope, unsigned flags, PyObject *stream,
                      PyObject *const *names)
{
    if (scope->id == 0 || core.hooks.scope_enter == NULL)
        return;
    scope->hook_token = PyObject_CallFunction(
        core.hooks.scope_enter, "LIOLOO", (long long)scope->id, flags,
        stream != NULL ? stream : Py_None, (long long)scope->parent, names[0], names[1]);
    if (scope->hook_token == NULL)
        internal_error("opening of a GPU or VRAM span");
}

static void hook_exit(struct scope *scope, PyObject *failure)
{
    if (core.hooks.scope_exit != NULL) {
        PyObject *done = PyObject_CallFunction(
            core.hooks.scope_exit, "OLO", scope->hook_token != NULL ? scope->hook_token : Py_None,
            (long long)scope->id, failure != NULL ? failure : Py_None);
        if (done == NULL)
            internal_error("closing of a GPU or VRAM span");
        Py_XDECREF(done);
    }
    Py_CLEAR(scope->hook_token);
}

/* ---- what went wrong ---- */

/* Whether a type of its MRO has one of the names, which end in NULL.  By name: who
 * defines such a type need not be loaded. */
static bool is_named(PyObject *error, const char *const *names)
{
    PyObject *bases = Py_TYPE(error)->tp_mro;
    for (Py_ssize_t i = 0; bases != NULL && i < PyTuple_GET_SIZE(bases); i++) {
        const char *name = ((PyTypeObject *)PyTuple_GET_ITEM(bases, i))->tp_name;
        const char *dot = strrchr(name, '.');
        for (const char *const *wanted = names; *wanted != NULL; wanted++)
            if (strcmp(dot != NULL ? dot + 1 : name, *wanted) == 0)
                return true;
    }
    return false;
}

/* asyncio's and concurrent.futures' are different types. */
static bool is_cancellation(PyObject *error)
{
    static const char *const names[] = {"CancelledError", NULL};
    return is_named(error, names);
}

/* Whether an allocation on a GPU may have failed: CuPy's and PyTorch's own errors, and
 * the errors of the CUDA API, of which cuda/oom.py knows more. */
static bool may_be_out_of_memory(PyObject *error)
{
    static const char *const names[] = {"OutOfMemoryError", "CudaError", "CUDARuntimeError",
                                        "CUDADriverError", NULL};
    return is_named(error, names);
}

static bool is_python_str(PyTypeObject *type)
{
    reprfunc own = type->tp_str;
    while (type != NULL && (type->tp_flags & Py_TPFLAGS_HEAPTYPE))
        type = type->tp_base;
    return type == NULL || type->tp_str != own;
}

static bool is_absent_or_plain(PyObject *value)
{
    return value == NULL || value_is_plain(value);
}

/* Its str shows attributes that may be anything, such as a path's repr. */
static PyObject *os_error_text(PyOSErrorObject *error)
{
    if (is_absent_or_plain(error->myerrno) && is_absent_or_plain(error->strerror) &&
        is_absent_or_plain(error->filename) && is_absent_or_plain(error->filename2))
        return PyObject_Str((PyObject *)error);
    PyObject *parts[3] = {error->myerrno, error->strerror, error->filename};
    for (int i = 0; i < 3; i++) {
        bool object;
        parts[i] = summarise(parts[i] != NULL ? parts[i] : Py_None, &object);
    }
    PyObject *text = PyUnicode_FromFormat("[Errno %S] %S: %S", parts[0], parts[1], parts[2]);
    for (int i = 0; i < 3; i++)
        Py_DECREF(parts[i]);
    return text;
}

/* The exception's text without running the program's code: its own __str__ only
 * where that is C and its arguments are plain. */
static PyObject *error_text(PyObject *error)
{
    if (!PyExceptionInstance_Check(error))
        return NULL;
    PyObject *arguments = ((PyBaseExceptionObject *)error)->args;
    if (arguments == NULL || !PyTuple_Check(arguments))
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    struct values values = {count > 0 ? &PyTuple_GET_ITEM(arguments, 0) : NULL, count, 0};
    if (values_are_plain(&values) && !is_python_str(Py_TYPE(error)) && error_shows_plain(error))
        return PyErr_GivenExceptionMatches(error, PyExc_OSError)
                   ? os_error_text((PyOSErrorObject *)error)
                   : PyObject_Str(error);
    if (count == 0)
        return NULL;
    bool object;
    PyObject *summary = summarise(PyTuple_GET_ITEM(arguments, 0), &object);
    PyObject *text = PyObject_Str(summary); /* plain: no foreign code */
    Py_DECREF(summary);
    return text;
}

static void put_error(struct event *event, PyObject *error, PyObject *text)
{
    const char *name = Py_TYPE(error)->tp_name;
    const char *dot = strrchr(name, '.');
    name = dot != NULL ? dot + 1 : name;
    size_t length = gn_utf8_prefix(name, strlen(name), 255);
    uint8_t *p = gn_put_short(event->p, event->end, GN_STR8, name, length);
    if (event_advance(event, p, 2) && text != NULL)
        (void)event_advance(event, put_string(event->p, event->end, text, ERROR_TEXT_MAX), 1);
}

/* Out of line, so that the usual end stays short. */
static __attribute__((noinline)) bool put_result(struct event *event, const struct ending_more *more,
                                                 const struct values *result)
{
    if (more->name != NULL)
        return event_advance(event, put_named(event->p, event->end, GN_STR8, more->name), 2) &&
               event_advance(event, put_string(event->p, event->end, more->meaning,
                                               ERROR_TEXT_MAX), 1);
    if (more->address && result->count > 0 && PyLong_CheckExact(result->items[0])) {
        uint64_t address = PyLong_AsUnsignedLongLongMask(result->items[0]);
        return event_advance(event, gn_put_wide(event->p, event->end, GN_POINTER, address), 1);
    }
    return event_put_values(event, result, 0);
}

/* ---- closing ---- */

/* Ends the scope for the thread that opened it, which is not this one.  The lock
 * keeps that thread's state from going away with it. */
static void close_for_opener(struct scope *scope)
{
    (void)pthread_mutex_lock(&core.threads_lock);
    struct thread_state *opener = core.threads;
    while (opener != NULL && opener->key != scope->thread_key)
        opener = opener->next;
    if (opener != NULL && scope->generation == core.generation)
        strand_drop(opener, scope);
    if (opener != NULL && scope->pushed)
        atomic_fetch_add(&opener->owed_pops, 1);
    (void)pthread_mutex_unlock(&core.threads_lock);
    scope->pushed = false;
}

/* The record of an end up to what comes last; false: nothing is to be written. */
static inline bool begin_end(struct event *event, const struct scope *scope, uint64_t end_tick,
                             enum gn_outcome outcome)
{
    if (!event_prepare(event, end_tick, GN_RECORD_MAX) || scope->generation != core.generation)
        return false;
    event_write_head(event, scope->site->id | GN_SITE_EXIT, GN_RECORD_MAX);
    /* The three always fit. */
    uint8_t *p = gn_put_int_unchecked(event->p, outcome);
    p = gn_put_int_unchecked(p, scope->id);
    event->p = gn_put_int_unchecked(p, (int64_t)(end_tick - scope->start_tick));
    return true;
}

static inline void commit_end(struct event *event, const struct scope *scope)
{
    (void)event_commit(event);
    struct gn_writer *writer = &event->thread->writer;
    if (writer->span == (uint64_t)scope->id)
        writer->span = (uint64_t)scope->parent; /* as the reader does */
}

static void write_end(const struct scope *scope, uint64_t end_tick, const struct ending *ending,
                      const struct values *result, PyObject *text)
{
    struct event event;
    if (!begin_end(&event, scope, end_tick, ending->outcome))
        return;
    if (ending->error != NULL)
        put_error(&event, ending->error, text);
    else if (UNLIKELY(ending->more != NULL))
        (void)(put_result(&event, ending->more, result) &&
               (ending->more->fields == NULL || fields_put(&event, ending->more->fields)));
    else if (ending->masked && result->count > 0)
        (void)event_advance(&event, gn_put_tag(event.p, event.end, GN_MASKED), 1);
    else
        (void)event_put_values(&event, result, 0);
    commit_end(&event, scope);
}

/* Ends the span for the thread that opened it. */
static void leave_strand(struct scope *scope)
{
    struct thread_state *here = recording_thread();
    if (here == NULL)
        return;
    if (LIKELY(here->key == scope->thread_key))
        strand_pop(here, scope);
    else
        close_for_opener(scope);
    if (UNLIKELY(scope->pushed || scope->range != NULL))
        nvtx_close(scope, here);
}

/* The recording ended inside the span: only a tool still waits for its end. */
static void close_late(struct scope *scope)
{
    if (scope->pushed && scope->thread_key != thread_key())
        close_for_opener(scope);
    nvtx_close(scope, NULL);
}

static void close_recorded(struct scope *scope, uint64_t end_tick, const struct ending *ending)
{
    PyObject *text = NULL;
    if (ending->error != NULL) {
        text = error_text(ending->error);
        contain(); /* an exception that cannot be shown has no text */
        /* Libraries put the URL that failed, and its password, into what they raise. */
        if (text != NULL)
            Py_SETREF(text, redact_field(NULL, text));
    }
    struct values result = {&ending->result, ending->result != NULL ? 1 : 0, 0};
    struct summaries plain;
    if (values_prepare(&plain, &result)) {
        write_end(scope, end_tick, ending, &plain.plain, text);
        values_done(&plain);
    }
    Py_XDECREF(text);
    /* Summaries and waiting let others run, who may have ended the recording. */
    if (LIKELY(scope->generation == core.generation))
        leave_strand(scope);
    else
        close_late(scope);
}

static inline void close_at(struct scope *scope, const struct ending *ending, uint64_t end_tick)
{
    if (scope->id == 0)
        return;
    PyObject *failure = ending->failure;
    if (UNLIKELY(ending->error != NULL) && may_be_out_of_memory(ending->error))
        failure = ending->error;
    if (UNLIKELY(scope->generation != core.generation))
        failure = NULL; /* the recording that would tell of it is over */
    if (UNLIKELY(scope->hook_token != NULL || failure != NULL))
        hook_exit(scope, failure);
    if (LIKELY(scope->generation == core.generation))
        close_recorded(scope, end_tick, ending);
    else if (scope->pushed || scope->range != NULL)
        close_late(scope);
    scope->id = 0;
}

void scope_close(struct scope *scope, const struct ending *ending)
{
    close_at(scope, ending, gn_clock_ticks());
}

void scope_close_at(struct scope *scope, const struct ending *ending, uint64_t end_tick)
{
    close_at(scope, ending, end_tick);
}

void scope_close_value(struct scope *scope, PyObject *result)
{
    uint64_t end_tick = gn_clock_ticks();
    if (UNLIKELY(scope->hook_token != NULL || !value_is_plain(result) || scope->id == 0 ||
                 scope->generation != core.generation)) {
        struct ending ending = {.outcome = GN_OUTCOME_OK, .result = result};
        close_at(scope, &ending, end_tick);
        return;
    }
    struct event event;
    if (begin_end(&event, scope, end_tick, GN_OUTCOME_OK)) {
        uint8_t *p = put_value(event.p, event.end, result, false);
        (void)event_advance(&event, p, 1);
        commit_end(&event, scope);
    }
    /* Waiting lets others run, who may have ended the recording. */
    if (LIKELY(scope->generation == core.generation))
        leave_strand(scope);
    else
        close_late(scope);
    scope->id = 0;
}

void scope_close_error(struct scope *scope, PyObject *error)
{
    struct ending ending = {.outcome = GN_OUTCOME_ERROR, .error = error};
    if (PyErr_GivenExceptionMatches(error, PyExc_GeneratorExit))
        ending = (struct ending){.outcome = GN_OUTCOME_CLOSED};
    else if (is_cancellation(error))
        ending.outcome = GN_OUTCOME_CANCELLED;
    scope_close(scope, &ending);
}

void scope_close_raised(struct scope *scope)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (error != NULL && PyExceptionInstance_Check(error))
        scope_close_error(scope, error);
    PyErr_Restore(type, error, traceback);
}

/* ---- Span ---- */

struct nested {
    struct scope scope;
    struct nested *outer; /* owned */
};

struct span {
    PyObject ob_base;
    PyObject *names[NAME_COUNT]; /* owned */
    PyObject *stream; /* owned, or NULL */
    unsigned flags; /* enum scope_flags */
    unsigned depth; /* how often it is entered now */
    struct scope scope; /* of the innermost entry */
    struct nested *outer; /* owned: the other entries of a span entered again */
};

static PyTypeObject *span_type;

static bool keep_outer(struct span *span)
{
    if (LIKELY(span->depth == 0))
        return true;
    struct nested *nested = PyMem_Malloc(sizeof *nested);
    if (nested == NULL)
        return false;
    nested->scope = span->scope;
    nested->outer = span->outer;
    span->outer = nested;
    return true;
}

static void restore_outer(struct span *span)
{
    struct nested *nested = span->outer;
    if (LIKELY(nested == NULL))
        return;
    span->scope = nested->scope;
    span->outer = nested->outer;
    PyMem_Free(nested);
}

/* Whether the code that runs now can be suspended inside a with statement: its
 * spans may end out of order, which NVTX push/pop cannot express. */
static bool caller_can_suspend(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL)
        return false;
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool can = (code->co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0;
    Py_DECREF(code);
    return can;
}

static void span_open(struct span *span)
{
    bool nests = !core.nvtx_on || !caller_can_suspend();
    struct site *site = site_find(GN_KIND_SPAN, span->names, PyEval_GetGlobals());
    struct event event;
    if (site == NULL || !site_wanted(site) || !event_begin(&event, site->id))
        return;
    for (int i = 0; i < NAME_COUNT; i++)
        if (site->dynamic >> i & 1)
            if (!event_advance(&event, put_string(event.p, event.end, span->names[i], 1000), 1))
                break;
    struct thread_state *thread = event.thread;
    uint64_t tick = event.tick;
    int64_t id = event_commit(&event);
    /* Under an event loop an AsyncExitStack may hold the span across an await. */
    scope_opened(&span->scope, thread, site, id, tick, nests && !thread->publishing);
    if (UNLIKELY(span->flags != 0))
        scope_hook_enter(&span->scope, span->flags, span->stream, span->names);
}

static PyObject *span_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct span *span = (struct span *)self;
    if (UNLIKELY(!keep_outer(span)))
        return PyErr_NoMemory();
    span->depth++;
    span->scope.id = 0;
    if (is_recording())
        span_open(span);
    return Py_NewRef(self);
}

static PyObject *span_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct span *span = (struct span *)self;
    if (span->depth == 0)
        Py_RETURN_FALSE;
    /* Taken out first: closing may run Python code that enters or leaves it again. */
    struct scope scope = span->scope;
    span->depth--;
    span->scope.id = 0;
    restore_outer(span);
    if (UNLIKELY(nargs == 3 && PyExceptionInstance_Check(args[1]))) {
        scope_close_error(&scope, args[1]);
    } else {
        struct ending ending = {.outcome = GN_OUTCOME_OK};
        scope_close(&scope, &ending);
    }
    Py_RETURN_FALSE;
}

static void span_dealloc(PyObject *self)
{
    struct span *span = (struct span *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *error_type, *error, *traceback;
    PyErr_Fetch(&error_type, &error, &traceback); /* it may go while a frame unwinds */
    while (span->depth > 0) { /* __enter__ without __exit__: the span ends here */
        struct ending ending = {.outcome = GN_OUTCOME_CLOSED};
        span->depth--;
        scope_close(&span->scope, &ending);
        restore_outer(span);
    }
    PyErr_Restore(error_type, error, traceback);
    for (int i = 0; i < NAME_COUNT; i++)
        Py_XDECREF(span->names[i]);
    Py_XDECREF(span->stream);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *span_id(PyObject *self, void *closure)
{
    (void)closure;
    struct span *span = (struct span *)self;
    if (span->depth == 0 || span->scope.id == 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(span->scope.id);
}

static int text_argument(PyObject *value, const char *name, PyObject **place)
{
    if (*place != NULL) {
        PyErr_Format(PyExc_TypeError, "span() got multiple values for argument '%s'", name);
        return -1;
    }
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "span() argument '%s' must be str, not %.200s", name,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    PyObject *text = PyUnicode_FromObject(value); /* an exact str */
    if (text == NULL)
        return -1;
    *place = text;
    return 0;
}

static int keyword_argument(struct span *span, PyObject *keyword, PyObject *value)
{
    static const char *const texts[NAME_COUNT] = {"actor", "action", "target", "human"};
    for (int i = 0; i < NAME_COUNT; i++)
        if (PyUnicode_CompareWithASCIIString(keyword, texts[i]) == 0)
            return text_argument(value, texts[i], &span->names[i]);
    if (PyUnicode_CompareWithASCIIString(keyword, "stream") == 0) {
        Py_XSETREF(span->stream, value == Py_None ? NULL : Py_NewRef(value));
        return 0;
    }
    unsigned flag = PyUnicode_CompareWithASCIIString(keyword, "gpu") == 0    ? SCOPE_GPU
                    : PyUnicode_CompareWithASCIIString(keyword, "vram") == 0 ? SCOPE_VRAM
                                                                             : 0;
    if (flag == 0) {
        PyErr_Format(PyExc_TypeError, "span() got an unexpected keyword argument '%U'", keyword);
        return -1;
    }
    int on = PyObject_IsTrue(value);
    if (on > 0)
        span->flags |= flag;
    return on < 0 ? -1 : 0;
}

static int span_arguments(struct span *span, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames)
{
    static const char *const texts[NAME_COUNT] = {"actor", "action", "target", "human"};
    if (nargs > NAME_COUNT) {
        PyErr_Format(PyExc_TypeError, "span() takes at most 4 positional arguments (%zd given)",
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        if (text_argument(args[i], texts[i], &span->names[i]) < 0)
            return -1;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (keyword_argument(span, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]) < 0)
            return -1;
    if (span->names[0] == NULL || span->names[1] == NULL) {
        PyErr_SetString(PyExc_TypeError, "span() needs an actor and an action");
        return -1;
    }
    for (int i = 2; i < NAME_COUNT; i++)
        if (span->names[i] == NULL)
            span->names[i] = PyUnicode_InternFromString("");
    return span->names[2] == NULL || span->names[3] == NULL ? -1 : 0;
}

PyObject *span_new(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    (void)module;
    struct span *span = PyObject_New(struct span, span_type);
    if (span == NULL)
        return NULL;
    memset((char *)span + sizeof span->ob_base, 0, sizeof *span - sizeof span->ob_base);
    if (span_arguments(span, args, nargs, kwnames) < 0) {
        Py_DECREF(span);
        return NULL;
    }
    return (PyObject *)span;
}

static PyMethodDef span_methods[] = {
    {"__enter__", span_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))span_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef span_getset[] = {
    {"id", span_id, NULL, "Event id of the open span, or None while it is not recorded.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot span_slots[] = {
    {Py_tp_dealloc, span_dealloc},
    {Py_tp_methods, span_methods},
    {Py_tp_getset, span_getset},
    {Py_tp_doc, "A stretch of time with a name; a context manager, made by span()."},
    {0, NULL},
};

static PyType_Spec span_spec = {
    .name = "gpu_narration.Span",
    .basicsize = sizeof(struct span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = span_slots,
};

int scope_init(PyObject *module)
{
    span_type = (PyTypeObject *)PyType_FromSpec(&span_spec);
    if (span_type == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "Span", (PyObject *)span_type);
}
