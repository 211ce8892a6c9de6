/* Texts and fields without their secrets. */
#include "boundary.h"

#define FIELDS_KNOWN 4096 /* names of fields remembered */
#define HIDDEN 0x10000 /* a field's policy: never its value */

static struct {
    unsigned policy;
    PyObject *fields; /* owned dict: name of a field -> its policy; NULL: none has its own */
    PyObject *patterns; /* owned: (str) -> str, the program's patterns; NULL: none */
} settings = {GN_REDACT_DEFAULT, NULL, NULL};

static PyObject *name_rules; /* dict: name of a field -> rule | kind << 8 */
static PyObject *unchecked; /* owned: what stands for a text that could not be checked */
static PyObject *replacements[GN_SECRET_COUNT]; /* owned */

static bool may_hold_secret(PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND)
        return gn_redact_needed((const char *)PyUnicode_1BYTE_DATA(text), (size_t)length);
    return true;
}

static PyObject *redact_ascii(PyObject *text, unsigned policy)
{
    struct gn_redacted result;
    size_t size = (size_t)PyUnicode_GET_LENGTH(text);
    if (!gn_redact((const char *)PyUnicode_1BYTE_DATA(text), size, policy, &result))
        return PyErr_NoMemory();
    if (result.bytes == NULL)
        return Py_NewRef(text);
    PyObject *redacted = PyUnicode_DecodeASCII(result.bytes, (Py_ssize_t)result.size, NULL);
    free(result.bytes);
    return redacted;
}

static PyObject *redact_bytes(PyObject *bytes, unsigned policy)
{
    struct gn_redacted result;
    if (!gn_redact(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes), policy, &result))
        return PyErr_NoMemory();
    if (result.bytes == NULL)
        return Py_NewRef(bytes);
    PyObject *redacted = PyBytes_FromStringAndSize(result.bytes, (Py_ssize_t)result.size);
    free(result.bytes);
    return redacted;
}

static PyObject *redact_unicode(PyObject *text, unsigned policy)
{
    /* Not the UTF-8 that CPython keeps with the string: it would stay as long as that. */
    PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    PyObject *redacted = bytes == NULL ? NULL : redact_bytes(bytes, policy);
    PyObject *result = NULL;
    if (redacted == bytes)
        result = Py_XNewRef(redacted == NULL ? NULL : text);
    else if (redacted != NULL)
        result = PyUnicode_FromEncodedObject(redacted, "utf-8", "surrogatepass");
    Py_XDECREF(redacted);
    Py_XDECREF(bytes);
    return result;
}

/* New reference, or NULL with an exception set. */
static PyObject *redact_checked(PyObject *value, unsigned policy)
{
    if (PyBytes_CheckExact(value))
        return redact_bytes(value, policy);
    if (!PyUnicode_Check(value) || !may_hold_secret(value))
        return Py_NewRef(value);
    return PyUnicode_IS_ASCII(value) ? redact_ascii(value, policy) : redact_unicode(value, policy);
}

static PyObject *or_unchecked(PyObject *value)
{
    if (value != NULL)
        return value;
    internal_error("redaction");
    return Py_NewRef(unchecked);
}

PyObject *redact_value(PyObject *value, unsigned policy)
{
    return or_unchecked(redact_checked(value, policy));
}

/* ---- fields ---- */

static long name_rule(PyObject *name)
{
    PyObject *known = PyDict_GetItemWithError(name_rules, name);
    if (known != NULL)
        return PyLong_AsLong(known);
    if (PyErr_Occurred())
        return -1;
    enum gn_secret kind = GN_SECRET_SECRET;
    enum gn_name_rule rule = GN_NAME_PLAIN;
    if (PyUnicode_IS_ASCII(name)) /* no secret word is anything else */
        rule = gn_redact_name((const char *)PyUnicode_1BYTE_DATA(name),
                              (size_t)PyUnicode_GET_LENGTH(name), &kind);
    long both = (long)rule | (long)kind << 8;
    if (PyDict_GET_SIZE(name_rules) >= FIELDS_KNOWN)
        PyDict_Clear(name_rules);
    PyObject *number = PyLong_FromLong(both);
    int kept = number == NULL ? -1 : PyDict_SetItem(name_rules, name, number);
    Py_XDECREF(number);
    return kept < 0 ? -1 : both;
}

bool is_credential(PyObject *value)
{
    return PyUnicode_Check(value) && PyUnicode_IS_ASCII(value) &&
           gn_looks_like_credential((const char *)PyUnicode_1BYTE_DATA(value),
                                    (size_t)PyUnicode_GET_LENGTH(value));
}

/* Whether the name of the field alone hides what it holds. */
static bool hidden_by_name(PyObject *value, enum gn_name_rule rule, enum gn_secret kind)
{
    if (rule == GN_NAME_PLAIN || value == Py_None || PyBool_Check(value))
        return false;
    if (rule == GN_NAME_CHECKED)
        return is_credential(value);
    if (PyUnicode_Check(value))
        return PyUnicode_GET_LENGTH(value) > 0;
    /* A number may be a PIN; it is no key and no token, but the id of one. */
    return PyBytes_Check(value) || kind == GN_SECRET_PASSWORD || kind == GN_SECRET_SECRET;
}

static PyObject *by_patterns(PyObject *value)
{
    if (settings.patterns == NULL || value == NULL || !PyUnicode_Check(value))
        return value;
    PyObject *result = PyObject_CallOneArg(settings.patterns, value);
    if (result != NULL && !PyUnicode_CheckExact(result)) {
        Py_DECREF(result);
        PyErr_SetString(PyExc_TypeError, "the patterns of a redaction policy made no str");
        result = NULL;
    }
    Py_DECREF(value);
    return result;
}

static PyObject *redact_named(PyObject *name, PyObject *value)
{
    long policy = (long)settings.policy;
    PyObject *own = NULL;
    if (name != NULL && settings.fields != NULL) {
        own = PyDict_GetItemWithError(settings.fields, name);
        if (own != NULL)
            policy = PyLong_AsLong(own);
        if (PyErr_Occurred())
            return NULL;
    }
    if (policy & HIDDEN)
        return Py_NewRef(value == Py_None ? value : replacements[GN_SECRET_FIELD]);
    if (name != NULL && own == NULL && policy & GN_REDACT_NAMED) {
        long rule = name_rule(name);
        if (rule < 0)
            return NULL;
        if (hidden_by_name(value, (enum gn_name_rule)(rule & 0xff), (enum gn_secret)(rule >> 8)))
            return Py_NewRef(replacements[rule >> 8]);
    }
    if (policy == 0)
        return Py_NewRef(value);
    return by_patterns(redact_checked(value, (unsigned)policy));
}

PyObject *redact_field(PyObject *name, PyObject *value)
{
    return or_unchecked(redact_named(name, value));
}

/* ---- what Python sees ---- */

/* redact(str or bytes, policy) -> the same without its secrets */
PyObject *redact(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2 || !(PyUnicode_Check(args[0]) || PyBytes_CheckExact(args[0]))) {
        PyErr_SetString(PyExc_TypeError, "redact() takes a str or bytes, and a policy");
        return NULL;
    }
    unsigned long policy = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    return redact_checked(args[0], (unsigned)policy);
}

/* redact_field(name or None, value) -> what may be recorded of it */
PyObject *redact_one_field(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2 || !(args[0] == Py_None || PyUnicode_CheckExact(args[0]))) {
        PyErr_SetString(PyExc_TypeError, "redact_field() takes a name or None, and a value");
        return NULL;
    }
    return redact_field(args[0] == Py_None ? NULL : args[0], args[1]);
}

/* redact_configure(policy, fields or None, patterns or None) */
PyObject *redact_configure(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3 || !(args[1] == Py_None || PyDict_CheckExact(args[1]))) {
        PyErr_SetString(PyExc_TypeError,
                        "redact_configure() takes a policy, a dict of fields, and patterns");
        return NULL;
    }
    unsigned long policy = PyLong_AsUnsignedLong(args[0]);
    if (PyErr_Occurred())
        return NULL;
    PyObject *fields = args[1] == Py_None ? NULL : PyDict_Copy(args[1]);
    if (fields == NULL && args[1] != Py_None)
        return NULL;
    PyObject *patterns = args[2] == Py_None ? NULL : Py_NewRef(args[2]);
    settings.policy = (unsigned)policy;
    PyObject *fields_before = settings.fields, *patterns_before = settings.patterns;
    settings.fields = fields;
    settings.patterns = patterns;
    Py_XDECREF(fields_before);
    Py_XDECREF(patterns_before);
    Py_RETURN_NONE;
}

/* parameter_rule(name) -> enum parameter_rule */
PyObject *parameter_rule(PyObject *module, PyObject *name)
{
    (void)module;
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "a name of a parameter must be str");
        return NULL;
    }
    if (!PyUnicode_IS_ASCII(name))
        return PyLong_FromLong(PARAMETER_PLAIN);
    return PyLong_FromLong((long)gn_redact_name((const char *)PyUnicode_1BYTE_DATA(name),
                                                (size_t)PyUnicode_GET_LENGTH(name), NULL));
}

_Static_assert((int)GN_NAME_SECRET == (int)PARAMETER_MASKED &&
                   (int)GN_NAME_CHECKED == (int)PARAMETER_CHECKED,
               "the rules of names and of parameters are the same");

/* redactions() -> what stands for a secret of each kind, by its number */
PyObject *redactions(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *all = PyTuple_New(GN_SECRET_COUNT);
    for (int kind = 0; all != NULL && kind < GN_SECRET_COUNT; kind++)
        PyTuple_SET_ITEM(all, kind, Py_NewRef(replacements[kind]));
    return all;
}

int redact_init(void)
{
    name_rules = PyDict_New();
    unchecked = PyUnicode_InternFromString("[redacted unchecked]");
    if (name_rules == NULL || unchecked == NULL)
        return -1;
    for (int kind = 0; kind < GN_SECRET_COUNT; kind++) {
        replacements[kind] = PyUnicode_InternFromString(gn_secret_name((enum gn_secret)kind));
        if (replacements[kind] == NULL)
            return -1;
    }
    return 0;
}
