/* Foreign: what is told of one foreign function, as an object for Python to make. */
#include "foreign.h"

PyTypeObject *foreign_type;

/* The names are shown with the arguments.  Told anew, the definition is written again:
 * a site belongs to its names, whoever describes it. */
static int take_parameters(struct site *site, PyObject *names)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    if (count == 0 && site->parameter_count == 0)
        return 0;
    struct parameter *parameters = PyMem_Calloc((size_t)count + 1, sizeof *parameters);
    PyObject *defaults = PyTuple_New(count);
    if (parameters == NULL || defaults == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name;
        int rule;
        if (!PyTuple_Check(PyTuple_GET_ITEM(names, i)) ||
            !PyArg_ParseTuple(PyTuple_GET_ITEM(names, i), "Ui", &name, &rule))
            goto failed;
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        parameters[i].name = name;
        parameters[i].rule = (enum parameter_rule)rule;
        /* An object, so that no default is shown: nothing is known of defaults. */
        PyTuple_SET_ITEM(defaults, i, Py_NewRef(Py_Ellipsis));
    }
    struct parameter *before = site->parameters;
    Py_ssize_t count_before = site->parameter_count;
    PyObject *defaults_before = site->defaults;
    site->parameters = parameters;
    site->parameter_count = site->positional_count = count;
    site->defaults = defaults;
    site->defined = 0;
    for (Py_ssize_t i = 0; i < count_before; i++)
        Py_DECREF(before[i].name);
    PyMem_Free(before);
    Py_XDECREF(defaults_before);
    return 0;
failed:
    for (Py_ssize_t i = 0; parameters != NULL && i < count; i++)
        Py_XDECREF(parameters[i].name);
    PyMem_Free(parameters);
    Py_XDECREF(defaults);
    return -1;
}

static struct site *named_site(PyObject *actor, PyObject *action, PyObject *names)
{
    PyObject *pair[NAME_COUNT] = {Py_NewRef(actor), Py_NewRef(action), NULL, NULL};
    /* Interned, so that one function always has one site. */
    PyUnicode_InternInPlace(&pair[0]);
    PyUnicode_InternInPlace(&pair[1]);
    PyObject *module = PyUnicode_InternFromString("");
    struct site *site =
        module == NULL ? NULL : site_named(GN_KIND_FOREIGN, GN_LEVEL_TRACE, module, pair);
    if (site == NULL && !PyErr_Occurred())
        PyErr_NoMemory();
    if (site != NULL && take_parameters(site, names) < 0)
        site = NULL;
    Py_XDECREF(module);
    Py_DECREF(pair[0]);
    Py_DECREF(pair[1]);
    return site;
}

static PyObject *given(PyObject *value)
{
    return value == Py_None ? NULL : Py_NewRef(value);
}

/* Foreign(actor, action, flags, addresses, names, formatters, before, after, failure,
 * get_errno[, pace_ns]): flags are enum scope_flags, names pairs of a name and enum parameter_rule;
 * the rest None where there is none. */
static PyObject *foreign_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *actor, *action, *names, *formatters, *before, *after, *failure, *get_errno;
    unsigned flags;
    long long pace_ns = 0;
    unsigned long long addresses;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Foreign() takes positional arguments only");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "UUIKO!OOOOO|L", &actor, &action, &flags, &addresses, &PyTuple_Type,
                          &names, &formatters, &before, &after, &failure, &get_errno, &pace_ns))
        return NULL;
    if (formatters != Py_None && !PyTuple_CheckExact(formatters)) {
        PyErr_SetString(PyExc_TypeError, "formatters must be a tuple or None");
        return NULL;
    }
    struct site *site = named_site(actor, action, names);
    struct foreign *foreign = site == NULL ? NULL : (struct foreign *)type->tp_alloc(type, 0);
    if (foreign == NULL)
        return NULL;
    foreign->site = site;
    foreign->flags = flags;
    foreign->addresses = addresses;
    foreign->formatters = given(formatters);
    foreign->before = given(before);
    foreign->after = given(after);
    foreign->failure = given(failure);
    foreign->get_errno = given(get_errno);
    foreign->pace_ns = pace_ns;
    foreign->told = foreign->formatters != NULL || foreign->before != NULL ||
                    foreign->after != NULL || foreign->failure != NULL ||
                    foreign->get_errno != NULL;
    foreign->plain = (addresses & ~FOREIGN_RESULT_BIT) == 0 && PyTuple_GET_SIZE(names) == 0;
    foreign->simple = foreign->plain && !foreign->told && addresses == 0 &&
                      (flags & ~(unsigned)FOREIGN_STREAMS) == 0;
    return (PyObject *)foreign;
}

static int foreign_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct foreign *foreign = (struct foreign *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(foreign->formatters);
    Py_VISIT(foreign->before);
    Py_VISIT(foreign->after);
    Py_VISIT(foreign->failure);
    Py_VISIT(foreign->get_errno);
    return 0;
}

static int foreign_clear(PyObject *self)
{
    struct foreign *foreign = (struct foreign *)self;
    Py_CLEAR(foreign->formatters);
    Py_CLEAR(foreign->before);
    Py_CLEAR(foreign->after);
    Py_CLEAR(foreign->failure);
    Py_CLEAR(foreign->get_errno);
    return 0;
}

static void foreign_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)foreign_clear(self);
    reads_free(((struct foreign *)self)->reads);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot foreign_slots[] = {
    {Py_tp_new, foreign_new},
    {Py_tp_dealloc, foreign_dealloc},
    {Py_tp_traverse, foreign_traverse},
    {Py_tp_clear, foreign_clear},
    {0, NULL},
};

static PyType_Spec foreign_spec = {
    .name = "gpu_narration._core._core.Foreign",
    .basicsize = sizeof(struct foreign),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = foreign_slots,
};

int foreign_init(PyObject *module)
{
    foreign_type = (PyTypeObject *)PyType_FromSpec(&foreign_spec);
    if (foreign_type == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "Foreign", (PyObject *)foreign_type);
}
