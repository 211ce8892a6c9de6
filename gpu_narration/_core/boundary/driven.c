/* Coroutines, generators and async generators of a traced function.
 *
 * Each is wrapped by an object that forwards send, throw and close, so that the
 * span begins when the body begins, ends exactly once however it ends, and is
 * current only while the body runs.  The values of the call are kept as bytes
 * from the call to the first step. */
#include "boundary.h"

#include <structmember.h>

struct driven {
    PyObject ob_base;
    PyObject *inner; /* owned: the program's coroutine or generator */
    struct traced_function *function; /* owned */
    struct arguments *arguments; /* owned until the body begins */
    PyObject *weak_references;
    struct scope scope;
    struct strand_mark consumer; /* the strand as the running step found it */
    struct strand_mark body; /* and as the body left it when it was suspended */
    struct step *step; /* borrowed: the one that an async generator works on */
    bool begun, running, ended;
};

/* One awaitable of an async generator: what __anext__ and its kin return. */
struct step {
    PyObject ob_base;
    PyObject *awaitable; /* owned: the inner one's iterator */
    struct driven *driven; /* owned */
    bool closing; /* made by aclose */
};

static PyTypeObject *coroutine_type, *generator_type, *async_generator_type, *step_type;

/* ---- the span of a body that is run in steps ---- */

/* A coroutine's span stays current across an await: its task is a strand of its
 * own, and the context variable carries it.  Everything else that suspends hands
 * control to its consumer, where the span is not current. */
static bool leaves_strand(const struct driven *driven)
{
    return driven->function->form != FORM_COROUTINE || !driven->scope.published;
}

static bool is_open(const struct driven *driven)
{
    return driven->scope.id != 0 && driven->scope.generation == core.generation;
}

static void step_begin(struct driven *driven)
{
    struct thread_state *thread = is_recording() ? recording_thread() : NULL;
    driven->running = true;
    if (thread != NULL)
        strand_save(thread, &driven->consumer);
    if (!driven->begun) {
        driven->begun = true;
        if (thread != NULL && site_wanted(driven->function->site))
            function_open(&driven->scope, driven->function, driven->arguments, false);
        PyMem_Free(driven->arguments);
        driven->arguments = NULL;
    } else if (thread != NULL && is_open(driven)) {
        driven->scope.thread_key = thread->key; /* this thread runs the body now */
        if (leaves_strand(driven))
            strand_restore(thread, &driven->body, driven->scope.published);
    }
}

/* Gives the strand back to the consumer. */
static void step_leave(struct driven *driven)
{
    /* No attaching here: the body's exception may be set. */
    bool attached = core.generation != 0 && thread_slot.generation == core.generation;
    if (attached && leaves_strand(driven))
        strand_restore(thread_slot.state, &driven->consumer, driven->scope.published);
}

static void step_suspend(struct driven *driven)
{
    struct thread_state *thread = is_open(driven) ? recording_thread() : NULL;
    driven->running = false;
    if (thread != NULL) {
        strand_save(thread, &driven->body);
        step_leave(driven);
    }
}

static void end(struct driven *driven, enum gn_outcome outcome, PyObject *result)
{
    struct ending ending = {
        .outcome = outcome, .result = result, .masked = driven->function->mask_result};
    bool open = is_open(driven);
    driven->running = false;
    driven->ended = true;
    scope_close(&driven->scope, &ending);
    if (open)
        step_leave(driven);
}

static void end_raised(struct driven *driven)
{
    bool open = is_open(driven);
    driven->running = false;
    driven->ended = true;
    scope_close_raised(&driven->scope);
    if (open)
        step_leave(driven);
}

/* The outcome of a step whose body has returned, yielded or raised. */
static PySendResult step_end(struct driven *driven, PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_NEXT)
        step_suspend(driven);
    else if (sent == PYGEN_RETURN)
        end(driven, GN_OUTCOME_OK, result);
    else
        end_raised(driven);
    return sent;
}

static PySendResult driven_send_value(PyObject *self, PyObject *value, PyObject **result)
{
    struct driven *driven = (struct driven *)self;
    if (driven->ended || driven->running || (!driven->begun && value != Py_None))
        return PyIter_Send(driven->inner, value, result); /* its own error for that */
    step_begin(driven);
    PySendResult sent = PyIter_Send(driven->inner, value, result);
    return step_end(driven, sent, *result);
}

/* Turns the return value of a method that steps the body (throw) into a
 * PySendResult: a StopIteration is a return. */
static PySendResult from_method(PyObject *produced, PyObject **result)
{
    *result = produced;
    if (produced != NULL)
        return PYGEN_NEXT;
    PyObject *type, *error, *traceback;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    *result = Py_NewRef(((PyStopIterationObject *)error)->value != NULL
                            ? ((PyStopIterationObject *)error)->value
                            : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return PYGEN_RETURN;
}

/* And back, for callers that iterate instead of sending. */
static PyObject *to_method(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        if (result == Py_None) {
            PyErr_SetNone(PyExc_StopIteration);
        } else {
            PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
            if (stop != NULL)
                PyErr_SetObject(PyExc_StopIteration, stop);
            Py_XDECREF(stop);
        }
        Py_DECREF(result);
        return NULL;
    }
    return result;
}

static PyObject *driven_next(PyObject *self)
{
    PyObject *result = NULL;
    PySendResult sent = driven_send_value(self, Py_None, &result);
    return to_method(sent, result);
}

static PyObject *driven_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult sent = driven_send_value(self, value, &result);
    return to_method(sent, result);
}

static PyObject *call_inner(PyObject *inner, const char *name, PyObject *const *args,
                            Py_ssize_t nargs)
{
    PyObject *method = PyObject_GetAttrString(inner, name);
    if (method == NULL)
        return NULL;
    PyObject *result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    Py_DECREF(method);
    return result;
}

static PyObject *driven_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct driven *driven = (struct driven *)self;
    if (driven->ended || driven->running)
        return call_inner(driven->inner, "throw", args, nargs);
    step_begin(driven);
    PyObject *result = NULL;
    PySendResult sent = from_method(call_inner(driven->inner, "throw", args, nargs), &result);
    return to_method(step_end(driven, sent, result), result);
}

static PyObject *driven_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct driven *driven = (struct driven *)self;
    bool open = driven->begun && !driven->ended && !driven->running;
    if (open)
        step_begin(driven);
    PyObject *result = call_inner(driven->inner, "close", NULL, 0);
    if (!open) {
        driven->ended |= !driven->running; /* never begun: no span */
    } else if (result != NULL) {
        end(driven, GN_OUTCOME_CLOSED, NULL);
    } else {
        end_raised(driven);
    }
    return result;
}

/* ---- async generators ---- */

static PyObject *step_make(struct driven *driven, PyObject *awaitable, bool closing)
{
    if (awaitable == NULL)
        return NULL;
    /* asend, athrow and aclose give objects that are their own iterators. */
    struct step *step = PyObject_GC_New(struct step, step_type);
    if (step == NULL) {
        Py_DECREF(awaitable);
        return NULL;
    }
    step->awaitable = awaitable;
    step->driven = (struct driven *)Py_NewRef(driven);
    step->closing = closing;
    PyObject_GC_Track(step);
    return (PyObject *)step;
}

/* How an awaitable of an async generator ended: PYGEN_RETURN is a yield of the
 * generator (or, from aclose, its end), StopAsyncIteration its return. */
static PySendResult step_settle(struct step *step, PySendResult sent)
{
    struct driven *driven = step->driven;
    if (sent != PYGEN_NEXT)
        driven->step = NULL;
    if (driven->ended)
        return sent;
    if (sent == PYGEN_ERROR && PyErr_ExceptionMatches(PyExc_StopAsyncIteration)) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        end(driven, GN_OUTCOME_OK, NULL);
        PyErr_Restore(type, error, traceback);
    } else if (sent == PYGEN_ERROR) {
        end_raised(driven);
    } else if (sent == PYGEN_RETURN && step->closing) {
        end(driven, GN_OUTCOME_CLOSED, NULL);
    } else {
        step_suspend(driven);
    }
    return sent;
}

/* False where nothing is to be traced: the span is over, or another step is
 * under way and the inner one refuses this one. */
static bool step_enter(struct step *step)
{
    struct driven *driven = step->driven;
    if (driven->step != NULL && driven->step != step)
        return false;
    /* aclose on a generator that never ran has no body to trace. */
    if (step->closing && !driven->begun)
        driven->ended = true;
    if (driven->ended)
        return false;
    driven->step = step;
    step_begin(driven);
    return true;
}

static void step_let_go(struct step *step)
{
    if (step->driven->step == step)
        step->driven->step = NULL;
}

static PySendResult step_send_value(PyObject *self, PyObject *value, PyObject **result)
{
    struct step *step = (struct step *)self;
    bool entered = step_enter(step);
    PySendResult sent = PyIter_Send(step->awaitable, value, result);
    return entered ? step_settle(step, sent) : sent;
}

static PyObject *step_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult sent = step_send_value(self, value, &result);
    return to_method(sent, result);
}

static PyObject *step_next(PyObject *self)
{
    return step_send(self, Py_None);
}

static PyObject *step_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct step *step = (struct step *)self;
    bool entered = step_enter(step);
    PyObject *result = NULL;
    PySendResult sent = from_method(call_inner(step->awaitable, "throw", args, nargs), &result);
    return to_method(entered ? step_settle(step, sent) : sent, result);
}

static PyObject *step_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    step_let_go((struct step *)self);
    return call_inner(((struct step *)self)->awaitable, "close", NULL, 0);
}

static PyObject *async_next(PyObject *self)
{
    struct driven *driven = (struct driven *)self;
    return step_make(driven, call_inner(driven->inner, "__anext__", NULL, 0), false);
}

static PyObject *async_send(PyObject *self, PyObject *value)
{
    struct driven *driven = (struct driven *)self;
    PyObject *awaitable = call_inner(driven->inner, "asend", &value, 1);
    if (!driven->begun && value != Py_None)
        return awaitable; /* the body has not begun: the inner one refuses */
    return step_make(driven, awaitable, false);
}

static PyObject *async_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct driven *driven = (struct driven *)self;
    return step_make(driven, call_inner(driven->inner, "athrow", args, nargs), false);
}

static PyObject *async_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct driven *driven = (struct driven *)self;
    return step_make(driven, call_inner(driven->inner, "aclose", NULL, 0), true);
}

/* ---- the objects ---- */

PyObject *driven_wrap(struct traced_function *function, PyObject *inner, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames)
{
    PyTypeObject *type = function->form == FORM_COROUTINE   ? coroutine_type
                         : function->form == FORM_GENERATOR ? generator_type
                                                            : async_generator_type;
    struct arguments *arguments = PyMem_Malloc(sizeof *arguments);
    struct driven *driven = arguments == NULL ? NULL : PyObject_GC_New(struct driven, type);
    if (driven == NULL) {
        PyMem_Free(arguments);
        PyErr_Clear();
        core.suppressed++;
        return inner; /* untraced, but it works */
    }
    memset((char *)driven + sizeof driven->ob_base, 0, sizeof *driven - sizeof driven->ob_base);
    driven->inner = inner;
    driven->function = (struct traced_function *)Py_NewRef(function);
    driven->arguments = arguments;
    arguments_record(arguments, function, args, nargs, kwnames);
    PyObject_GC_Track(driven);
    return (PyObject *)driven;
}

static PyObject *itself(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *driven_getattr(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(((struct driven *)self)->inner, name);
}

static PyObject *driven_class(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(Py_TYPE(((struct driven *)self)->inner));
}

static PyObject *driven_name(PyObject *self, void *which)
{
    return PyObject_GetAttrString(((struct driven *)self)->inner, which);
}

static PyObject *driven_repr(PyObject *self)
{
    return PyObject_Repr(((struct driven *)self)->inner);
}

/* Dropped half-way: what the interpreter does to the inner one happens now, so
 * that the events of its finally blocks come before the end of the span. */
static void driven_finalize(PyObject *self)
{
    struct driven *driven = (struct driven *)self;
    PyObject *type, *error, *traceback;
    if (!driven->begun || driven->ended)
        return;
    PyErr_Fetch(&type, &error, &traceback);
    if (driven->function->form == FORM_ASYNC_GENERATOR) {
        end(driven, GN_OUTCOME_CLOSED, NULL); /* the event loop closes the inner one */
    } else {
        PyObject *closed = driven_close(self, NULL);
        if (closed == NULL)
            PyErr_WriteUnraisable(driven->inner);
        Py_XDECREF(closed);
    }
    PyErr_Restore(type, error, traceback);
}

static int driven_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct driven *driven = (struct driven *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(driven->inner);
    Py_VISIT(driven->function);
    return 0;
}

static void driven_dealloc(PyObject *self)
{
    struct driven *driven = (struct driven *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, driven_dealloc) /* generators hold generators: chains can be long */
    if (driven->weak_references != NULL)
        PyObject_ClearWeakRefs(self);
    PyMem_Free(driven->arguments);
    Py_XDECREF(driven->scope.hook_token);
    Py_XDECREF(driven->scope.range);
    Py_XDECREF(driven->inner);
    Py_XDECREF(driven->function);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static int step_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct step *step = (struct step *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(step->awaitable);
    Py_VISIT(step->driven);
    return 0;
}

static void step_dealloc(PyObject *self)
{
    struct step *step = (struct step *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    step_let_go(step);
    Py_XDECREF(step->awaitable);
    Py_XDECREF(step->driven);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

#define METHOD(name, function, flags) {name, (PyCFunction)(void (*)(void))(function), flags, NULL}
#define END_OF_METHODS {NULL, NULL, 0, NULL}

static PyMethodDef coroutine_methods[] = {
    METHOD("send", driven_send, METH_O),
    METHOD("throw", driven_throw, METH_FASTCALL),
    METHOD("close", driven_close, METH_NOARGS),
    END_OF_METHODS,
};

static PyMethodDef async_generator_methods[] = {
    METHOD("asend", async_send, METH_O),
    METHOD("athrow", async_throw, METH_FASTCALL),
    METHOD("aclose", async_close, METH_NOARGS),
    END_OF_METHODS,
};

static PyMethodDef step_methods[] = {
    METHOD("send", step_send, METH_O),
    METHOD("throw", step_throw, METH_FASTCALL),
    METHOD("close", step_close, METH_NOARGS),
    END_OF_METHODS,
};

static PyGetSetDef driven_getset[] = {
    {"__class__", driven_class, NULL, NULL, NULL},
    {"__name__", driven_name, NULL, NULL, "__name__"},
    {"__qualname__", driven_name, NULL, NULL, "__qualname__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef driven_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct driven, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define DRIVEN_SLOTS                                                                          \
    {Py_tp_dealloc, driven_dealloc}, {Py_tp_finalize, driven_finalize},                       \
        {Py_tp_traverse, driven_traverse}, {Py_tp_getattro, driven_getattr},                  \
        {Py_tp_repr, driven_repr}, {Py_tp_getset, driven_getset},                             \
        {Py_tp_members, driven_members}

static PyType_Slot coroutine_slots[] = {
    DRIVEN_SLOTS,
    {Py_am_await, itself},
    {Py_am_send, driven_send_value},
    {Py_tp_iter, itself}, /* for `yield from` in what types.coroutine made */
    {Py_tp_iternext, driven_next},
    {Py_tp_methods, coroutine_methods},
    {0, NULL},
};

static PyType_Slot generator_slots[] = {
    DRIVEN_SLOTS,
    {Py_am_send, driven_send_value},
    {Py_tp_iter, itself},
    {Py_tp_iternext, driven_next},
    {Py_tp_methods, coroutine_methods},
    {0, NULL},
};

static PyType_Slot async_generator_slots[] = {
    DRIVEN_SLOTS,
    {Py_am_aiter, itself},
    {Py_am_anext, async_next},
    {Py_tp_methods, async_generator_methods},
    {0, NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_dealloc, step_dealloc},
    {Py_tp_traverse, step_traverse},
    {Py_am_await, itself},
    {Py_am_send, step_send_value},
    {Py_tp_iter, itself},
    {Py_tp_iternext, step_next},
    {Py_tp_methods, step_methods},
    {0, NULL},
};

static PyTypeObject *make_type(const char *name, int size, PyType_Slot *slots)
{
    PyType_Spec spec = {
        .name = name,
        .basicsize = size,
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    return (PyTypeObject *)PyType_FromSpec(&spec);
}

int driven_init(void)
{
    int size = sizeof(struct driven);
    coroutine_type = make_type("gpu_narration.TracedCoroutine", size, coroutine_slots);
    generator_type = make_type("gpu_narration.TracedGenerator", size, generator_slots);
    async_generator_type =
        make_type("gpu_narration.TracedAsyncGenerator", size, async_generator_slots);
    step_type = make_type("gpu_narration.TracedAsyncStep", sizeof(struct step), step_slots);
    return coroutine_type == NULL || generator_type == NULL || async_generator_type == NULL ||
                   step_type == NULL
               ? -1
               : 0;
}
