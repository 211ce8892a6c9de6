/* Numbers that are read out of a structure among the arguments of a foreign call.
 *
 * They stand as fields in the span's first record.  Reading them here instead of in a
 * hook is what makes a call of some microseconds worth describing. */
#include "foreign.h"

#include <string.h>

/* The memory of a ctypes object is its own, at a fixed address, as long as it lives; the
 * buffer protocol is its documented way there. */
static const char *memory_of(const struct foreign_reads *reads, PyObject *object, Py_buffer *view)
{
    if (!Py_IS_TYPE(object, reads->type) && !PyType_IsSubtype(Py_TYPE(object), reads->type))
        return NULL;
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) {
        contain();
        return NULL;
    }
    if (view->len >= reads->needs)
        return view->buf;
    PyBuffer_Release(view);
    return NULL;
}

static bool are_usual(const struct foreign_reads *reads, const struct numbers *numbers)
{
    if (numbers->value[0] != reads->usual)
        return false;
    for (unsigned i = 0; i < numbers->count; i++)
        if (!numbers->known[i] || numbers->value[i] == 0)
            return false;
    return true;
}

bool reads_take(const struct foreign_reads *reads, PyObject *const *args, Py_ssize_t nargs,
                struct numbers *numbers)
{
    Py_buffer view;
    numbers->count = 0;
    if (reads->argument >= nargs)
        return false;
    const char *memory = memory_of(reads, args[reads->argument], &view);
    if (memory == NULL)
        return false;
    for (unsigned i = 0; i < reads->count; i++) {
        const char *at = memory + reads->items[i].offset;
        if (reads->items[i].through) {
            memcpy(&at, at, sizeof at);
            /* The first number says how many there are behind the pointer. */
            if (numbers->count == 0 || numbers->value[0] <= 0)
                at = NULL;
        }
        int32_t value = 0;
        if (at != NULL)
            memcpy(&value, at, sizeof value);
        numbers->value[i] = value;
        numbers->known[i] = at != NULL;
        numbers->count = i + 1;
    }
    PyBuffer_Release(&view);
    numbers->usual = are_usual(reads, numbers);
    return true;
}

bool put_numbers(struct event *event, const struct foreign_reads *reads,
                 const struct numbers *numbers)
{
    for (unsigned i = 0; i < numbers->count; i++) {
        uint8_t *p = put_key(event->p, event->end, reads->items[i].name);
        if (p != NULL)
            p = numbers->known[i] ? gn_put_int(p, event->end, numbers->value[i])
                                  : gn_put_tag(p, event->end, GN_NONE);
        if (!event_advance(event, p, (Py_ssize_t)(numbers->count - i)))
            return false;
    }
    if (reads->usual_name == NULL || !numbers->usual)
        return true;
    uint8_t *p = put_key(event->p, event->end, reads->usual_name);
    if (p != NULL)
        p = put_string(p, event->end, reads->usual_text, GN_TEXT_MAX);
    return event_advance(event, p, 1);
}

static bool take_item(struct foreign_reads *reads, PyObject *item)
{
    struct foreign_read *read = &reads->items[reads->count];
    int through;
    if (!PyTuple_Check(item) ||
        !PyArg_ParseTuple(item, "Unp", &read->name, &read->offset, &through))
        return false;
    Py_INCREF(read->name);
    PyUnicode_InternInPlace(&read->name);
    read->through = through != 0;
    reads->count++;
    Py_ssize_t size = through ? (Py_ssize_t)sizeof(void *) : (Py_ssize_t)sizeof(int32_t);
    if (read->offset < 0 || read->offset > PY_SSIZE_T_MAX - size) {
        PyErr_Format(PyExc_ValueError, "no structure has the offset %zd", read->offset);
        return false;
    }
    Py_ssize_t end = read->offset + size;
    reads->needs = end > reads->needs ? end : reads->needs;
    return true;
}

static bool take_field(struct foreign_reads *reads, PyObject *field)
{
    if (!PyTuple_Check(field) ||
        !PyArg_ParseTuple(field, "UU", &reads->usual_name, &reads->usual_text))
        return false;
    Py_INCREF(reads->usual_name);
    Py_INCREF(reads->usual_text);
    PyUnicode_InternInPlace(&reads->usual_name);
    return true;
}

/* foreign_reads(foreign, type, argument, items, usual, field): once, before it is used.
 * Items are (name, offset, whether there is a pointer to the number); all are 32-bit
 * integers.  `field` is (name, text) of a field that usual calls have, or None. */
PyObject *foreign_reads(PyObject *module, PyObject *args)
{
    (void)module;
    struct foreign *foreign;
    PyObject *type, *items, *field;
    Py_ssize_t argument;
    long long usual;
    if (!PyArg_ParseTuple(args, "O!O!nO!LO", foreign_type, &foreign, &PyType_Type, &type,
                          &argument, &PyTuple_Type, &items, &usual, &field))
        return NULL;
    if (foreign->reads != NULL || argument < 0 || PyTuple_GET_SIZE(items) == 0 ||
        PyTuple_GET_SIZE(items) > READS_MAX) {
        PyErr_Format(PyExc_ValueError, "foreign_reads() takes 1 to %d numbers of an argument, once",
                     READS_MAX);
        return NULL;
    }
    struct foreign_reads *reads = PyMem_Calloc(1, sizeof *reads);
    if (reads == NULL)
        return PyErr_NoMemory();
    reads->type = (PyTypeObject *)Py_NewRef(type);
    reads->argument = argument;
    reads->usual = usual;
    bool taken = field == Py_None || take_field(reads, field);
    for (Py_ssize_t i = 0; taken && i < PyTuple_GET_SIZE(items); i++)
        taken = take_item(reads, PyTuple_GET_ITEM(items, i));
    if (!taken) {
        reads_free(reads);
        return NULL;
    }
    foreign->reads = reads;
    foreign->told = true;
    foreign->simple = false;
    Py_RETURN_NONE;
}

void reads_free(struct foreign_reads *reads)
{
    if (reads == NULL)
        return;
    for (unsigned i = 0; i < reads->count; i++)
        Py_DECREF(reads->items[i].name);
    Py_XDECREF(reads->usual_name);
    Py_XDECREF(reads->usual_text);
    Py_DECREF((PyObject *)reads->type);
    PyMem_Free(reads);
}
