/* Calls through ctypes.
 *
 * A function pointer object keeps its identity and everything it is: only its
 * class changes, to a subclass whose tp_call stands here (ffi/ctypes_calls.py
 * makes the subclass).  So names bound to it elsewhere, argtypes, errcheck,
 * ctypes.cast and callbacks all go on as before. */
#include "foreign.h"

#define SEATS 4096u /* power of two */
#define PROBES 4u /* places where a function may sit */

/* What is told of a function object, by its address; the reference keeps the address
 * from coming to mean another function.  A cache: a function that lost its seat is
 * described anew. */
static struct seat {
    PyObject *function; /* owned */
    struct foreign *foreign; /* owned; NULL: not to be traced */
} seats[SEATS + PROBES];

static uint32_t victim; /* which of the places is taken next where all are */

/* dict: adopted type -> (function) -> Foreign or None */
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

/* New reference, or NULL.  `*settled`: asked again, the answer would be the same.  It is
 * not while untrace() is at work, which forgets the describer and then changes the class:
 * a seat that was taken in between would outlive that. */
static struct foreign *describe(PyObject *function, bool *settled)
{
    PyTypeObject *type = Py_TYPE(function);
    PyObject *ask = describer(type);
    *settled = false;
    if (ask == NULL)
        return NULL;
    Py_INCREF(ask); /* untrace() may come meanwhile */
    PyObject *answer = PyObject_CallOneArg(ask, function);
    bool told = answer != NULL || !internal_error("description of a foreign function");
    *settled = told && Py_IS_TYPE(function, type) && describer(type) == ask;
    Py_DECREF(ask);
    if (answer != NULL && Py_IS_TYPE(answer, foreign_type))
        return (struct foreign *)answer;
    Py_XDECREF(answer);
    return NULL;
}

static uint32_t home_of(PyObject *function)
{
    return site_fold(site_mix(0, function)) & (SEATS - 1);
}

static struct seat *free_seat(uint32_t home)
{
    for (uint32_t i = 0; i < PROBES; i++)
        if (seats[home + i].function == NULL)
            return &seats[home + i];
    return &seats[home + victim++ % PROBES];
}

/* A new reference, or NULL. */
static struct foreign *seat_anew(PyObject *function)
{
    bool settled;
    struct foreign *foreign = describe(function, &settled);
    if (!settled)
        return foreign;
    struct seat *seat = free_seat(home_of(function));
    struct seat before = *seat;
    seat->function = Py_NewRef(function);
    seat->foreign = (struct foreign *)Py_XNewRef((PyObject *)foreign);
    /* Last: their end may run code that takes the seat again. */
    Py_XDECREF(before.function);
    Py_XDECREF((PyObject *)before.foreign);
    return foreign;
}

static const struct seat *seat_of(PyObject *function)
{
    const struct seat *home = &seats[home_of(function)];
    if (LIKELY(home->function == function))
        return home;
    for (uint32_t i = 1; i < PROBES; i++)
        if (home[i].function == function)
            return &home[i];
    return NULL;
}

static PyObject *record_call(ternaryfunc call, struct foreign *foreign, PyObject *self,
                             PyObject *args, PyObject *kwargs)
{
    struct foreign_call record;
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *const *items = count > 0 ? &PyTuple_GET_ITEM(args, 0) : NULL;
    bool begun = foreign_begin(&record, foreign, args, items, count, NULL);
    PyObject *result = call(self, args, kwargs);
    if (begun)
        foreign_end(&record, result);
    return result;
}

static PyObject *call_unseated(ternaryfunc call, PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct foreign *foreign = seat_anew(self);
    if (foreign == NULL)
        return call(self, args, kwargs);
    PyObject *result = record_call(call, foreign, self, args, kwargs);
    Py_DECREF((PyObject *)foreign);
    return result;
}

static PyObject *foreign_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ternaryfunc call = original_call(Py_TYPE(self));
    if (!is_recording() || UNLIKELY(foreign_hooks_running != 0))
        return call(self, args, kwargs);
    const struct seat *seat = seat_of(self);
    if (UNLIKELY(seat == NULL))
        return call_unseated(call, self, args, kwargs);
    struct foreign *foreign = seat->foreign;
    if (foreign == NULL)
        return call(self, args, kwargs);
    if (UNLIKELY(!foreign->simple))
        return record_call(call, foreign, self, args, kwargs);
    struct scope scope;
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    bool open = foreign_open(&scope, foreign, count > 0 ? &PyTuple_GET_ITEM(args, 0) : NULL, count);
    PyObject *result = call(self, args, kwargs);
    if (open)
        foreign_close(&scope, result);
    return result;
}

/* foreign_adopt(type, describe): calls of instances of `type`, a subclass of a
 * ctypes function type made for this, are traced; `describe(function)` gives
 * a Foreign, or None to leave it alone. */
PyObject *foreign_adopt(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *type, *ask;
    if (!PyArg_ParseTuple(args, "O!O", &PyType_Type, &type, &ask))
        return NULL;
    PyTypeObject *adopted = (PyTypeObject *)type;
    if (adopted->tp_call == NULL || !(adopted->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        PyErr_SetString(PyExc_TypeError, "foreign_adopt() needs a callable heap type");
        return NULL;
    }
    if (describers == NULL && (describers = PyDict_New()) == NULL)
        return NULL;
    if (PyDict_SetItem(describers, type, ask) < 0)
        return NULL;
    adopted->tp_call = foreign_call;
    adopted->tp_flags &= ~Py_TPFLAGS_HAVE_VECTORCALL; /* or calls would go round tp_call */
    PyType_Modified(adopted);
    Py_RETURN_NONE;
}

/* foreign_forget(type): functions of `type` are described anew, if ever.  All
 * seats go: they are a cache, and a call on another thread may just have filled
 * one for a function that is changing its type.  The describer goes first, so that no
 * seat is taken again by what ends with another. */
PyObject *foreign_forget(PyObject *module, PyObject *type)
{
    (void)module;
    if (describers != NULL && PyDict_Contains(describers, type) == 1 &&
        PyDict_DelItem(describers, type) < 0)
        return NULL;
    for (uint32_t i = 0; i < SEATS + PROBES; i++) {
        struct seat before = seats[i];
        seats[i] = (struct seat){NULL, NULL};
        Py_XDECREF(before.function);
        Py_XDECREF((PyObject *)before.foreign);
    }
    Py_RETURN_NONE;
}
