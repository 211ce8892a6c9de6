/* What the foreign_*.c share: what is told of a foreign function, and its calls. */
#ifndef GN_FOREIGN_H
#define GN_FOREIGN_H

#include "boundary.h"

/* How the calls of one foreign function are recorded; immutable. */
struct foreign {
    PyObject ob_base;
    struct site *site;
    unsigned flags; /* enum scope_flags */
    bool simple; /* nothing but names and streams is told: foreign_open and foreign_close do */
    bool plain; /* arguments need nothing but their values */
    bool told; /* one of the objects below is there */
    uint64_t addresses; /* bit i: an int as argument i is an address; FOREIGN_RESULT_BIT */
    PyObject *formatters; /* owned tuple, or NULL; an item may be None */
    PyObject *before, *after, *failure, *get_errno; /* owned, or NULL */
};
#define FOREIGN_RESULT_BIT (1ull << 63)
struct foreign_call {
    struct scope scope;
    struct foreign *foreign; /* owned */
    PyObject *args; /* owned tuple, or NULL while no hook needs one */
    PyObject *begun; /* owned, or NULL: what `before` gave */
    long errno_before;
};
/* How many hooks of foreign functions run in this thread: calls inside are not recorded. */
extern __thread unsigned foreign_hooks_running THREAD_MODEL;
/* Calls what a preset gave; NULL with nothing set if it failed. */
PyObject *foreign_ask(PyObject *callable, PyObject *const *args, size_t nargs);
/* The fields that a hook gave (a dict or NULL), plain; none where they cannot be had. */
void foreign_fields(struct fields *fields, PyObject *dict);
/* True if the call is to be recorded; then exactly one foreign_end follows.  `tuple`:
 * the positional arguments as one, where the caller has it, else NULL.  A keyword's value
 * stands behind the positional arguments, as in a vectorcall. */
bool foreign_begin(struct foreign_call *call, struct foreign *foreign, PyObject *tuple,
                   PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
void foreign_end(struct foreign_call *call, PyObject *result); /* NULL: it raised */

extern PyTypeObject *foreign_type;

/* ---- calls of functions of which nothing special is told ---- */

/* With arguments that are first to be summarised. */
void foreign_open_summaries(struct scope *scope, struct site *site, const struct values *values);

/* The foreign function may be let go of before the call ends; its site stays. */
static inline bool foreign_open(struct scope *scope, const struct foreign *foreign,
                                PyObject *const *args, Py_ssize_t nargs)
{
    struct site *site = foreign->site;
    core.foreign_streams += (foreign->flags & FOREIGN_STREAMS) != 0; /* filtered out or not */
    if (!site_ready(site))
        return false;
    scope->id = 0;
    struct values values = {args, nargs, 0};
    struct event event;
    if (UNLIKELY(!values_are_plain(&values))) {
        foreign_open_summaries(scope, site, &values);
    } else if (LIKELY(event_begin(&event, site->id))) {
        uint8_t *p = nargs <= SHORT_VALUES_MAX ? event.p : NULL;
        for (Py_ssize_t i = 0; p != NULL && i < nargs; i++)
            p = put_short_value(p, args[i]);
        if (LIKELY(p != NULL))
            event.p = p;
        else
            (void)event_put_values(&event, &values, 0);
        struct thread_state *thread = event.thread;
        uint64_t tick = event.tick;
        int64_t id = event_commit(&event);
        scope_opened(scope, thread, site, id, tick, true);
    }
    return true;
}

static inline void foreign_close(struct scope *scope, PyObject *result)
{
    if (LIKELY(result != NULL))
        scope_close_value(scope, result);
    else
        scope_close_raised(scope);
}

#endif
