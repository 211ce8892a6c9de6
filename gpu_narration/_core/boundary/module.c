/* gpu_narration._core._core: the table of what Python can call.  _core.pyi says
 * what each of them means. */
#include "boundary.h"

#include <stddef.h>

/* nothing(*args): does nothing.  The ruler that costs are compared with. */
static PyObject *nothing(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    (void)module;
    (void)args;
    (void)nargs;
    (void)kwnames;
    Py_RETURN_NONE;
}

static PyObject *set_hooks(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static const struct {
        const char *name;
        size_t offset;
    } places[] = {
        {"autostart", offsetof(struct hooks, autostart)},
        {"threshold", offsetof(struct hooks, threshold)},
        {"summarise", offsetof(struct hooks, summarise)},
        {"scope_enter", offsetof(struct hooks, scope_enter)},
        {"scope_exit", offsetof(struct hooks, scope_exit)},
        {"parameter_rule", offsetof(struct hooks, parameter_rule)},
        {"internal_error", offsetof(struct hooks, internal_error)},
        {"owner", offsetof(struct hooks, owner)},
        {"ids", offsetof(struct hooks, ids)},
        {"emitter", offsetof(struct hooks, emitter)},
    };
    PyObject *key, *value;
    Py_ssize_t position = 0;
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "set_hooks() takes keyword arguments only");
        return NULL;
    }
    while (kwargs != NULL && PyDict_Next(kwargs, &position, &key, &value)) {
        PyObject **place = NULL;
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
            if (PyUnicode_CompareWithASCIIString(key, places[i].name) == 0)
                place = (PyObject **)((char *)&core.hooks + places[i].offset);
        if (place == NULL) {
            PyErr_Format(PyExc_TypeError, "set_hooks() knows no hook '%U'", key);
            return NULL;
        }
        PyObject *hook = value == Py_None ? NULL : Py_NewRef(value);
        Py_XSETREF(*place, hook);
    }
    Py_RETURN_NONE;
}

static PyObject *set_autostart(PyObject *module, PyObject *value)
{
    (void)module;
    int on = PyObject_IsTrue(value);
    if (on < 0)
        return NULL;
    core.autostart = on != 0;
    Py_RETURN_NONE;
}

/* Every site asks the threshold hook again. */
static PyObject *refilter(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    core.filter_generation++;
    Py_RETURN_NONE;
}

static PyObject *set_nvtx(PyObject *module, PyObject *bridge)
{
    (void)module;
    if (nvtx_configure(bridge) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *clock_source(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    static const char *const names[] = {"monotonic", "tsc", "cntvct"};
    return PyUnicode_FromString(names[gn_clock_source]);
}

static PyObject *looks_like_credential(PyObject *module, PyObject *text)
{
    (void)module;
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 == NULL)
        return NULL;
    return PyBool_FromLong(gn_looks_like_credential(utf8, (size_t)length));
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef functions[] = {
    {"start", FASTCALL(recording_start), METH_VARARGS | METH_KEYWORDS, NULL},
    {"stop", recording_stop, METH_VARARGS, NULL},
    {"flush", recording_flush, METH_VARARGS, NULL},
    {"stats", recording_stats, METH_NOARGS, NULL},
    {"scopes", recording_scopes, METH_NOARGS, NULL},
    {"after_fork", recording_after_fork, METH_NOARGS, NULL},
    {"emit", FASTCALL(record_emit), METH_FASTCALL, NULL},
    {"annotate", FASTCALL(record_annotate), METH_FASTCALL, NULL},
    {"note", FASTCALL(record_note), METH_FASTCALL, NULL},
    {"span", FASTCALL(span_new), METH_FASTCALL | METH_KEYWORDS,
     "span(actor, action, target='', human='', *, gpu=False, vram=False, stream=None)\n--\n\n"
     "A context manager that records a stretch of time.\n\n"
     "gpu times the work enqueued on stream (default: the current one) by a pair of\n"
     "events that is read later; vram records device memory at both edges.  The span\n"
     "ends exactly once, whatever leaves the with block."},
    {"foreign_adopt", foreign_adopt, METH_VARARGS, NULL},
    {"foreign_forget", foreign_forget, METH_O, NULL},
    {"foreign_take", foreign_take, METH_VARARGS, NULL},
    {"foreign_release", foreign_release, METH_O, NULL},
    {"foreign_reads", foreign_reads, METH_VARARGS, NULL},
    {"foreign_streams", foreign_streams, METH_NOARGS, NULL},
    {"set_correlation", strand_set_correlation, METH_O, NULL},
    {"current_span", strand_current_span, METH_NOARGS, NULL},
    {"publish_span", strand_publish_span, METH_O, NULL},
    {"set_hooks", FASTCALL(set_hooks), METH_VARARGS | METH_KEYWORDS, NULL},
    {"set_autostart", set_autostart, METH_O, NULL},
    {"set_nvtx", set_nvtx, METH_O, NULL},
    {"refilter", refilter, METH_NOARGS, NULL},
    {"clock_source", clock_source, METH_NOARGS, NULL},
    {"looks_like_credential", looks_like_credential, METH_O, NULL},
    {"redact", FASTCALL(redact), METH_FASTCALL, NULL},
    {"redact_field", FASTCALL(redact_one_field), METH_FASTCALL, NULL},
    {"redact_configure", FASTCALL(redact_configure), METH_FASTCALL, NULL},
    {"redactions", redactions, METH_NOARGS, NULL},
    {"parameter_rule", parameter_rule, METH_O, NULL},
    {"nothing", FASTCALL(nothing), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gpu_narration._core._core",
    .m_doc = "The recording half in C.",
    .m_size = 0, /* CPython makes no copy for a second import, but calls PyInit__core */
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    static PyObject *made; /* owned: there is one of everything in a process */
    /* An interpreter that ends would leave us with hooks and strings that it freed. */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "gpu_narration records the main interpreter alone: "
                        "import it there, and not in a subinterpreter");
        return NULL;
    }
    if (made != NULL)
        return Py_NewRef(made);
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    /* The last of them cannot be done twice. */
    if (PyModule_AddFunctions(module, call_methods) < 0 ||
        PyModule_AddFunctions(module, narrate_methods) < 0 || values_init(module) < 0 ||
        sites_init() < 0 || filtering_init() < 0 || calls_init() < 0 || narrate_init() < 0 || strand_init(module) < 0 ||
        scope_init(module) < 0 || function_init(module) < 0 || driven_init() < 0 ||
        redact_init() < 0 || foreign_init(module) < 0 || foreign_proxy_init(module) < 0 ||
        PyModule_AddIntConstant(module, "FORMAT_VERSION", GN_FORMAT_VERSION) < 0 ||
        lifecycle_init() < 0) {
        Py_DECREF(module);
        return NULL;
    }
    made = Py_NewRef(module);
    return module;
}
