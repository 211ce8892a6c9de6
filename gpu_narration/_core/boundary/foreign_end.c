/* Calls of foreign functions: how they end, with what is told of their results. */
#include "foreign.h"

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

/* ---- what came of the call ---- */

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

/* Of an int of any size, as int writes it: a subclass may have another way. */
static PyObject *status_name(PyObject *result)
{
    PyObject *digits = PyLong_Type.tp_repr(result);
    PyObject *name = digits == NULL ? NULL : PyUnicode_FromFormat("status %U", digits);
    Py_XDECREF(digits);
    return name;
}

static bool read_failure(struct failure *failure, PyObject *found, PyObject *result)
{
    if (PyUnicode_CheckExact(found)) {
        failure->meaning = Py_NewRef(found);
        if (PyLong_Check(result) && !PyBool_Check(result))
            failure->name = status_name(result);
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
        found = foreign_ask(source, &result, 1);
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
 * where it gave what functions give that have set errno. */
static void add_errno(const struct foreign_call *call, PyObject **fields, bool *own,
                      PyObject *result)
{
    PyObject *number = PyObject_CallNoArgs(call->foreign->get_errno);
    long value = number == NULL ? 0 : PyLong_AsLong(number);
    int64_t given;
    bool telling = value != call->errno_before || result == Py_None ||
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
        told = foreign_ask(call->foreign->after, args, 5);
    }
    contain();
    Py_XDECREF(elapsed_ns);
    Py_XDECREF(id);
    if (told != NULL && !PyDict_Check(told))
        Py_CLEAR(told);
    return told;
}

/* Whether it is time to ask `after` again; if so, it is being asked. */
static bool is_due(struct foreign *foreign, uint64_t tick)
{
    if (foreign->pace_ns > 0) {
        if (foreign->asked_tick != 0 &&
            ticks_to_ns(tick - foreign->asked_tick, tick) < foreign->pace_ns)
            return false;
        foreign->asked_tick = tick;
    }
    return true;
}

static void end_told(struct foreign_call *call, PyObject *result, uint64_t end_tick)
{
    struct foreign *foreign = call->foreign;
    struct failure failure;
    bool own = false;
    bool failed = find_failure(&failure, foreign->failure, result);
    PyObject *dict = foreign->after != NULL && is_due(foreign, end_tick)
                         ? ask_after(call, result, end_tick)
                         : NULL;
    if (failed && PyLong_Check(result) && !PyBool_Check(result))
        add_field(&dict, &own, "status", result);
    if (foreign->get_errno != NULL)
        add_errno(call, &dict, &own, result);
    struct fields fields;
    if (!fields_make(&fields, dict))
        (void)internal_error("hook of a foreign function");
    PyObject *address = address_number(result);
    struct ending_more more = {address != NULL || (foreign->addresses & FOREIGN_RESULT_BIT) != 0,
                               failure.name, failure.meaning, fields.count > 0 ? &fields : NULL};
    struct ending ending = {.outcome = failed ? GN_OUTCOME_ERROR : GN_OUTCOME_OK,
                            .result = address != NULL ? address : result,
                            .more = &more};
    if ((foreign->flags & FOREIGN_HANDLE) != 0 && (failed || is_null(result)))
        ending.failure = foreign->site->names[1];
    scope_close_at(&call->scope, &ending, end_tick);
    fields_release(&fields);
    Py_XDECREF(address);
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
