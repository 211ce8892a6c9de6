/* What the foreign_*.c share: what is told of a foreign function, and its calls. */
#ifndef GN_FOREIGN_H
#define GN_FOREIGN_H

#include "boundary.h"

#define READS_MAX 4
struct foreign_read {
    PyObject *name; /* owned, interned */
    Py_ssize_t offset; /* bytes from the structure's beginning */
    bool through; /* a pointer stands there, to the first of as many as the first number says */
};
/* Numbers of a structure among the arguments; immutable. */
struct foreign_reads {
    PyTypeObject *type; /* owned: of the argument; no other is looked into */
    Py_ssize_t argument, needs; /* position; bytes that the structure must have */
    int64_t usual; /* first number of calls of which there is no more to tell */
    PyObject *usual_name, *usual_text; /* owned, or NULL: a field that such calls have */
    unsigned count;
    struct foreign_read items[READS_MAX];
};
struct numbers {
    unsigned count;
    int64_t value[READS_MAX];
    bool known[READS_MAX];
    bool usual; /* the first is the usual one, and the others are known and not 0 */
};
bool reads_take(const struct foreign_reads *reads, PyObject *const *args, Py_ssize_t nargs,
                struct numbers *numbers);
bool put_numbers(struct event *event, const struct foreign_reads *reads,
                 const struct numbers *numbers);
void reads_free(struct foreign_reads *reads);

/* How the calls of one foreign function are recorded; immutable but for asked_tick. */
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
    struct foreign_reads *reads; /* owned, or NULL */
    int64_t pace_ns; /* `after` is asked once in that time at most */
    uint64_t asked_tick; /* when it was last; under the GIL */
};
#define FOREIGN_RESULT_BIT (1ull << 63)
struct foreign_call {
    struct scope scope;
    struct foreign *foreign; /* owned */
    PyObject *args; /* owned tuple, or NULL while no hook needs one */
    PyObject *begun; /* owned, or NULL: what `before` gave */
    bool usual; /* its numbers say so: recorded without the hook `before` */
    long errno_before;
};
/* How many hooks of foreign functions run in this thread: calls inside are not recorded. */
extern __thread unsigned foreign_hooks_running THREAD_MODEL;
/* Calls what a preset gave; NULL with nothing set if it failed. */
PyObject *foreign_ask(PyObject *callable, PyObject *const *args, size_t nargs);
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
    if (UNLIKELY(foreign->flags != 0)) /* FOREIGN_STREAMS: what is simple has no other */
        core.foreign_streams++; /* filtered out or not */
    if (!site_wanted(site))
        return false;
    scope->id = 0;
    struct event event;
    if (UNLIKELY(!event_begin(&event, site->id)))
        return true;
    uint8_t *p = nargs <= SHORT_VALUES_MAX ? event.p : NULL;
    for (Py_ssize_t i = 0; p != NULL && i < nargs; i++)
        p = put_short_value(p, args[i]);
    if (LIKELY(p != NULL)) {
        event.p = p;
    } else {
        struct values values = {args, nargs, 0};
        if (!values_are_plain(&values)) { /* what was not committed was never begun */
            foreign_open_summaries(scope, site, &values);
            return true;
        }
        (void)event_put_values(&event, &values, 0);
    }
    struct thread_state *thread = event.thread;
    uint64_t tick = event.tick;
    int64_t id = event_commit(&event);
    scope_opened(scope, thread, site, id, tick, true);
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
