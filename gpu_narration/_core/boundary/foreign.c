/* Calls of foreign functions: what a Foreign tells of them, how they begin and end.
 *
 * Who calls foreign_begin stands in foreign_ctypes.c, foreign_cffi.c and
 * foreign_proxy.c.  A function of which nothing special is told is recorded in C alone;
 * hooks and formatters are Python, run in the calling thread, and are contained. */
#include "foreign.h"

__thread unsigned foreign_hooks_running THREAD_MODEL;

/* ---- time for hooks ---- */

/* Ticks become ns in the reader; hooks are told at once.  The rate comes from two clock
 * points that are taken anew each time their distance has doubled. */
static struct {
    enum gn_clock_source source;
    struct gn_clock_point first;
    double ns_per_tick;
    uint64_t good_until; /* tick */
} rate;

static void rate_restart(void)
{
    rate.source = gn_clock_source;
    rate.good_until = 0;
    gn_clock_sample(&rate.first);
}

static int64_t ticks_to_ns(uint64_t ticks, uint64_t now)
{
    if (gn_clock_source == GN_CLOCK_MONOTONIC)
        return (int64_t)ticks;
    if (UNLIKELY(rate.source != gn_clock_source || rate.first.tick == 0))
        rate_restart();
    if (UNLIKELY(now >= rate.good_until)) {
        struct gn_clock_point last;
        gn_clock_sample(&last);
        uint64_t distance = last.tick - rate.first.tick;
        if (distance == 0)
            return 0;
        rate.ns_per_tick =
            (double)(last.monotonic_ns - rate.first.monotonic_ns) / (double)distance;
        rate.good_until = last.tick + distance;
    }
    return (int64_t)((double)ticks * rate.ns_per_tick);
}

/* ---- hooks ---- */

/* Calls what a preset gave; NULL with nothing set if it failed. */
static PyObject *ask(PyObject *callable, PyObject *const *args, size_t nargs)
{
    foreign_hooks_running++;
    PyObject *answer = PyObject_Vectorcall(callable, args, nargs, NULL);
    foreign_hooks_running--;
    if (answer == NULL)
        (void)internal_error("hook of a foreign function");
    return answer;
}

static void ask_before(struct foreign_call *call)
{
    struct foreign *foreign = call->foreign;
    if (foreign->before != NULL)
        call->begun = ask(foreign->before, &call->args, 1);
    if (foreign->get_errno != NULL) {
        PyObject *number = PyObject_CallNoArgs(foreign->get_errno);
        call->errno_before = number == NULL ? 0 : PyLong_AsLong(number);
        Py_XDECREF(number);
        contain();
    }
}

static PyObject *tuple_of(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *tuple = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; tuple != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    return tuple;
}

/* The values as the formatters show them; NULL: as they are. */
static PyObject *formatted(const struct foreign *foreign, const struct values *values,
                           PyObject *kwnames)
{
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    Py_ssize_t positional = values->count - keywords;
    PyObject *shown = tuple_of(values->items, values->count);
    if (shown == NULL) {
        contain();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < values->count; i++) {
        Py_ssize_t index =
            i < positional ? i
                           : parameter_index(foreign->site, PyTuple_GET_ITEM(kwnames, i - positional));
        if (index < 0 || index >= PyTuple_GET_SIZE(foreign->formatters))
            continue;
        PyObject *formatter = PyTuple_GET_ITEM(foreign->formatters, index);
        PyObject *text = formatter == Py_None ? NULL : ask(formatter, &values->items[i], 1);
        if (text == NULL)
            continue;
        Py_DECREF(PyTuple_GET_ITEM(shown, i));
        PyTuple_SET_ITEM(shown, i, text);
    }
    return shown;
}

/* ---- the beginning ---- */

static bool rule_hides(enum parameter_rule rule, PyObject *value)
{
    return rule == PARAMETER_MASKED || (rule == PARAMETER_CHECKED && is_credential(value));
}

/* False if they did not all fit: then nothing may follow. */
static bool put_told(struct event *event, const struct foreign *foreign,
                     const struct values *values, PyObject *kwnames)
{
    const struct site *site = foreign->site;
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    Py_ssize_t positional = values->count - keywords;
    for (Py_ssize_t i = 0; i < values->count; i++) {
        PyObject *value = values->items[i];
        uint8_t *p = event->p;
        enum parameter_rule rule = PARAMETER_PLAIN;
        if (i >= positional) {
            PyObject *name = PyTuple_GET_ITEM(kwnames, i - positional);
            rule = keyword_rule(site, name, parameter_index(site, name));
            p = put_key(p, event->end, name);
        } else if (i < site->parameter_count) {
            rule = site->parameters[i].rule;
        }
        bool object = values->objects != 0 && i < 64 && (values->objects >> i & 1);
        if (p == NULL)
            ;
        else if (rule_hides(rule, value))
            p = gn_put_tag(p, event->end, GN_MASKED);
        else if (i < 63 && (foreign->addresses >> i & 1) && PyLong_CheckExact(value))
            p = gn_put_wide(p, event->end, GN_POINTER, PyLong_AsUnsignedLongLongMask(value));
        else
            p = put_value(p, event->end, value, object);
        if (UNLIKELY(!event_advance(event, p, values->count - i)))
            return false;
    }
    return true;
}

static void open_record(struct foreign_call *call, const struct values *values, PyObject *kwnames,
                        const struct fields *fields)
{
    const struct foreign *foreign = call->foreign;
    struct site *site = foreign->site;
    struct event event;
    /* Asked again: Python code may have run, and a new recording begun. */
    if (!site_ready(site) || !event_begin(&event, site->id))
        return;
    bool whole = LIKELY(foreign->plain && kwnames == NULL)
                     ? event_put_values(&event, values, 0)
                     : put_told(&event, foreign, values, kwnames);
    if (fields != NULL && whole)
        (void)put_fields(&event, fields);
    struct thread_state *thread = event.thread;
    uint64_t tick = event.tick;
    int64_t id = event_commit(&event);
    scope_opened(&call->scope, thread, site, id, tick, true);
}

void foreign_open_summaries(struct scope *scope, struct site *site, const struct values *values)
{
    struct summaries plain;
    struct event event;
    if (!values_prepare(&plain, values))
        return;
    /* Asked again: summaries may have run Python code, and a new recording begun. */
    if (site_ready(site) && event_begin(&event, site->id)) {
        (void)event_put_values(&event, &plain.plain, 0);
        struct thread_state *thread = event.thread;
        uint64_t tick = event.tick;
        int64_t id = event_commit(&event);
        scope_opened(scope, thread, site, id, tick, true);
    }
    values_done(&plain);
}

static void begin_told(struct foreign_call *call, const struct values *values, PyObject *kwnames)
{
    const struct foreign *foreign = call->foreign;
    ask_before(call);
    PyObject *shown = foreign->formatters == NULL ? NULL : formatted(foreign, values, kwnames);
    struct values given = *values;
    if (shown != NULL && given.count > 0)
        given.items = &PyTuple_GET_ITEM(shown, 0);
    PyObject *dict = call->begun != NULL && PyDict_Check(call->begun) ? call->begun : NULL;
    struct fields fields;
    if (!fields_make(&fields, dict)) {
        (void)internal_error("hook of a foreign function");
        memset(&fields, 0, sizeof fields);
    }
    struct summaries plain;
    if (values_prepare(&plain, &given)) {
        open_record(call, &plain.plain, kwnames, &fields);
        values_done(&plain);
    }
    fields_release(&fields);
    Py_XDECREF(shown);
}

bool foreign_begin(struct foreign_call *call, struct foreign *foreign, PyObject *tuple,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    core.foreign_streams += (foreign->flags & FOREIGN_STREAMS) != 0; /* filtered out or not */
    if (!site_ready(foreign->site))
        return false;
    /* untrace() inside the call may let go of it */
    call->foreign = (struct foreign *)Py_NewRef((PyObject *)foreign);
    call->args = NULL;
    call->begun = NULL;
    call->errno_before = 0;
    call->scope.id = 0;
    if (UNLIKELY(kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0))
        learn_keywords(foreign->site, kwnames);
    else
        kwnames = NULL;
    struct values values = {args, nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames)), 0};
    if (UNLIKELY(foreign->told)) {
        call->args = tuple != NULL ? Py_NewRef(tuple) : tuple_of(args, nargs);
        contain();
        if (call->args == NULL) {
            Py_DECREF((PyObject *)foreign);
            return false;
        }
        begin_told(call, &values, kwnames);
    } else {
        struct summaries plain;
        if (values_prepare(&plain, &values)) {
            open_record(call, &plain.plain, kwnames, NULL);
            values_done(&plain);
        }
    }
    if (UNLIKELY((foreign->flags & (SCOPE_GPU | SCOPE_VRAM)) != 0))
        scope_hook_enter(&call->scope, foreign->flags, NULL, foreign->site->names);
    return true;
}

/* ---- the end ---- */

/* Whether a pointer came back as NULL: None of a c_void_p or c_char_p, else a false object. */
static bool is_null(PyObject *result)
{
    int is_true = PyObject_IsTrue(result);
    contain(); /* an object of the program that cannot say */
    return is_true == 0;
}

/* Name and meaning of a failure, owned. */
struct failure {
    PyObject *name, *meaning;
};

static bool read_failure(struct failure *failure, PyObject *found, PyObject *result)
{
    if (PyUnicode_CheckExact(found)) {
        failure->meaning = Py_NewRef(found);
        if (PyLong_Check(result) && !PyBool_Check(result))
            failure->name = PyUnicode_FromFormat("status %lld",
                                                 (long long)PyLong_AsLongLong(result));
        else
            failure->name = PyUnicode_FromString(is_null(result) ? "NULL" : "failed");
    } else if (PyTuple_CheckExact(found) && PyTuple_GET_SIZE(found) == 2 &&
               PyUnicode_CheckExact(PyTuple_GET_ITEM(found, 0)) &&
               PyUnicode_CheckExact(PyTuple_GET_ITEM(found, 1))) {
        failure->name = Py_NewRef(PyTuple_GET_ITEM(found, 0));
        failure->meaning = Py_NewRef(PyTuple_GET_ITEM(found, 1));
    } else {
        PyErr_SetString(PyExc_TypeError, "the failure of a foreign function is told as a str, "
                        "a pair of them, or None");
    }
    if (!PyErr_Occurred() && failure->name != NULL)
        return true;
    (void)internal_error("failure of a foreign function");
    Py_CLEAR(failure->name);
    Py_CLEAR(failure->meaning);
    return false;
}

static bool find_failure(struct failure *failure, PyObject *source, PyObject *result)
{
    failure->name = failure->meaning = NULL;
    PyObject *found = NULL;
    if (source == NULL) {
        return false;
    } else if (PyDict_CheckExact(source)) {
        if (!PyLong_CheckExact(result))
            return false;
        found = Py_XNewRef(PyDict_GetItemWithError(source, result));
        contain();
    } else {
        found = ask(source, &result, 1);
    }
    bool is_failure = found != NULL && found != Py_None && read_failure(failure, found, result);
    Py_XDECREF(found);
    return is_failure;
}

/* `*fields` becomes a dict of its own with one more item. */
static void add_field(PyObject **fields, bool *own, const char *name, PyObject *value)
{
    if (!*own) {
        PyObject *copy = *fields == NULL ? PyDict_New() : PyDict_Copy(*fields);
        if (copy == NULL) {
            contain();
            return;
        }
        Py_XSETREF(*fields, copy);
        *own = true;
    }
    if (PyDict_SetItemString(*fields, name, value) < 0)
        contain();
}

/* Of the errno that ctypes keeps for the program: where the call has changed it, and
 * where it is what a failing call left. */
static void add_errno(const struct foreign_call *call, PyObject **fields, bool *own,
                      PyObject *result, bool failed)
{
    PyObject *number = PyObject_CallNoArgs(call->foreign->get_errno);
    long value = number == NULL ? 0 : PyLong_AsLong(number);
    int64_t given;
    bool telling = value != call->errno_before || failed || result == Py_None ||
                   (PyLong_CheckExact(result) && int_fits(result, &given) && given < 0);
    contain();
    if (value != 0 && telling)
        add_field(fields, own, "errno", number);
    Py_XDECREF(number);
}

static PyObject *ask_after(const struct foreign_call *call, PyObject *result, uint64_t end_tick)
{
    int64_t elapsed = ticks_to_ns(end_tick - call->scope.start_tick, end_tick);
    PyObject *elapsed_ns = PyLong_FromLongLong(elapsed);
    PyObject *id = PyLong_FromLongLong(call->scope.id);
    PyObject *told = NULL;
    if (elapsed_ns != NULL && id != NULL) {
        PyObject *begun = call->begun != NULL ? call->begun : Py_None;
        PyObject *args[] = {call->args, result, elapsed_ns, begun, id};
        told = ask(call->foreign->after, args, 5);
    }
    contain();
    Py_XDECREF(elapsed_ns);
    Py_XDECREF(id);
    if (told != NULL && !PyDict_Check(told))
        Py_CLEAR(told);
    return told;
}

static void end_told(struct foreign_call *call, PyObject *result, uint64_t end_tick)
{
    const struct foreign *foreign = call->foreign;
    struct failure failure;
    bool own = false;
    bool failed = find_failure(&failure, foreign->failure, result);
    PyObject *dict = foreign->after == NULL ? NULL : ask_after(call, result, end_tick);
    if (failed && PyLong_Check(result) && !PyBool_Check(result))
        add_field(&dict, &own, "status", result);
    if (foreign->get_errno != NULL)
        add_errno(call, &dict, &own, result, failed);
    struct fields fields;
    if (!fields_make(&fields, dict)) {
        (void)internal_error("hook of a foreign function");
        memset(&fields, 0, sizeof fields);
    }
    struct ending_more more = {(foreign->addresses & FOREIGN_RESULT_BIT) != 0, failure.name,
                               failure.meaning, fields.count > 0 ? &fields : NULL};
    struct ending ending = {.outcome = failed ? GN_OUTCOME_ERROR : GN_OUTCOME_OK,
                            .result = result,
                            .more = &more};
    if ((foreign->flags & FOREIGN_HANDLE) != 0 && (failed || is_null(result)))
        ending.failure = foreign->site->names[1];
    scope_close_at(&call->scope, &ending, end_tick);
    fields_release(&fields);
    Py_XDECREF(dict);
    Py_XDECREF(failure.name);
    Py_XDECREF(failure.meaning);
}

void foreign_end(struct foreign_call *call, PyObject *result)
{
    static const struct ending_more address = {.address = true};
    uint64_t end_tick = gn_clock_ticks();
    const struct foreign *foreign = call->foreign;
    if (UNLIKELY(result == NULL)) {
        scope_close_raised(&call->scope);
    } else if (UNLIKELY(foreign->told) && call->scope.id != 0) {
        end_told(call, result, end_tick);
    } else {
        struct ending ending = {.outcome = GN_OUTCOME_OK, .result = result};
        if (UNLIKELY((foreign->addresses & FOREIGN_RESULT_BIT) != 0))
            ending.more = &address;
        if (UNLIKELY((foreign->flags & FOREIGN_HANDLE) != 0) && is_null(result))
            ending.failure = foreign->site->names[1];
        scope_close_at(&call->scope, &ending, end_tick);
    }
    if (UNLIKELY(call->args != NULL)) {
        PyObject *type, *error, *traceback; /* the call's, if it raised */
        PyErr_Fetch(&type, &error, &traceback);
        Py_XDECREF(call->args);
        Py_XDECREF(call->begun);
        PyErr_Restore(type, error, traceback);
    }
    Py_DECREF((PyObject *)call->foreign);
}

/* foreign_streams() -> how many such calls have begun; a scope compares two answers */
PyObject *foreign_streams(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLongLong(core.foreign_streams);
}
