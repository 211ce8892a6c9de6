/* TracedFunction: what trace_fn makes of a function.
 *
 * It stands where the function stood and looks like it: attributes that are not
 * its own come from the function, __class__ says function, so that inspect and
 * the frameworks built on it see a coroutine function where there is one.  No
 * Python frame of ours comes between caller and callee. */
#include "boundary.h"

#include <structmember.h>

#define KEYWORDS_KNOWN 4096 /* keyword names remembered, beside those of one call */

static PyTypeObject *traced_function_type;
static PyObject *keyword_rules; /* dict: name of a **kwargs key -> enum parameter_rule */

/* ---- arguments ---- */

Py_ssize_t parameter_index(const struct site *site, PyObject *name)
{
    for (Py_ssize_t i = 0; i < site->parameter_count; i++)
        if (site->parameters[i].name == name)
            return i;
    for (Py_ssize_t i = 0; i < site->parameter_count; i++)
        if (PyUnicode_Compare(site->parameters[i].name, name) == 0)
            return i;
    return -1;
}

static inline uint8_t *put_argument(uint8_t *p, const uint8_t *end, enum parameter_rule rule,
                                    PyObject *value, bool object)
{
    if (UNLIKELY(rule != PARAMETER_PLAIN) &&
        (rule == PARAMETER_MASKED || is_credential(value)))
        return p == NULL ? NULL : gn_put_tag(p, end, GN_MASKED);
    return p == NULL ? NULL : put_value(p, end, value, object);
}

static uint8_t *put_keyword_name(uint8_t *p, const uint8_t *end, PyObject *name, Py_ssize_t index)
{
    if (index >= 0 && index < 256) {
        if (end - p < 2)
            return NULL;
        p[0] = GN_PARAM;
        p[1] = (uint8_t)index;
        return p + 2;
    }
    return put_named(p, end, GN_NAME, name);
}

/* A keyword that is no parameter went to **kwargs: its name decides, and the
 * hook that knows names is asked once per name, before any record is open. */
static PyObject *exact_name(PyObject *name)
{
    return PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyUnicode_FromObject(name);
}

static void learn_keyword(const struct site *site, PyObject *name)
{
    if (parameter_index(site, name) >= 0 || core.hooks.parameter_rule == NULL ||
        PyDict_GetItemWithError(keyword_rules, name) != NULL)
        return;
    PyObject *rule = PyObject_CallOneArg(core.hooks.parameter_rule, name);
    if (rule == NULL || PyDict_SetItem(keyword_rules, name, rule) < 0)
        internal_error("rule for a keyword");
    Py_XDECREF(rule);
}

void learn_keywords(const struct site *site, PyObject *kwnames)
{
    if (PyDict_GET_SIZE(keyword_rules) >= KEYWORDS_KNOWN)
        PyDict_Clear(keyword_rules); /* bounded, and yet no name goes unjudged */
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = exact_name(PyTuple_GET_ITEM(kwnames, i));
        if (name != NULL)
            learn_keyword(site, name);
        else
            PyErr_Clear(); /* no memory: keyword_rule() will mask it */
        Py_XDECREF(name);
    }
}

enum parameter_rule keyword_rule(const struct site *site, PyObject *name, Py_ssize_t index)
{
    if (index >= 0)
        return site->parameters[index].rule;
    /* A str subclass may hash and compare by the program's own code, which must not
     * run while the record is open. */
    PyObject *exact = exact_name(name);
    if (exact == NULL) {
        PyErr_Clear();
        return PARAMETER_MASKED;
    }
    PyObject *rule = PyDict_GetItemWithError(keyword_rules, exact);
    Py_DECREF(exact);
    /* A rule that could not be had may be that of a secret. */
    return rule == NULL ? PARAMETER_MASKED : (enum parameter_rule)PyLong_AsLong(rule);
}

static void put_arguments(struct event *event, const struct traced_function *function,
                          const struct values *values, PyObject *kwnames)
{
    const struct site *site = function->site;
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    Py_ssize_t positional = values->count - keywords;
    for (Py_ssize_t i = 0; i < values->count; i++) {
        enum parameter_rule rule;
        uint8_t *p = event->p;
        if (i < positional) {
            rule = i < site->positional_count ? site->parameters[i].rule : PARAMETER_CHECKED;
        } else {
            PyObject *name = PyTuple_GET_ITEM(kwnames, i - positional);
            Py_ssize_t index = parameter_index(site, name);
            rule = keyword_rule(site, name, index);
            p = put_keyword_name(p, event->end, name, index);
        }
        bool object = values->objects != 0 && i < 64 && (values->objects >> i & 1);
        p = put_argument(p, event->end, rule, values->items[i], object);
        if (UNLIKELY(!event_advance(event, p, values->count - i)))
            return;
    }
}

static struct values recorded_arguments(const struct traced_function *function,
                                        PyObject *const *args, Py_ssize_t nargs,
                                        PyObject *kwnames)
{
    Py_ssize_t skip = function->skip < nargs ? function->skip : nargs;
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (UNLIKELY(keywords > 0))
        learn_keywords(function->site, kwnames);
    return (struct values){args + skip, nargs - skip + keywords, 0};
}

void arguments_record(struct arguments *arguments, struct traced_function *function,
                      PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct values values = recorded_arguments(function, args, nargs, kwnames);
    struct summaries plain;
    arguments->size = 0;
    if (!values_prepare(&plain, &values))
        return;
    struct event event = {
        .p = arguments->bytes,
        .end = arguments->bytes + sizeof arguments->bytes - 3,
    };
    put_arguments(&event, function, &plain.plain, kwnames);
    arguments->size = (uint16_t)(event.p - arguments->bytes);
    values_done(&plain);
}

/* ---- opening ---- */

void function_open(struct scope *scope, struct traced_function *function,
                   const struct arguments *arguments, bool pushable)
{
    struct event event;
    scope->id = 0;
    if (!event_begin(&event, function->site->id))
        return;
    memcpy(event.p, arguments->bytes, arguments->size);
    event.p += arguments->size;
    struct thread_state *thread = event.thread;
    uint64_t tick = event.tick;
    int64_t id = event_commit(&event);
    scope_opened(scope, thread, function->site, id, tick, pushable);
    if (UNLIKELY(function->flags != 0))
        scope_hook_enter(scope, function->flags, NULL, function->site->names);
}

/* The same for a plain call, with the arguments written in place. */
static inline void open_call(struct scope *scope, struct traced_function *function,
                             PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    struct values values = recorded_arguments(function, args, nargs, kwnames);
    struct summaries plain;
    struct event event;
    scope->id = 0;
    if (!values_prepare(&plain, &values))
        return;
    /* Asked again: summaries may have run Python code, and a new recording begun. */
    if (site_ready(function->site) && event_begin(&event, function->site->id)) {
        put_arguments(&event, function, &plain.plain, kwnames);
        struct thread_state *thread = event.thread;
        uint64_t tick = event.tick;
        int64_t id = event_commit(&event);
        scope_opened(scope, thread, function->site, id, tick, true);
    }
    values_done(&plain);
    if (UNLIKELY(function->flags != 0))
        scope_hook_enter(scope, function->flags, NULL, function->site->names);
}

static PyObject *traced_call(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames)
{
    struct traced_function *function = (struct traced_function *)self;
    if (!is_recording())
        return PyObject_Vectorcall(function->wrapped, args, nargsf, kwnames);
    bool plain = LIKELY(function->form == FORM_PLAIN);
    /* A body that runs in steps begins with the first of them. */
    if (!(plain ? site_wanted(function->site) : site_ready(function->site)))
        return PyObject_Vectorcall(function->wrapped, args, nargsf, kwnames);
    if (UNLIKELY(!plain)) {
        PyObject *inner = PyObject_Vectorcall(function->wrapped, args, nargsf, kwnames);
        if (inner == NULL)
            return NULL; /* wrong arguments: the body never ran */
        return driven_wrap(function, inner, args, PyVectorcall_NARGS(nargsf), kwnames);
    }
    /* Recursion of Python functions needs no C stack, a traced call does: where the
     * program has raised the limit, its end must be an error and no crash. */
    if (UNLIKELY(stack_is_low())) {
        PyErr_Format(PyExc_RecursionError, "traced calls of %U() are nested deeper than the stack "
                     "of this thread has room for", function->site->names[1]);
        return NULL;
    }
    struct scope scope;
    open_call(&scope, function, args, PyVectorcall_NARGS(nargsf), kwnames);
    PyObject *result = PyObject_Vectorcall(function->wrapped, args, nargsf, kwnames);
    if (LIKELY(result != NULL)) {
        struct ending ending = {.outcome = GN_OUTCOME_OK,
                                .result = result,
                                .masked = function->mask_result};
        scope_close(&scope, &ending);
    } else {
        scope_close_raised(&scope);
    }
    return result;
}

/* ---- the object ---- */

static PyObject *traced_bind(PyObject *self, PyObject *instance, PyObject *owner)
{
    (void)owner;
    if (instance == NULL || instance == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, instance);
}

static PyObject *traced_getattr(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(((struct traced_function *)self)->wrapped, name);
}

static PyObject *traced_repr(PyObject *self)
{
    PyObject *name = PyObject_GetAttrString(((struct traced_function *)self)->wrapped,
                                            "__qualname__");
    if (name == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat("<traced function %U at %p>", name, self);
    Py_DECREF(name);
    return text;
}

static PyObject *traced_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyObject_GetAttrString(self, "__qualname__"); /* by name, as functions are */
}

static PyObject *traced_class(PyObject *self, void *closure)
{
    (void)closure;
    return Py_NewRef(Py_TYPE(((struct traced_function *)self)->wrapped));
}

static int traced_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct traced_function *function = (struct traced_function *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(function->wrapped);
    Py_VISIT(function->dict);
    return 0;
}

static int traced_clear(PyObject *self)
{
    /* `wrapped` stays, so that a call from a finaliser still works; the cycles
     * through it are broken by the function's own tp_clear. */
    Py_CLEAR(((struct traced_function *)self)->dict);
    return 0;
}

static void traced_dealloc(PyObject *self)
{
    struct traced_function *function = (struct traced_function *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (function->weak_references != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(function->wrapped);
    Py_XDECREF(function->dict);
    type->tp_free(self);
    Py_DECREF(type);
}

static int take_parameters(struct site *site, PyObject *parameters, PyObject *defaults)
{
    Py_ssize_t count = PyTuple_GET_SIZE(parameters);
    site->parameters = PyMem_Calloc((size_t)count + 1, sizeof *site->parameters);
    if (site->parameters == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    site->defaults = Py_NewRef(defaults);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name;
        int rule;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(parameters, i), "Ui", &name, &rule))
            return -1;
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        site->parameters[i].name = name;
        site->parameters[i].rule = (enum parameter_rule)(rule & ~PARAMETER_KEYWORD_ONLY);
        site->parameters[i].keyword_only = (rule & PARAMETER_KEYWORD_ONLY) != 0;
        site->parameter_count = i + 1;
        site->positional_count += !site->parameters[i].keyword_only;
    }
    return 0;
}

static struct site *function_site(PyObject *module, PyObject *actor, PyObject *name,
                                  PyObject *parameters, PyObject *defaults)
{
    PyObject *names[NAME_COUNT] = {Py_NewRef(actor), Py_NewRef(name), NULL, NULL};
    Py_INCREF(module);
    PyUnicode_InternInPlace(&module);
    PyUnicode_InternInPlace(&names[0]);
    PyUnicode_InternInPlace(&names[1]);
    struct site *site = site_create(GN_KIND_FUNCTION, GN_LEVEL_TRACE, module, names, 0);
    if (site == NULL)
        PyErr_NoMemory();
    else if (take_parameters(site, parameters, defaults) < 0)
        site = NULL; /* a few bytes stay: sites are never freed */
    Py_DECREF(module);
    Py_DECREF(names[0]);
    Py_DECREF(names[1]);
    return site;
}

/* TracedFunction(function, module, actor, name, parameters, defaults, *, form,
 * skip, flags, mask_result, like=None): `like` is a TracedFunction of the same
 * code, whose site is used again. */
static PyObject *traced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"function", "module", "actor",       "name", "parameters", "defaults",
                               "form",     "skip",   "flags", "mask_result", "like", NULL};
    PyObject *wrapped, *module, *actor, *name, *parameters, *defaults, *like = Py_None;
    int form = FORM_PLAIN, skip = 0, mask_result = 0;
    unsigned flags = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OUUUO!O!|$iiIpO", keywords, &wrapped, &module,
                                     &actor, &name, &PyTuple_Type, &parameters, &PyTuple_Type,
                                     &defaults, &form, &skip, &flags, &mask_result, &like))
        return NULL;
    if (form < FORM_PLAIN || form > FORM_ASYNC_GENERATOR || skip < 0 ||
        PyTuple_GET_SIZE(parameters) != PyTuple_GET_SIZE(defaults)) {
        PyErr_SetString(PyExc_ValueError, "TracedFunction() got arguments that do not fit");
        return NULL;
    }
    struct traced_function *function = (struct traced_function *)type->tp_alloc(type, 0);
    if (function == NULL)
        return NULL;
    function->vectorcall = traced_call;
    function->wrapped = Py_NewRef(wrapped);
    function->form = form;
    function->skip = skip;
    function->flags = flags;
    function->mask_result = mask_result != 0;
    if (Py_IS_TYPE(like, traced_function_type))
        function->site = ((struct traced_function *)like)->site;
    else
        function->site = function_site(module, actor, name, parameters, defaults);
    if (function->site == NULL) {
        Py_DECREF(function);
        return NULL;
    }
    return (PyObject *)function;
}

static PyMemberDef traced_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct traced_function, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct traced_function, weak_references),
     READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct traced_function, vectorcall), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef traced_methods[] = {
    {"__reduce__", traced_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef traced_getset[] = {
    {"__class__", traced_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot traced_slots[] = {
    {Py_tp_new, traced_new},
    {Py_tp_dealloc, traced_dealloc},
    {Py_tp_traverse, traced_traverse},
    {Py_tp_clear, traced_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, traced_bind},
    {Py_tp_getattro, traced_getattr},
    {Py_tp_repr, traced_repr},
    {Py_tp_members, traced_members},
    {Py_tp_methods, traced_methods},
    {Py_tp_getset, traced_getset},
    {0, NULL},
};

static PyType_Spec traced_spec = {
    .name = "gpu_narration._core._core.TracedFunction",
    .basicsize = sizeof(struct traced_function),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR,
    .slots = traced_slots,
};

int function_init(PyObject *module)
{
    traced_function_type = (PyTypeObject *)PyType_FromSpec(&traced_spec);
    keyword_rules = PyDict_New();
    if (traced_function_type == NULL || keyword_rules == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "TracedFunction", (PyObject *)traced_function_type);
}
