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

/* CPython looks at the character at `start` without asking whether `object` is a
 * string and has one there. */
static bool unicode_error_shows_plain(const PyUnicodeErrorObject *error, bool decoding)
{
    PyObject *const shown[] = {error->encoding, error->reason};
    if (error->object == NULL)
        return true; /* half made: shows nothing */
    return error->start >= 0 && all_plain(shown, 2) &&
           (decoding ? PyBytes_CheckExact(error->object) : PyUnicode_CheckExact(error->object));
}

bool error_shows_plain(PyObject *error)
{
    bool decoding = is_a(error, PyExc_UnicodeDecodeError);
    if (decoding || is_a(error, PyExc_UnicodeEncodeError) ||
        is_a(error, PyExc_UnicodeTranslateError))
        return unicode_error_shows_plain((PyUnicodeErrorObject *)error, decoding);
    if (is_a(error, PyExc_BaseExceptionGroup)) {
        const PyBaseExceptionGroupObject *group = (PyBaseExceptionGroupObject *)error;
        return all_plain(&group->msg, 1);
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
