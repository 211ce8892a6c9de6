/* Which exceptions can show themselves without running the program's code.
 *
 * Some of CPython's own print attributes beside their arguments, and a program may
 * have put anything there. */
#include "boundary.h"

static bool all_plain(PyObject *const *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] != NULL && !value_is_plain(values[i]))
            return false;
    return true;
}

static bool is_a(PyObject *error, PyObject *type)
{
    return PyType_IsSubtype(Py_TYPE(error), (PyTypeObject *)type);
}

bool error_shows_plain(PyObject *error)
{
    if (is_a(error, PyExc_UnicodeEncodeError) || is_a(error, PyExc_UnicodeDecodeError) ||
        is_a(error, PyExc_UnicodeTranslateError)) {
        const PyUnicodeErrorObject *unicode = (PyUnicodeErrorObject *)error;
        PyObject *const shown[] = {unicode->encoding, unicode->object, unicode->reason};
        return all_plain(shown, 3);
    }
    if (is_a(error, PyExc_ImportError)) {
        const PyImportErrorObject *import = (PyImportErrorObject *)error;
        return all_plain(&import->msg, 1);
    }
    if (is_a(error, PyExc_SyntaxError)) {
        const PySyntaxErrorObject *syntax = (PySyntaxErrorObject *)error;
        PyObject *const shown[] = {syntax->msg, syntax->filename, syntax->lineno};
        return all_plain(shown, 3);
    }
    return true;
}
