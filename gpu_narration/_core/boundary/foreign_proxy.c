/* ForeignFunction: stands round a callable that can be neither subclassed nor changed:
 * what pybind11, nanobind, Cython and other C code make.  It looks like what it stands
 * for: attributes that are not its own come from there, __class__ names its class. */
#include "foreign.h"

#include <structmember.h>

struct proxy {
    PyObject ob_base;
    vectorcallfunc vectorcall;
    PyObject *wrapped; /* owned */
    struct foreign *foreign; /* owned */
    PyObject *dict; /* owned: what functools.update_wrapper put there */
    PyObject *weak_references;
};

static PyTypeObject *proxy_type;

static PyObject *proxy_call(PyObject *self, PyObject *const *args, size_t nargsf,
                            PyObject *kwnames)
{
    const struct proxy *proxy = (struct proxy *)self;
    if (!is_recording() || foreign_hooks_running != 0)
        return PyObject_Vectorcall(proxy->wrapped, args, nargsf, kwnames);
    if (LIKELY(proxy->foreign->simple && kwnames == NULL)) {
        struct scope scope;
        bool open = foreign_open(&scope, proxy->foreign, args, PyVectorcall_NARGS(nargsf));
        PyObject *value = PyObject_Vectorcall(proxy->wrapped, args, nargsf, kwnames);
        if (open)
            foreign_close(&scope, value);
        return value;
    }
    struct foreign_call record;
    bool begun = foreign_begin(&record, proxy->foreign, NULL, args, PyVectorcall_NARGS(nargsf),
                               kwnames);
    PyObject *result = PyObject_Vectorcall(proxy->wrapped, args, nargsf, kwnames);
    if (LIKELY(begun))
        foreign_end(&record, result);
    return result;
}

/* Binds as what it stands for does: Cython's functions do, built-in ones do not. */
static PyObject *proxy_bind(PyObject *self, PyObject *instance, PyObject *owner)
{
    (void)owner;
    const struct proxy *proxy = (struct proxy *)self;
    if (instance == NULL || instance == Py_None || Py_TYPE(proxy->wrapped)->tp_descr_get == NULL)
        return Py_NewRef(self);
    return PyMethod_New(self, instance);
}

static PyObject *proxy_getattr(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(((struct proxy *)self)->wrapped, name);
}

static PyObject *proxy_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<traced %R>", ((struct proxy *)self)->wrapped);
}

static PyObject *proxy_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyObject_GetAttrString(self, "__qualname__"); /* by name, as functions are */
}

static PyObject *proxy_class(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(Py_TYPE(((struct proxy *)self)->wrapped));
}

/* What a type has by itself, and would answer with in place of the wrapped function. */
static PyObject *proxy_forward(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((struct proxy *)self)->wrapped, name);
}

static int proxy_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct proxy *proxy = (struct proxy *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(proxy->wrapped);
    Py_VISIT((PyObject *)proxy->foreign);
    Py_VISIT(proxy->dict);
    return 0;
}

static int proxy_clear(PyObject *self)
{
    /* The others stay, so that a call from a finaliser still works; cycles through the
     * wrapped function are broken by its own tp_clear, through Foreign by that one's. */
    Py_CLEAR(((struct proxy *)self)->dict);
    return 0;
}

static void proxy_dealloc(PyObject *self)
{
    struct proxy *proxy = (struct proxy *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (proxy->weak_references != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(proxy->wrapped);
    Py_XDECREF((PyObject *)proxy->foreign);
    Py_XDECREF(proxy->dict);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ForeignFunction(callable, Foreign) */
static PyObject *proxy_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *wrapped, *foreign;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "ForeignFunction() takes positional arguments only");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO!", &wrapped, foreign_type, &foreign))
        return NULL;
    if (!PyCallable_Check(wrapped)) {
        PyErr_Format(PyExc_TypeError, "%.200s is not callable", Py_TYPE(wrapped)->tp_name);
        return NULL;
    }
    struct proxy *proxy = (struct proxy *)type->tp_alloc(type, 0);
    if (proxy == NULL)
        return NULL;
    proxy->vectorcall = proxy_call;
    proxy->wrapped = Py_NewRef(wrapped);
    proxy->foreign = (struct foreign *)Py_NewRef(foreign);
    return (PyObject *)proxy;
}

static PyMemberDef proxy_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct proxy, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct proxy, weak_references), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct proxy, vectorcall), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(struct proxy, wrapped), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef proxy_methods[] = {
    {"__reduce__", proxy_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef proxy_getset[] = {
    {"__class__", proxy_class, NULL, NULL, NULL},
    {"__doc__", proxy_forward, NULL, NULL, "__doc__"},
    {"__module__", proxy_forward, NULL, NULL, "__module__"},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot proxy_slots[] = {
    {Py_tp_new, proxy_new},
    {Py_tp_dealloc, proxy_dealloc},
    {Py_tp_traverse, proxy_traverse},
    {Py_tp_clear, proxy_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, proxy_bind},
    {Py_tp_getattro, proxy_getattr},
    {Py_tp_repr, proxy_repr},
    {Py_tp_members, proxy_members},
    {Py_tp_methods, proxy_methods},
    {Py_tp_getset, proxy_getset},
    {0, NULL},
};

static PyType_Spec proxy_spec = {
    .name = "gpu_narration._core._core.ForeignFunction",
    .basicsize = sizeof(struct proxy),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = proxy_slots,
};

int foreign_proxy_init(PyObject *module)
{
    proxy_type = (PyTypeObject *)PyType_FromSpec(&proxy_spec);
    if (proxy_type == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "ForeignFunction", (PyObject *)proxy_type);
}
