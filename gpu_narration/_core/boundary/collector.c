/* Whether the garbage collector runs: before CPython 3.12 only.
 *
 * There it starts inside any allocation, also in the midst of one that copies or
 * changes a context, and CPython goes on with the variables that it had in hand.  If
 * a finaliser sets a context variable meanwhile, these are freed.  A program's
 * finalisers hardly ever do; one that opens a span under an event loop would do it
 * for each.  So their spans are not published, and while events are published we
 * listen to gc.callbacks.  From 3.12 on the collector waits for a bytecode's end. */
#include "boundary.h"

#if PY_VERSION_HEX < 0x030c0000

bool collector_runs;

static PyObject *callbacks; /* owned: the list gc.callbacks, once it was needed */
static PyObject *listener; /* owned: what goes into it */
static bool listening; /* it is there */

/* listener(phase, info) */
static PyObject *listen(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)self;
    collector_runs = nargs > 0 && PyUnicode_Check(args[0]) &&
                     PyUnicode_CompareWithASCIIString(args[0], "start") == 0;
    Py_RETURN_NONE;
}

static bool prepare(void)
{
    static PyMethodDef method = {"gpu_narration_listener", (PyCFunction)(void (*)(void))listen,
                                 METH_FASTCALL, NULL};
    if (callbacks != NULL)
        return true;
    if (listener == NULL && (listener = PyCFunction_New(&method, NULL)) == NULL)
        return false;
    PyObject *module = PyImport_ImportModule("gc"); /* built in */
    PyObject *list = module == NULL ? NULL : PyObject_GetAttrString(module, "callbacks");
    Py_XDECREF(module);
    if (list == NULL || !PyList_Check(list)) {
        Py_XDECREF(list);
        return false;
    }
    callbacks = list;
    return true;
}

void collector_watch(void)
{
    if (listening)
        return;
    listening = true; /* first: what follows may come here again */
    listening = prepare() && PyList_Append(callbacks, listener) == 0;
    contain(); /* not to be had: as before */
}

void collector_leave(void)
{
    /* While it runs it goes through the list: then the next recording takes this over. */
    if (!listening || collector_runs)
        return;
    listening = false;
    for (Py_ssize_t i = PyList_GET_SIZE(callbacks); i-- > 0;)
        if (PyList_GET_ITEM(callbacks, i) == listener &&
            PyList_SetSlice(callbacks, i, i + 1, NULL) < 0)
            PyErr_Clear(); /* no memory: it stays, and does no harm */
}

#endif
