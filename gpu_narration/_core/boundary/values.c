/* Python values as record bytes.
 *
 * While a record is open only plain values are written (value_is_plain): they
 * need no Python code.  Anything else is first turned into a plain summary: its
 * type and, for the kinds known to _summary.py, a few facts.  No __repr__,
 * __str__ or property of the program's own classes is ever called. */
#include "boundary.h"

#define TYPE_RULES 4096 /* types remembered at most */
#define BIGINT_BITS 600 /* an int up to this size is kept whole */

static PyObject *type_rules; /* dict: type -> what _summary.py said of it */
PyTypeObject *address_type;

uint8_t *put_string(uint8_t *p, const uint8_t *end, PyObject *text, size_t keep)
{
    if (p == NULL)
        return NULL;
    size_t length = (size_t)PyUnicode_GET_LENGTH(text);
    if (PyUnicode_IS_ASCII(text))
        return gn_put_utf8(p, end, (const char *)PyUnicode_1BYTE_DATA(text), length, keep);
    return gn_put_text(p, end, PyUnicode_DATA(text), (unsigned)PyUnicode_KIND(text), length, keep);
}

uint8_t *put_named(uint8_t *p, const uint8_t *end, enum gn_tag tag, PyObject *text)
{
    uint8_t bytes[2 + 255 + 16];
    /* Through UTF-8 once more: it may carry any characters. */
    uint8_t *after = put_string(bytes, bytes + sizeof bytes, text, 240);
    if (p == NULL || after == NULL)
        return NULL;
    size_t head = bytes[0] == GN_STR8 ? 2 : bytes[0] == GN_STR16 ? 3 : 11;
    return gn_put_short(p, end, tag, bytes + head, (size_t)(after - bytes) - head);
}

/* Two's complement, little endian.  Nothing here may fail with an exception or
 * make text of the number: both can let the collector and signal handlers run,
 * and a record is open. */
static bool int_bytes(PyObject *value, uint8_t *bytes, size_t length)
{
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_AsNativeBytes(value, bytes, (Py_ssize_t)length,
                                Py_ASNATIVEBYTES_LITTLE_ENDIAN) >= 0;
#else
    return _PyLong_AsByteArray((PyLongObject *)value, bytes, length, 1, 1) == 0;
#endif
}

static uint8_t *put_big(uint8_t *p, const uint8_t *end, PyObject *value)
{
    uint8_t bytes[BIGINT_BITS / 8 + 1];
    size_t bits = (size_t)_PyLong_NumBits(value);
    if (bits > BIGINT_BITS) {
        char text[64];
        int length = PyOS_snprintf(text, sizeof text, "<int, %zu bits>", bits);
        return gn_put_short(p, end, GN_OBJECT, text, (size_t)length);
    }
    size_t length = bits / 8 + 1; /* with room for the sign */
    if (!int_bytes(value, bytes, length))
        return gn_put_tag(p, end, GN_ABSENT);
    bool negative = (bytes[length - 1] & 0x80u) != 0;
    if (!negative && bits <= 64) {
        uint64_t wide = 0;
        memcpy(&wide, bytes, length < 8 ? length : 8);
        return gn_put_wide(p, end, GN_U64, wide);
    }
    return gn_put_short(p, end, GN_BIGINT, bytes, length);
}

uint8_t *put_value_slow(uint8_t *p, const uint8_t *end, PyObject *value, bool object)
{
    if (value == Py_None)
        return gn_put_tag(p, end, GN_NONE);
    if (value == Py_True)
        return gn_put_tag(p, end, GN_TRUE);
    if (value == Py_False)
        return gn_put_tag(p, end, GN_FALSE);
    if (PyFloat_CheckExact(value))
        return gn_put_double(p, end, PyFloat_AS_DOUBLE(value));
    if (PyUnicode_Check(value))
        return object ? put_named(p, end, GN_OBJECT, value) : put_string(p, end, value, GN_TEXT_MAX);
    if (Py_IS_TYPE(value, address_type))
        return gn_put_wide(p, end, GN_POINTER, PyLong_AsUnsignedLongLongMask(value));
    if (PyBytes_CheckExact(value))
        return gn_put_bytes(p, end, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
    if (PyLong_CheckExact(value)) {
        int64_t number;
        return int_fits(value, &number) ? gn_put_int(p, end, number) : put_big(p, end, value);
    }
    return gn_put_tag(p, end, GN_ABSENT);
}

uint8_t *put_cut(uint8_t *p, Py_ssize_t left)
{
    uint16_t count = left < UINT16_MAX ? (uint16_t)left : UINT16_MAX;
    *p = GN_CUT;
    memcpy(p + 1, &count, 2);
    return p + 3;
}

/* ---- summaries ---- */

static PyObject *type_rule(PyObject *value)
{
    PyObject *type = (PyObject *)Py_TYPE(value);
    /* A metaclass with a hash of its own is the program's code. */
    bool hashable = Py_TYPE(type)->tp_hash == PyType_Type.tp_hash;
    PyObject *rule = hashable ? PyDict_GetItemWithError(type_rules, type) : NULL;
    if (rule != NULL || core.hooks.summarise == NULL)
        return Py_XNewRef(rule);
    rule = PyObject_CallOneArg(core.hooks.summarise, type);
    if (rule != NULL && hashable && PyDict_GET_SIZE(type_rules) < TYPE_RULES)
        (void)PyDict_SetItem(type_rules, type, rule);
    return rule;
}

static PyObject *container_summary(PyObject *value)
{
    if (PyList_CheckExact(value))
        return PyUnicode_FromFormat("list[%zd]", PyList_GET_SIZE(value));
    if (PyTuple_CheckExact(value))
        return PyUnicode_FromFormat("tuple[%zd]", PyTuple_GET_SIZE(value));
    if (PyDict_CheckExact(value))
        return PyUnicode_FromFormat("dict[%zd]", PyDict_GET_SIZE(value));
    if (PyAnySet_CheckExact(value))
        return PyUnicode_FromFormat("set[%zd]", PySet_GET_SIZE(value));
    return NULL;
}

/* An object whose facts cannot be read: half made, closed, or with attributes of
 * the program's own that raise.  Takes the exception that is set. */
static PyObject *unreadable_summary(PyObject *value)
{
    char error[64];
    PyOS_snprintf(error, sizeof error, "%.60s", ((PyTypeObject *)PyErr_Occurred())->tp_name);
    contain();
    return PyUnicode_FromFormat("<%.120s, unreadable: %s>", Py_TYPE(value)->tp_name, error);
}

/* What the value's own memory holds, as an int: that of a pointer's object is the address.
 * The memory behind it is not looked at. */
static PyObject *held_address(PyObject *value)
{
    Py_buffer memory;
    if (PyObject_GetBuffer(value, &memory, PyBUF_SIMPLE) < 0)
        return NULL;
    void *address = NULL;
    if (memory.len >= (Py_ssize_t)sizeof address)
        memcpy(&address, memory.buf, sizeof address);
    PyBuffer_Release(&memory);
    return PyLong_FromVoidPtr(address);
}

static PyObject *address_summary(PyObject *value)
{
    PyObject *number = held_address(value);
    PyObject *shown = number == NULL ? NULL
                                     : PyObject_CallOneArg((PyObject *)address_type, number);
    Py_XDECREF(number);
    return shown;
}

PyObject *address_number(PyObject *value)
{
    if (value_is_plain(value))
        return NULL;
    PyObject *rule = type_rule(value);
    PyObject *number = rule == (PyObject *)address_type ? held_address(value) : NULL;
    Py_XDECREF(rule);
    contain(); /* its summary will tell */
    return number;
}

static PyObject *ruled_summary(PyObject *value)
{
    PyObject *rule = type_rule(value);
    if (PyErr_Occurred())
        (void)internal_error("summary of a type");
    if (rule == (PyObject *)address_type) {
        Py_DECREF(rule);
        PyObject *shown = address_summary(value);
        return shown != NULL ? shown : unreadable_summary(value);
    }
    if (rule == NULL || rule == Py_None || PyUnicode_CheckExact(rule))
        return rule;
    PyObject *summary = PyObject_CallOneArg(rule, value);
    Py_DECREF(rule);
    return summary != NULL ? summary : unreadable_summary(value);
}

PyObject *summarise(PyObject *value, bool *object)
{
    *object = false;
    if (value_is_plain(value))
        return Py_NewRef(value);
    PyObject *summary = container_summary(value);
    if (summary == NULL && !PyErr_Occurred())
        summary = ruled_summary(value);
    contain(); /* no memory for a summary: perhaps for a shorter one */
    if (summary == NULL || summary == Py_None || !value_is_plain(summary))
        Py_XSETREF(summary, PyUnicode_FromFormat("<%.200s>", Py_TYPE(value)->tp_name));
    if (summary == NULL) {
        contain();
        return Py_NewRef(Py_None);
    }
    *object = PyUnicode_CheckExact(summary) && !PyUnicode_Check(value);
    return summary;
}

bool summaries_make(struct summaries *summaries, const struct values *values)
{
    PyObject **owned = PyMem_Malloc((size_t)values->count * sizeof *owned);
    if (owned == NULL) {
        core.suppressed++;
        return false;
    }
    summaries->plain.objects = 0;
    for (Py_ssize_t i = 0; i < values->count; i++) {
        bool object;
        owned[i] = summarise(values->items[i], &object);
        if (object && i < 64)
            summaries->plain.objects |= 1ull << i;
    }
    summaries->owned = owned;
    summaries->plain.items = owned;
    return true;
}

void summaries_release(struct summaries *summaries)
{
    for (Py_ssize_t i = 0; i < summaries->plain.count; i++)
        Py_DECREF(summaries->owned[i]);
    PyMem_Free(summaries->owned);
    summaries->owned = NULL;
}

static PyType_Slot address_slots[] = {
    {Py_tp_doc, (void *)"An address: an int that a trace shows in hex."},
    {0, NULL},
};

static PyType_Spec address_spec = {
    .name = "gpu_narration._core._core.Address",
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = address_slots,
};

int values_init(PyObject *module)
{
    type_rules = PyDict_New();
    address_type = (PyTypeObject *)PyType_FromSpecWithBases(&address_spec,
                                                            (PyObject *)&PyLong_Type);
    if (type_rules == NULL || address_type == NULL)
        return -1;
    return PyModule_AddObjectRef(module, "Address", (PyObject *)address_type);
}
