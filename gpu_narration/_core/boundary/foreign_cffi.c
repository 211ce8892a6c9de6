/* Calls through cffi.
 *
 * The functions of a cffi library are objects of C types that can neither be
 * subclassed nor given another class, and cffi itself asks what they are: a stand-in
 * could not be cast, compared or passed as a function pointer.  So they stay the very
 * same objects, wherever they are bound.
 *
 *   ABI mode  CData.  The call slot of their one type leads here.  What is not one of
 *             ours goes on at the cost of a look into a table
 *   API mode  built-in functions, of which cffi makes one each with a method definition
 *             of its own.  Their vectorcall leads here, and the definition's flags say
 *             nothing that the interpreter has a shortcut for, since that goes round it
 *
 * Both are put back by foreign_release. */
#include "foreign.h"

#include <stddef.h>

/* Of no shortcut, and yet not METH_VARARGS: tp_call takes the vectorcall then. */
#define FLAGS_TAKEN (METH_NOARGS | METH_O)

struct taken {
    PyObject *function; /* owned; NULL: free place */
    struct foreign *foreign; /* owned */
    vectorcallfunc call; /* of a built-in function; NULL: it had none */
    int flags; /* of its method definition */
};

static struct {
    struct taken *entries; /* open addressing by address */
    uint32_t room, count;
} table;

static PyTypeObject *cdata_type; /* borrowed: a static type; NULL while its slot is its own */
static ternaryfunc cdata_call;
static uint32_t cdata_count;

static struct taken *place_of(PyObject *function)
{
    uint32_t mask = table.room - 1;
    for (uint32_t i = site_fold(site_mix(0, function)) & mask;; i = (i + 1) & mask)
        if (table.entries[i].function == function || table.entries[i].function == NULL)
            return &table.entries[i];
}

static const struct taken *find(PyObject *function)
{
    if (table.count == 0)
        return NULL;
    const struct taken *taken = place_of(function);
    return taken->function == NULL ? NULL : taken;
}

/* A table of `room` places with all entries but that of `without`. */
static bool rebuild(uint32_t room, const PyObject *without)
{
    struct taken *entries = PyMem_Calloc(room, sizeof *entries);
    if (entries == NULL) {
        PyErr_NoMemory();
        return false;
    }
    struct taken *old = table.entries;
    uint32_t old_room = table.room;
    table.entries = entries;
    table.room = room;
    for (uint32_t i = 0; i < old_room; i++)
        if (old[i].function != NULL && old[i].function != without)
            *place_of(old[i].function) = old[i];
    PyMem_Free(old);
    return true;
}

/* ---- calls ---- */

static bool is_main_interpreter(void)
{
    return PyInterpreterState_Get() == PyInterpreterState_Main();
}

static PyObject *call_cdata(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ternaryfunc call = cdata_call;
    if (!is_recording() || foreign_hooks_running != 0 || !is_main_interpreter())
        return call(self, args, kwargs);
    const struct taken *taken = find(self);
    if (taken == NULL)
        return call(self, args, kwargs);
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *const *items = count > 0 ? &PyTuple_GET_ITEM(args, 0) : NULL;
    if (LIKELY(taken->foreign->simple)) {
        struct scope scope;
        bool open = foreign_open(&scope, taken->foreign, items, count);
        PyObject *value = call(self, args, kwargs);
        if (open)
            foreign_close(&scope, value);
        return value;
    }
    struct foreign_call record;
    bool begun = foreign_begin(&record, taken->foreign, args, items, count, NULL);
    PyObject *result = call(self, args, kwargs);
    if (LIKELY(begun))
        foreign_end(&record, result);
    return result;
}

static PyObject *call_original(PyObject *self, const struct taken *taken, PyObject *const *args,
                               size_t nargsf, PyObject *kwnames)
{
    if (taken->call != NULL)
        return taken->call(self, args, nargsf, kwnames);
    /* METH_VARARGS without keywords, as cffi makes them. */
    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0) {
        PyErr_Format(PyExc_TypeError, "%.200s() takes no keyword arguments",
                     ((PyCFunctionObject *)self)->m_ml->ml_name);
        return NULL;
    }
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    PyObject *tuple = PyTuple_New(count);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    PyObject *result = PyCFunction_GET_FUNCTION(self)(PyCFunction_GET_SELF(self), tuple);
    Py_DECREF(tuple);
    return result;
}

static PyObject *call_builtin(PyObject *self, PyObject *const *args, size_t nargsf,
                              PyObject *kwnames)
{
    const struct taken *found = find(self);
    if (found == NULL) {
        PyErr_SetString(PyExc_SystemError, "a traced function lost what was known of it");
        return NULL;
    }
    const struct taken taken = *found; /* the table may be made anew inside the call */
    if (!is_recording() || foreign_hooks_running != 0 || !is_main_interpreter())
        return call_original(self, &taken, args, nargsf, kwnames);
    if (LIKELY(taken.foreign->simple && kwnames == NULL)) {
        struct scope scope;
        bool open = foreign_open(&scope, taken.foreign, args, PyVectorcall_NARGS(nargsf));
        PyObject *value = call_original(self, &taken, args, nargsf, kwnames);
        if (open)
            foreign_close(&scope, value);
        return value;
    }
    struct foreign_call record;
    bool begun = foreign_begin(&record, taken.foreign, NULL, args, PyVectorcall_NARGS(nargsf),
                               kwnames);
    PyObject *result = call_original(self, &taken, args, nargsf, kwnames);
    if (LIKELY(begun))
        foreign_end(&record, result);
    return result;
}

/* ---- taking and releasing ---- */

static bool is_cdata(PyObject *function)
{
    return strncmp(Py_TYPE(function)->tp_name, "_cffi_backend.", 14) == 0 &&
           Py_TYPE(function)->tp_call != NULL && !PyCFunction_CheckExact(function);
}

static bool take_cdata(PyObject *function)
{
    if (cdata_count > 0 && Py_TYPE(function) != cdata_type) {
        PyErr_SetString(PyExc_TypeError, "functions of two copies of cffi");
        return false;
    }
    if (cdata_count++ == 0) {
        cdata_type = Py_TYPE(function);
        cdata_call = cdata_type->tp_call;
        cdata_type->tp_call = call_cdata;
        PyType_Modified(cdata_type);
    }
    return true;
}

static bool take_builtin(struct taken *taken)
{
    PyCFunctionObject *builtin = (PyCFunctionObject *)taken->function;
    PyMethodDef *definition = builtin->m_ml;
    int form = definition->ml_flags & (METH_VARARGS | METH_KEYWORDS | METH_FASTCALL | METH_NOARGS |
                                       METH_O | METH_METHOD);
    if (form != METH_NOARGS && form != METH_O && form != METH_VARARGS) {
        PyErr_SetString(PyExc_TypeError, "no function that cffi has made");
        return false;
    }
    taken->call = builtin->vectorcall;
    taken->flags = definition->ml_flags;
    definition->ml_flags = FLAGS_TAKEN;
    builtin->vectorcall = call_builtin;
    return true;
}

/* foreign_take(function, Foreign): calls of this function of a cffi library are traced.
 * The caller vouches that a built-in function is one of cffi's. */
PyObject *foreign_take(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *function, *foreign;
    if (!PyArg_ParseTuple(args, "OO!", &function, foreign_type, &foreign))
        return NULL;
    bool builtin = PyCFunction_CheckExact(function);
    if (!builtin && !is_cdata(function)) {
        PyErr_SetString(PyExc_TypeError, "foreign_take() needs a function of a cffi library");
        return NULL;
    }
    if (find(function) != NULL)
        Py_RETURN_FALSE;
    if ((table.count + 1) * 2 > table.room && !rebuild(table.room == 0 ? 256 : table.room * 2, NULL))
        return NULL;
    struct taken taken = {.function = function, .foreign = (struct foreign *)foreign};
    if (builtin ? !take_builtin(&taken) : !take_cdata(function))
        return NULL;
    Py_INCREF(function);
    Py_INCREF(foreign);
    *place_of(function) = taken;
    table.count++;
    Py_RETURN_TRUE;
}

/* foreign_release(function) -> whether it was traced: it is what it was. */
PyObject *foreign_release(PyObject *module, PyObject *function)
{
    (void)module;
    const struct taken *found = find(function);
    if (found == NULL)
        Py_RETURN_FALSE;
    struct taken taken = *found;
    if (!rebuild(table.room, function))
        return NULL;
    table.count--;
    if (PyCFunction_CheckExact(function)) {
        PyCFunctionObject *builtin = (PyCFunctionObject *)function;
        builtin->vectorcall = taken.call;
        builtin->m_ml->ml_flags = taken.flags;
    } else if (--cdata_count == 0) {
        cdata_type->tp_call = cdata_call;
        PyType_Modified(cdata_type);
    }
    Py_DECREF(taken.function);
    Py_DECREF((PyObject *)taken.foreign);
    Py_RETURN_TRUE;
}
