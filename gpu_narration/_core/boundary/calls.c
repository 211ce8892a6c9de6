/* trace_tiny and its sisters: one event a call.
 *
 * The calls check their arity in every state, so that switching tracing on never
 * turns a working program into one that raises. */
#include "boundary.h"

#define NAME_BYTES_MAX 1000u /* of a name that is not a constant */
#define POSITIONAL_MAX 5

/* How the positional arguments of a call map to a record. */
struct shape {
    enum gn_kind kind;
    const char *function;
    const char *positional[POSITIONAL_MAX]; /* their names, for keyword calls */
    int count; /* positional arguments before *args */
    int required; /* of them; the others default to "" */
    int name_at[NAME_COUNT]; /* which positional is name i, or -1 */
    int lead_at, lead_count; /* which positionals are values, before *args */
};

static const struct shape tiny = {
    GN_KIND_TINY, "trace_tiny", {"actor", "action", "target", "human"}, 4, 4, {0, 1, 2, 3}, 4, 0,
};
static const struct shape correlated = {
    GN_KIND_CORRELATED, "trace_with_correlation",
    {"actor", "action", "target", "human", "correlation_id"}, 5, 5, {0, 1, 2, 3}, 4, 1,
};
static const struct shape enter = {
    GN_KIND_ENTER, "trace_enter", {"actor", "function", "args"}, 3, 2, {0, -1, 1, 2}, 3, 0,
};
static const struct shape leave = {
    GN_KIND_EXIT, "trace_exit", {"actor", "function", "result"}, 3, 2, {0, -1, 1, 2}, 3, 0,
};
static const struct shape loop = {
    GN_KIND_LOOP, "trace_loop", {"actor", "action", "index", "total", "detail"}, 5, 5,
    {0, 1, -1, 4}, 2, 2,
};
static const struct shape state = {
    GN_KIND_STATE, "trace_state", {"actor", "state_name", "transition", "human"}, 4, 4,
    {0, 2, 1, 3}, 4, 0,
};

static PyObject *empty_text; /* "" */

/* The names that are no constants; `behind` values are to follow.  False if one did not
 * fit: then nothing may follow. */
static inline bool put_names(struct event *event, const struct site *site, PyObject *const *names,
                             Py_ssize_t behind)
{
    for (int i = 0; i < NAME_COUNT; i++) {
        if (!(site->dynamic >> i & 1))
            continue;
        uint8_t *p = put_string(event->p, event->end, names[i], NAME_BYTES_MAX);
        if (!event_advance(event, p, __builtin_popcount((unsigned)site->dynamic >> i) + behind))
            return false;
    }
    return true;
}

static void write_call(struct site *site, PyObject *const *names, const struct values *lead,
                       const struct values *rest)
{
    struct event event;
    if (!event_begin(&event, site->id))
        return;
    (void)((site->dynamic == 0 || put_names(&event, site, names, lead->count + rest->count)) &&
           event_put_values(&event, lead, rest->count) && event_put_values(&event, rest, 0));
    int64_t id = event_commit(&event);
    if (UNLIKELY(core.tells))
        event_tell(event.thread, site, id);
}

/* A name that is no string is shown by its summary, never refused. */
static PyObject *name_from(PyObject *value)
{
    bool object;
    PyObject *summary = summarise(value, &object);
    PyObject *name = PyUnicode_Check(summary) ? PyUnicode_FromObject(summary)
                                              : PyObject_Str(summary); /* plain: no foreign code */
    Py_DECREF(summary);
    return name;
}

/* `asked`: whether the site was asked for this event already. */
static bool may_record(struct site *site, bool asked)
{
    return site != NULL && (asked ? site_ready(site) : site_wanted(site));
}

static void record_odd_names(const struct shape *shape, PyObject *const *names,
                             const struct values *lead, const struct values *rest, bool asked,
                             PyObject *globals)
{
    PyObject *texts[NAME_COUNT] = {NULL};
    bool made = true;
    for (int i = 0; i < NAME_COUNT && made; i++)
        if (names[i] != NULL)
            made = (texts[i] = name_from(names[i])) != NULL;
    struct site *site = made ? site_find(shape->kind, texts, globals) : NULL;
    if (may_record(site, asked))
        write_call(site, texts, lead, rest);
    for (int i = 0; i < NAME_COUNT; i++)
        Py_XDECREF(texts[i]);
    if (!made)
        internal_error("name of an event");
}

static void record_values(const struct shape *shape, PyObject *const *names,
                          const struct values *lead, const struct values *rest, bool odd,
                          bool asked, PyObject *globals)
{
    struct summaries plain_lead, plain_rest;
    if (!values_prepare(&plain_lead, lead))
        return;
    if (values_prepare(&plain_rest, rest)) {
        if (odd) {
            record_odd_names(shape, names, &plain_lead.plain, &plain_rest.plain, asked, globals);
        } else {
            struct site *site = site_find(shape->kind, names, globals);
            if (may_record(site, asked))
                write_call(site, names, &plain_lead.plain, &plain_rest.plain);
        }
        values_done(&plain_rest);
    }
    values_done(&plain_lead);
}

/* Whatever is not the common case: a site seen for the first time, names or
 * values that need work. */
static __attribute__((noinline)) void record_slowly(const struct shape *shape,
                                                    PyObject *const *names,
                                                    const struct values *lead,
                                                    const struct values *rest, bool asked,
                                                    PyObject *globals)
{
    bool odd = false;
    for (int i = 0; i < NAME_COUNT; i++)
        odd |= names[i] != NULL && !PyUnicode_CheckExact(names[i]);
    record_values(shape, names, lead, rest, odd, asked, globals);
}

/* Writes values that are short; NULL if one is not, and nothing was published. */
static inline __attribute__((always_inline)) uint8_t *
put_short_values(uint8_t *p, PyObject *const *values, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        p = put_short_value(p, values[i]);
        if (UNLIKELY(p == NULL))
            return NULL;
    }
    return p;
}

/* The positional argument that is a name, or "" where it was left out. */
static inline __attribute__((always_inline)) PyObject *
name_at(const struct shape *shape, int i, PyObject *const *args, Py_ssize_t nargs)
{
    int at = shape->name_at[i];
    return at < 0 ? NULL : at < shape->required || at < nargs ? args[at] : empty_text;
}

static __attribute__((noinline)) void record_rest(const struct shape *shape, PyObject *const *args,
                                                  Py_ssize_t nargs, bool asked)
{
    PyObject *names[NAME_COUNT];
    for (int i = 0; i < NAME_COUNT; i++)
        names[i] = name_at(shape, i, args, nargs);
    struct values lead = {args + shape->lead_at, shape->lead_count, 0};
    struct values rest = {args + shape->count, nargs > shape->count ? nargs - shape->count : 0, 0};
    record_slowly(shape, names, &lead, &rest, asked, PyEval_GetGlobals());
}

/* An event of a site whose names are all constants. */
static inline __attribute__((always_inline)) void record_at(const struct shape *shape,
                                                            struct site *site,
                                                            PyObject *const *args,
                                                            Py_ssize_t nargs)
{
    Py_ssize_t count = nargs > shape->count ? nargs - shape->count : 0;
    struct event event;
    if (UNLIKELY(count > SHORT_VALUES_MAX - shape->lead_count)) {
        record_rest(shape, args, nargs, true);
        return;
    }
    if (!event_begin(&event, site->id))
        return;
    uint8_t *p = put_short_values(event.p, args + shape->lead_at, shape->lead_count);
    if (LIKELY(p != NULL))
        p = put_short_values(p, args + shape->count, count);
    if (UNLIKELY(p == NULL)) {
        record_rest(shape, args, nargs, true);
        return;
    }
    event.p = p;
    int64_t id = event_commit(&event);
    if (UNLIKELY(core.tells))
        event_tell(event.thread, site, id);
}

/* ---- arguments ---- */

static PyObject *arity_error(const struct shape *shape, Py_ssize_t nargs)
{
    PyErr_Format(PyExc_TypeError, "%s() takes at least %d positional arguments (%zd given)",
                 shape->function, shape->required, nargs);
    return NULL;
}

static int position_of(const struct shape *shape, PyObject *keyword)
{
    for (int i = 0; i < shape->count; i++)
        if (PyUnicode_CompareWithASCIIString(keyword, shape->positional[i]) == 0)
            return i;
    return -1;
}

/* A call with keywords: rare, so in order and by name. */
static PyObject *call_with_keywords(const struct shape *shape, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *ordered[POSITIONAL_MAX] = {NULL};
    if (nargs > shape->count) {
        PyErr_Format(PyExc_TypeError, "%s() got *args and keyword arguments together",
                     shape->function);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        ordered[i] = args[i];
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        int at = position_of(shape, keyword);
        if (at < 0 || ordered[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", shape->function,
                         at < 0 ? "an unexpected keyword" : "multiple values for", keyword);
            return NULL;
        }
        ordered[at] = args[nargs + i];
    }
    Py_ssize_t count = shape->count;
    for (int i = 0; i < shape->count; i++) {
        if (ordered[i] == NULL && i < shape->required)
            return arity_error(shape, nargs + PyTuple_GET_SIZE(kwnames));
        if (ordered[i] == NULL)
            ordered[i] = empty_text;
    }
    if (is_recording())
        record_rest(shape, ordered, count, false);
    Py_RETURN_NONE;
}

/* What has to be known to say no: kept apart from the recording itself, whose many
 * registers an event that is filtered out should not pay for. */
static inline __attribute__((always_inline)) struct site *
wanted_site(const struct shape *shape, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *globals = PyEval_GetGlobals();
    struct site_names names = {
        name_at(shape, 0, args, nargs), name_at(shape, 1, args, nargs),
        name_at(shape, 2, args, nargs), name_at(shape, 3, args, nargs)};
    /* A site found by all its names has no dynamic ones. */
    struct site *site = site_cached(shape->kind, names, globals);
    if (LIKELY(site != NULL))
        return site_wanted(site) ? site : NULL;
    record_rest(shape, args, nargs, false);
    return NULL;
}

static inline __attribute__((always_inline)) bool
is_plain_call(const struct shape *shape, Py_ssize_t nargs, PyObject *kwnames)
{
    return LIKELY(kwnames == NULL && nargs >= shape->required);
}

static __attribute__((noinline)) PyObject *odd_call(const struct shape *shape,
                                                    PyObject *const *args, Py_ssize_t nargs,
                                                    PyObject *kwnames)
{
    if (kwnames != NULL)
        return call_with_keywords(shape, args, nargs, kwnames);
    return arity_error(shape, nargs);
}

#define DEFINE_CALL(name, shape)                                                              \
    static __attribute__((noinline)) PyObject *name##_at(                                     \
        struct site *site, PyObject *const *args, Py_ssize_t nargs)                           \
    {                                                                                         \
        record_at(&(shape), site, args, nargs);                                               \
        Py_RETURN_NONE;                                                                       \
    }                                                                                         \
    static __attribute__((noinline)) PyObject *name##_on(PyObject *const *args,               \
                                                         Py_ssize_t nargs)                    \
    {                                                                                         \
        struct site *site = is_recording() ? wanted_site(&(shape), args, nargs) : NULL;       \
        if (LIKELY(site != NULL))                                                             \
            return name##_at(site, args, nargs);                                              \
        Py_RETURN_NONE;                                                                       \
    }                                                                                         \
    static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t nargs,          \
                          PyObject *kwnames)                                                  \
    {                                                                                         \
        (void)module;                                                                         \
        if (UNLIKELY(!is_plain_call(&(shape), nargs, kwnames)))                               \
            return odd_call(&(shape), args, nargs, kwnames);                                  \
        if (UNLIKELY(is_idle()))                                                              \
            Py_RETURN_NONE;                                                                   \
        return name##_on(args, nargs);                                                        \
    }

DEFINE_CALL(trace_tiny, tiny)
DEFINE_CALL(trace_with_correlation, correlated)
DEFINE_CALL(trace_enter, enter)
DEFINE_CALL(trace_exit, leave)
DEFINE_CALL(trace_loop, loop)
DEFINE_CALL(trace_state, state)

#define CALL(name, signature, text)                                                           \
    {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL | METH_KEYWORDS,                 \
     #name signature "\n--\n\n" text}

PyMethodDef call_methods[] = {
    CALL(trace_tiny, "(actor, action, target, human, *args)",
         "Records one event.\n\n"
         "target and human are str.format templates over args when args follow, and\n"
         "literal text when none do; formatting happens when the trace is read.\n"
         "args: int, float, str, bytes, bool and None are stored as they are, anything\n"
         "else as a short summary.  Never raises but for a wrong number of arguments."),
    CALL(trace_with_correlation, "(actor, action, target, human, correlation_id, *args)",
         "Like trace_tiny, for an event of the request correlation_id."),
    CALL(trace_enter, "(actor, function, args='', *values)",
         "Records that a function was entered; args is a template over values."),
    CALL(trace_exit, "(actor, function, result='', *values)",
         "Records that a function was left; result is a template over values."),
    CALL(trace_loop, "(actor, action, index, total, detail, *args)",
         "Records one iteration of a loop; detail is a template over args."),
    CALL(trace_state, "(actor, state_name, transition, human, *args)",
         "Records that a state changed; transition and human are templates over args."),
    {NULL, NULL, 0, NULL},
};

int calls_init(void)
{
    empty_text = PyUnicode_InternFromString("");
    return empty_text == NULL ? -1 : 0;
}
