/* Where in the program a narration is made: its module, package, file and line.
 *
 * A call is known by its code object and instruction, and looked up once.  All tables
 * are bounded, for programs that make new code without end. */
#include "boundary.h"

#define PLACES 1024u /* power of two; calls whose origin is remembered */
#define LOCATIONS_MAX 8192u /* locations that get an id; those of endless new code do not */
#define EMITTERS_MAX 4096 /* modules whose package is remembered */

static PyObject *empty, *dunder_name; /* "", "__name__" */

struct place {
    PyObject *code; /* owned; NULL: free */
    int instruction;
    struct origin origin; /* owned */
    /* What the filter said last, so that a call that is kept out ends early. */
    PyObject *off_actor; /* owned, or NULL: it is not known to be kept out */
    PyObject *off_action; /* owned, where there is an actor */
    int off_level;
    uint32_t off_judged;
};
static struct place places[PLACES];
static PyObject *emitters; /* dict: module name -> "package@version" */
static uint32_t locations;

void origin_release(struct origin *origin)
{
    Py_CLEAR(origin->module);
    Py_CLEAR(origin->emitter);
    Py_CLEAR(origin->location);
}

static void origin_copy(struct origin *to, const struct origin *from)
{
    *to = *from;
    Py_XINCREF(to->module);
    Py_XINCREF(to->emitter);
    Py_XINCREF(to->location);
}

/* New reference; the module's own name where its package cannot be told. */
static PyObject *emitter_of(PyObject *module)
{
    PyObject *known = PyDict_GetItemWithError(emitters, module);
    if (known != NULL)
        return Py_NewRef(known);
    PyObject *found = NULL;
    if (core.hooks.emitter != NULL) {
        found = PyObject_CallOneArg(core.hooks.emitter, module);
        if (found == NULL)
            (void)internal_error("package of a module");
    }
    if (found == NULL || !PyUnicode_CheckExact(found)) {
        Py_XSETREF(found, Py_NewRef(module));
        return found; /* asked again next time */
    }
    PyUnicode_InternInPlace(&found);
    if (PyDict_GET_SIZE(emitters) < EMITTERS_MAX)
        (void)PyDict_SetItem(emitters, module, found);
    contain(); /* no memory: it is only looked up again */
    return found;
}

/* Gives the location an id if it has one already or the quota lets it. */
static void origin_settle(struct origin *origin)
{
    if (locations < LOCATIONS_MAX)
        PyUnicode_InternInPlace(&origin->location);
    origin->location_is_constant = string_known(origin->location);
    if (!origin->location_is_constant && locations < LOCATIONS_MAX) {
        locations++;
        origin->location_is_constant = true;
    }
}

bool origin_make(struct origin *origin, PyObject *module, PyObject *location)
{
    memset(origin, 0, sizeof *origin);
    if (module == NULL || location == NULL || !PyUnicode_CheckExact(module)) {
        Py_XDECREF(module);
        Py_XDECREF(location);
        contain();
        return false;
    }
    PyUnicode_InternInPlace(&module);
    origin->module = module;
    origin->location = location;
    origin->emitter = emitter_of(module);
    origin_settle(origin);
    return true;
}

/* Borrowed.  The namespace itself is kept nowhere, so its address would tell nothing. */
static PyObject *module_of(PyObject *globals)
{
    PyObject *name = PyDict_GetItemWithError(globals, dunder_name);
    if (UNLIKELY(name == NULL))
        contain(); /* a key that cannot be compared */
    return name != NULL && PyUnicode_CheckExact(name) ? name : empty;
}

static bool same_text(PyObject *one, PyObject *other)
{
    return one == other || PyUnicode_Compare(one, other) == 0;
}

static bool origin_of_frame(struct origin *origin, PyFrameObject *frame, PyObject *code,
                            PyObject *module)
{
    PyObject *file = ((PyCodeObject *)code)->co_filename;
    PyObject *location = PyUnicode_FromFormat("%U:%d", file, PyFrame_GetLineNumber(frame));
    return origin_make(origin, Py_NewRef(module), location);
}

/* The frame `stacklevel` up, or the outermost; NULL where no Python code called. */
static PyFrameObject *frame_at(long stacklevel)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != NULL && --stacklevel > 0) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (back == NULL)
            break;
        Py_SETREF(frame, back);
    }
    return frame;
}

/* Finds the place of a frame.  Its slot may come to be another's whenever Python code
 * runs, so the origin is copied out of it. */
static struct place *place_of(PyFrameObject *frame, struct origin *origin)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    PyObject *globals = PyFrame_GetGlobals(frame);
    int instruction = PyFrame_GetLasti(frame);
    uint64_t hash = site_mix((uint64_t)instruction << 20, code);
    struct place *place = &places[site_fold(hash) & (PLACES - 1)];
    PyObject *module = module_of(globals);
    /* The same code may run in several namespaces. */
    if (UNLIKELY(place->code != code || place->instruction != instruction ||
                 !same_text(place->origin.module, module))) {
        struct place found = {.code = code, .instruction = instruction};
        if (origin_of_frame(&found.origin, frame, code, module)) {
            struct place before = *place;
            Py_INCREF(code);
            *place = found;
            Py_XDECREF(before.code);
            Py_XDECREF(before.off_actor);
            Py_XDECREF(before.off_action);
            origin_release(&before.origin);
        } else {
            place = NULL;
        }
    }
    if (place != NULL)
        origin_copy(origin, &place->origin);
    Py_DECREF(globals);
    Py_DECREF(code);
    return place;
}

bool place_keeps_out(const struct place *place, PyObject *const *names, long level)
{
    return place->off_actor == names[NAME_ACTOR] && place->off_action == names[NAME_ACTION] &&
           place->off_level == level && place->off_judged == core.filter_generation;
}

/* `place` may have come to be another's: then its origin is another. */
void place_keep_out(struct place *place, const struct origin *origin, const struct site *site)
{
    /* One that comes with each record is not what the filter judged. */
    if (place == NULL || place->origin.location != origin->location ||
        site->names[NAME_ACTOR] == NULL || site->names[NAME_ACTION] == NULL)
        return;
    place->off_level = site->level;
    place->off_judged = site->judged;
    Py_XSETREF(place->off_actor, Py_NewRef(site->names[NAME_ACTOR]));
    Py_XSETREF(place->off_action, Py_NewRef(site->names[NAME_ACTION]));
}

struct place *place_here(long stacklevel, struct origin *origin)
{
    memset(origin, 0, sizeof *origin);
    PyFrameObject *frame = frame_at(stacklevel);
    struct place *place = frame == NULL ? NULL : place_of(frame, origin);
    Py_XDECREF(frame);
    if (UNLIKELY(origin->module == NULL))
        (void)origin_make(origin, Py_NewRef(empty), Py_NewRef(empty));
    return place;
}

int origin_init(void)
{
    empty = PyUnicode_InternFromString("");
    dunder_name = PyUnicode_InternFromString("__name__");
    emitters = PyDict_New();
    return empty == NULL || dunder_name == NULL || emitters == NULL ? -1 : 0;
}
