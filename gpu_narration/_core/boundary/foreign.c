/* Calls of foreign functions: how they begin.  Their end is in foreign_end.c.
 *
 * Who calls foreign_begin stands in foreign_ctypes.c, foreign_cffi.c and
 * foreign_proxy.c.  A function of which nothing special is told is recorded in C alone;
 * hooks and formatters are Python, run in the calling thread, and are contained. */
#include "foreign.h"

__thread unsigned foreign_hooks_running THREAD_MODEL;

/* ---- hooks ---- */

PyObject *foreign_ask(PyObject *callable, PyObject *const *args, size_t nargs)
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
    if (foreign->before != NULL && !call->usual)
        call->begun = foreign_ask(foreign->before, &call->args, 1);
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
        PyObject *text = formatter == Py_None ? NULL : foreign_ask(formatter, &values->items[i], 1);
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
                        const struct fields *fields, const struct numbers *numbers)
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
    if (numbers != NULL && whole)
        whole = put_numbers(&event, foreign->reads, numbers);
    if (fields != NULL && whole)
        (void)fields_put(&event, fields);
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

static void begin_told(struct foreign_call *call, const struct values *values, PyObject *kwnames,
                       const struct numbers *numbers)
{
    const struct foreign *foreign = call->foreign;
    ask_before(call);
    PyObject *shown = foreign->formatters == NULL ? NULL : formatted(foreign, values, kwnames);
    struct values given = *values;
    if (shown != NULL && given.count > 0)
        given.items = &PyTuple_GET_ITEM(shown, 0);
    PyObject *dict = call->begun != NULL && PyDict_Check(call->begun) ? call->begun : NULL;
    struct fields fields;
    if (!fields_make(&fields, dict))
        (void)internal_error("hook of a foreign function");
    struct summaries plain;
    if (values_prepare(&plain, &given)) {
        open_record(call, &plain.plain, kwnames, &fields, numbers);
        values_done(&plain);
    }
    fields_release(&fields);
    Py_XDECREF(shown);
}

bool foreign_begin(struct foreign_call *call, struct foreign *foreign, PyObject *tuple,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    core.foreign_streams += (foreign->flags & FOREIGN_STREAMS) != 0; /* filtered out or not */
    /* untrace() may let go of it: inside the call, or while the filter is asked. */
    call->foreign = (struct foreign *)Py_NewRef((PyObject *)foreign);
    if (!site_wanted(foreign->site)) {
        Py_DECREF((PyObject *)foreign);
        return false;
    }
    call->args = NULL;
    call->begun = NULL;
    call->usual = false;
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
        struct numbers read;
        bool has_read = foreign->reads != NULL && reads_take(foreign->reads, args, nargs, &read);
        call->usual = has_read && read.usual;
        begin_told(call, &values, kwnames, has_read ? &read : NULL);
    } else {
        struct summaries plain;
        if (values_prepare(&plain, &values)) {
            open_record(call, &plain.plain, kwnames, NULL, NULL);
            values_done(&plain);
        }
    }
    if (UNLIKELY((foreign->flags & (SCOPE_GPU | SCOPE_VRAM)) != 0))
        scope_hook_enter(&call->scope, foreign->flags, NULL, foreign->site->names);
    return true;
}

/* foreign_streams() -> how many such calls have begun; a scope compares two answers */
PyObject *foreign_streams(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLongLong(core.foreign_streams);
}
