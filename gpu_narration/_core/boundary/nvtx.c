/* Ranges and marks for an attached tool, through the nvtx package.
 *
 * Nothing here runs unless a bridge was configured (cuda/ranges.py), which
 * happens only with a tool attached.  The event attributes of a site are made
 * once; only the payload, our event id, changes.  Setting it and using it happen
 * without a bytecode in between, so no other thread can come in. */
#include "boundary.h"

static struct {
    PyObject *attributes; /* (kind, actor, action, target) -> event attributes */
    PyObject *mark, *push, *pop, *start, *end; /* the domain's bound methods */
    PyObject *payload; /* "payload" */
} bridge; /* all owned */

static PyObject *site_attributes(struct site *site)
{
    if (site->nvtx == NULL) {
        PyObject *names[NAME_COUNT];
        for (int i = 0; i < NAME_COUNT; i++)
            names[i] = site->names[i] != NULL ? site->names[i] : Py_None;
        site->nvtx = PyObject_CallFunction(bridge.attributes, "iOOO", (int)site->kind, names[0],
                                           names[1], names[2]);
    }
    return site->nvtx;
}

/* Calls `method` with the site's attributes carrying `id`; new reference. */
static PyObject *call_with_payload(PyObject *method, struct site *site, int64_t id)
{
    PyObject *attributes = site_attributes(site);
    PyObject *payload = attributes == NULL ? NULL : PyLong_FromLongLong(id);
    PyObject *result = NULL;
    if (payload != NULL && PyObject_SetAttr(attributes, bridge.payload, payload) == 0)
        result = PyObject_CallOneArg(method, attributes);
    Py_XDECREF(payload);
    if (result == NULL)
        internal_error("NVTX");
    return result;
}

static void pop(void)
{
    PyObject *result = PyObject_CallNoArgs(bridge.pop);
    if (result == NULL)
        internal_error("NVTX");
    Py_XDECREF(result);
}

/* Push/pop belongs to one OS thread: what another thread closed is popped here,
 * as soon as this one comes by. */
void nvtx_settle(struct thread_state *here)
{
    unsigned owed = atomic_exchange(&here->owed_pops, 0);
    while (owed-- > 0)
        pop();
}

void nvtx_mark(struct thread_state *here, struct site *site, int64_t id)
{
    nvtx_settle(here);
    Py_XDECREF(call_with_payload(bridge.mark, site, id));
}

void nvtx_open(struct scope *scope, struct thread_state *here, bool pushable)
{
    nvtx_settle(here);
    PyObject *result =
        call_with_payload(pushable ? bridge.push : bridge.start, scope->site, scope->id);
    if (pushable) {
        scope->pushed = result != NULL;
        Py_XDECREF(result);
    } else {
        scope->range = result;
    }
}

void nvtx_close(struct scope *scope, struct thread_state *here)
{
    if (here != NULL)
        nvtx_settle(here);
    if (scope->range != NULL) {
        PyObject *result = PyObject_CallOneArg(bridge.end, scope->range);
        if (result == NULL)
            internal_error("NVTX");
        Py_XDECREF(result);
        Py_CLEAR(scope->range);
    }
    if (scope->pushed)
        pop();
    scope->pushed = false;
}

int nvtx_configure(PyObject *source)
{
    struct {
        const char *name;
        PyObject **place;
    } parts[] = {
        {"attributes", &bridge.attributes}, {"mark", &bridge.mark},   {"push_range", &bridge.push},
        {"pop_range", &bridge.pop},         {"start_range", &bridge.start},
        {"end_range", &bridge.end},
    };
    core.nvtx_on = false; /* `tells` stays: a site may still have something to tell */
    if (source == Py_None)
        return 0; /* the methods stay: ranges that are open now must still end */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        PyObject *part = PyObject_GetAttrString(source, parts[i].name);
        if (part == NULL)
            return -1;
        Py_XSETREF(*parts[i].place, part);
    }
    if (bridge.payload == NULL && (bridge.payload = PyUnicode_InternFromString("payload")) == NULL)
        return -1;
    core.nvtx_on = true;
    core.tells = true;
    return 0;
}
