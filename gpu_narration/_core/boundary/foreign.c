/* Calls through ctypes.
 *
 * A function pointer object keeps its identity and everything it is: only its
 * class changes, to a subclass whose tp_call stands here (ffi/ctypes_calls.py
 * makes the subclass).  So names bound to it elsewhere, argtypes, errcheck,
 * ctypes.cast and callbacks all go on as before. */
#include "boundary.h"

#define SEATS 1024u /* power of two */

/* The site of a function object, by address; the reference keeps the address
 * from coming to mean another function. */
static struct {
    PyObject *function; /* owned */
    struct site *site; /* NULL: not to be traced */
    unsigned flags; /* enum scope_flags */
} seats[SEATS];

/* dict: adopted type -> (function) -> (actor, name, flags) or None */
static PyObject *describers;

static PyObject *foreign_call(PyObject *self, PyObject *args, PyObject *kwargs);

static ternaryfunc original_call(PyTypeObject *type)
{
    while (type->tp_call == foreign_call)
        type = type->tp_base;
    return type->tp_call;
}

static PyObject *describer(PyTypeObject *type)
{
    for (; type != NULL; type = type->tp_base) {
        PyObject *found = PyDict_GetItemWithError(describers, (PyObject *)type);
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* `*settled`: asked again, the answer would be the same. */
static struct site *foreign_site(PyObject *function, unsigned *flags, bool *settled)
{
    PyObject *describe = describer(Py_TYPE(function));
    PyObject *description = describe == NULL ? NULL : PyObject_CallOneArg(describe, function);
    struct site *site = NULL;
    PyObject *names[NAME_COUNT] = {NULL};
    if (description != NULL && description != Py_None &&
        PyArg_ParseTuple(description, "UUI", &names[0], &names[1], flags)) {
        /* Interned, so that one function always has one site. */
        Py_INCREF(names[0]);
        Py_INCREF(names[1]);
        PyUnicode_InternInPlace(&names[0]);
        PyUnicode_InternInPlace(&names[1]);
        PyObject *module = PyUnicode_InternFromString("");
        if (module != NULL)
            site = site_named(GN_KIND_FOREIGN, GN_LEVEL_TRACE, module, names);
        Py_XDECREF(module);
        Py_DECREF(names[0]);
        Py_DECREF(names[1]);
    }
    Py_XDECREF(description);
    *settled = !PyErr_Occurred() || !internal_error("name of a foreign function");
    return site;
}

static struct site *find_site(PyObject *function, unsigned *flags)
{
    uint32_t i = (uint32_t)((uintptr_t)function >> 5) & (SEATS - 1);
    if (UNLIKELY(seats[i].function != function)) {
        bool settled;
        *flags = 0;
        struct site *site = foreign_site(function, flags, &settled);
        if (!settled)
            return site;
        PyObject *before = seats[i].function;
        seats[i].function = Py_NewRef(function);
        seats[i].site = site;
        seats[i].flags = *flags;
        Py_XDECREF(before); /* last: its end may run code that takes the seat again */
        return site;
    }
    *flags = seats[i].flags;
    return seats[i].site;
}

static void open_foreign(struct scope *scope, struct site *site, unsigned flags, PyObject *args)
{
    struct values values = {PyTuple_GET_SIZE(args) > 0 ? &PyTuple_GET_ITEM(args, 0) : NULL,
                            PyTuple_GET_SIZE(args), 0};
    struct summaries plain;
    struct event event;
    scope->id = 0;
    if (!values_prepare(&plain, &values))
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
    if (UNLIKELY((flags & (SCOPE_GPU | SCOPE_VRAM)) != 0))
        scope_hook_enter(scope, flags, NULL, site->names);
}

/* Whether a pointer came back as NULL: None of a c_void_p or c_char_p, else a false object. */
static bool is_null(PyObject *result)
{
    int is_true = PyObject_IsTrue(result);
    if (is_true < 0)
        PyErr_Clear(); /* an object of the program that cannot say */
    return is_true == 0;
}

static PyObject *foreign_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ternaryfunc call = original_call(Py_TYPE(self));
    if (!is_recording())
        return call(self, args, kwargs);
    unsigned flags;
    struct site *site = find_site(self, &flags);
    core.foreign_streams += (flags & FOREIGN_STREAMS) != 0; /* filtered out or not */
    if (site == NULL || !site_wanted(site))
        return call(self, args, kwargs);
    struct scope scope;
    open_foreign(&scope, site, flags, args);
    PyObject *result = call(self, args, kwargs);
    if (LIKELY(result != NULL)) {
        struct ending ending = {.outcome = GN_OUTCOME_OK, .result = result};
        if (UNLIKELY((flags & FOREIGN_HANDLE) != 0) && is_null(result))
            ending.failure = site->names[1];
        scope_close(&scope, &ending);
    } else {
        scope_close_raised(&scope);
    }
    return result;
}

/* foreign_adopt(type, describe): calls of instances of `type`, a subclass of a
 * ctypes function type made for this, are traced; `describe(function)` gives
 * (actor, name, flags), or None to leave it alone; flags are enum scope_flags. */
PyObject *foreign_adopt(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *type, *describe;
    if (!PyArg_ParseTuple(args, "O!O", &PyType_Type, &type, &describe))
        return NULL;
    PyTypeObject *adopted = (PyTypeObject *)type;
    if (adopted->tp_call == NULL || !(adopted->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        PyErr_SetString(PyExc_TypeError, "foreign_adopt() needs a callable heap type");
        return NULL;
    }
    if (describers == NULL && (describers = PyDict_New()) == NULL)
        return NULL;
    if (PyDict_SetItem(describers, type, describe) < 0)
        return NULL;
    adopted->tp_call = foreign_call;
    adopted->tp_flags &= ~Py_TPFLAGS_HAVE_VECTORCALL; /* or calls would go round tp_call */
    PyType_Modified(adopted);
    Py_RETURN_NONE;
}

/* foreign_forget(type): functions of `type` are described anew, if ever.  All
 * seats go: they are a cache, and a call on another thread may just have filled
 * one for a function that is changing its type. */
PyObject *foreign_forget(PyObject *module, PyObject *type)
{
    (void)module;
    for (uint32_t i = 0; i < SEATS; i++)
        if (seats[i].function != NULL) {
            seats[i].site = NULL;
            Py_CLEAR(seats[i].function);
        }
    if (describers != NULL && PyDict_Contains(describers, type) == 1 &&
        PyDict_DelItem(describers, type) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* foreign_streams() -> how many such calls have begun; a scope compares two answers */
PyObject *foreign_streams(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLongLong(core.foreign_streams);
}
