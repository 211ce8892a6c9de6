/* Exceptions that come up inside the recorder.  None of them leaves a trace call as
 * its own, and none that is the program's is lost:
 *
 *   ours          told to the internal_error hook, which counts it and shows it once
 *   the program's state: no stack or no memory left.  The event makes do, and the
 *                 program meets the same want itself
 *   the program's what a signal handler raised while a hook of ours ran (a
 *                 KeyboardInterrupt, a timeout), or another thread sent.  It is raised
 *                 again at the first bytecode behind the call
 */
#include "boundary.h"

/* What the owner hook answers. */
enum owner { OWNER_US = 0, OWNER_MAIN_THREAD = 1, OWNER_OTHER_THREAD = 2 };

static PyObject *take_error(void)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (error != NULL && traceback != NULL)
        (void)PyException_SetTraceback(error, traceback); /* it is one, so it is taken */
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
}

/* Runs in the main thread between two bytecodes; -1 raises what is set. */
static int raise_again(void *argument)
{
    PyObject *error = argument;
    PyErr_Restore(Py_NewRef(Py_TYPE(error)), error, PyException_GetTraceback(error));
    return -1;
}

static void hand_on(PyObject *error, enum owner owner)
{
    if (owner == OWNER_OTHER_THREAD) {
        /* As it came: by its type, which is all that one thread can send another. */
        (void)PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), (PyObject *)Py_TYPE(error));
    } else if (Py_AddPendingCall(raise_again, Py_NewRef(error)) != 0) {
        Py_DECREF(error); /* the queue is full of them: one of the same kind is on its way */
    }
}

static bool is_want(PyObject *error)
{
    return PyErr_GivenExceptionMatches(error, PyExc_RecursionError) ||
           PyErr_GivenExceptionMatches(error, PyExc_MemoryError);
}

static enum owner owner_of(PyObject *error)
{
    PyObject *answer = core.hooks.owner == NULL ? NULL
                                                : PyObject_CallOneArg(core.hooks.owner, error);
    long owner = answer == NULL ? OWNER_US : PyLong_AsLong(answer);
    Py_XDECREF(answer);
    if (!PyErr_Occurred())
        return (enum owner)owner;
    /* The hook does not fail: a signal came while it looked. */
    PyObject *second = take_error();
    if (second != NULL && !is_want(second))
        hand_on(second, OWNER_MAIN_THREAD);
    Py_XDECREF(second);
    return PyErr_GivenExceptionMatches(error, PyExc_Exception) ? OWNER_US : OWNER_MAIN_THREAD;
}

static void tell(const char *where, PyObject *error)
{
    if (core.hooks.internal_error == NULL)
        return;
    PyObject *done = PyObject_CallFunction(core.hooks.internal_error, "sO", where, error);
    Py_XDECREF(done);
    if (done == NULL)
        contain();
}

/* `where` NULL: a failure of ours is no news. */
static bool contain_at(const char *where)
{
    PyObject *error = take_error();
    if (error == NULL)
        return false;
    bool passing = is_want(error);
    if (!passing) {
        enum owner owner = owner_of(error);
        passing = owner != OWNER_US;
        if (passing)
            hand_on(error, owner);
        else if (where != NULL)
            tell(where, error);
    }
    Py_DECREF(error);
    return passing;
}

bool internal_error(const char *where)
{
    return contain_at(where);
}

void contain(void)
{
    (void)contain_at(NULL);
}
