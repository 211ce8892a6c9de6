/* Named values of an event: collected first, made plain, then written.
 *
 * Three steps, since only the second may run Python code: collecting must not see
 * its dict change, and writing happens in an open record. */
#include "boundary.h"

#define FIELDS_MAX 256 /* the record tells how many more there were */

void fields_begin(struct fields *fields)
{
    fields->count = 0;
    fields->left_out = 0;
    fields->room = FIELDS_NEAR;
    fields->items = fields->near_items;
}

void fields_release(struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        Py_DECREF(fields->items[i].key);
        Py_DECREF(fields->items[i].value);
    }
    if (fields->items != fields->near_items)
        PyMem_Free(fields->items);
    fields_begin(fields);
}

static bool fields_grow(struct fields *fields)
{
    struct field *items = PyMem_Malloc(FIELDS_MAX * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return false;
    }
    memcpy(items, fields->items, (size_t)fields->count * sizeof *items);
    fields->items = items;
    fields->room = FIELDS_MAX;
    return true;
}

bool fields_add(struct fields *fields, PyObject *key, PyObject *value)
{
    if (UNLIKELY(fields->count == fields->room)) {
        if (fields->room == FIELDS_MAX) {
            fields->left_out++;
            return true;
        }
        if (!fields_grow(fields))
            return false;
    }
    fields->items[fields->count++] =
        (struct field){Py_NewRef(key), Py_NewRef(value), FIELD_AS_IT_IS};
    return true;
}

bool fields_add_dict(struct fields *fields, PyObject *dict)
{
    if (dict == NULL || dict == Py_None)
        return true;
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "fields must be a dict or None");
        return false;
    }
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        if (!PyUnicode_Check(key)) {
            PyErr_SetString(PyExc_TypeError, "names of fields must be str");
            return false;
        }
        if (!fields_add(fields, key, value))
            return false;
    }
    return true;
}

void fields_summarise(struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        struct field *field = &fields->items[i];
        if (LIKELY(value_is_plain(field->value)))
            continue;
        bool object;
        Py_SETREF(field->value, summarise(field->value, &object));
        field->form = object ? FIELD_OBJECT : FIELD_AS_IT_IS;
    }
}

bool fields_make(struct fields *fields, PyObject *dict)
{
    fields_begin(fields);
    if (!fields_add_dict(fields, dict)) {
        fields_release(fields);
        return false;
    }
    fields_summarise(fields);
    return true;
}

/* A name of a field by its id where it is a constant, else in full. */
uint8_t *put_key(uint8_t *p, const uint8_t *end, PyObject *key)
{
    uint32_t id = string_constant_id(key);
    if (id != 0)
        return gn_put_ref(p, end, GN_KEY, id);
    return put_named(p, end, GN_NAME, key);
}

bool fields_put(struct event *event, const struct fields *fields)
{
    for (Py_ssize_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->items[i];
        uint8_t *p = put_key(event->p, event->end, field->key);
        if (p != NULL)
            p = field->form == FIELD_MASKED
                    ? gn_put_tag(p, event->end, GN_MASKED)
                    : put_value(p, event->end, field->value, field->form == FIELD_OBJECT);
        if (!event_advance(event, p, fields->count - i + fields->left_out))
            return false;
    }
    if (UNLIKELY(fields->left_out != 0)) {
        event->p = put_cut(event->p, fields->left_out);
        return false;
    }
    return true;
}
