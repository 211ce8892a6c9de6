/* What the filter says of a call site, and its sampling: of the events of a site that is
 * thinned one in so many is recorded, and the trace tells how many were left out. */
#include "boundary.h"

static PyObject *empty; /* "" */
static PyObject *sampled_out_key; /* "sampled_out" */
static struct site *thinned_sites; /* all that ever were */

/* What the filter said: the lowest level let through, and above its 8 bits how many
 * events of exactly that level one is recorded of. */
static void site_follow(struct site *site, long said, uint32_t generation)
{
    long lowest = said & 0xff, every = said >> 8;
    site->off = site->level < lowest;
    if (site->off || site->level != lowest || every < 2) {
        site->thinned = 0;
        site->judged = generation;
        return;
    }
    if (site->every == 0) {
        site->next_thinned = thinned_sites;
        thinned_sites = site;
    }
    site->every = (uint32_t)every;
    if (site->turn >= site->every)
        site->turn = site->every - 1;
    site->thinned = generation;
    site->judged = 0;
    core.tells = true;
}

/* What is called action in a directive: actor.action. */
static PyObject *site_action(const struct site *site)
{
    bool named = site->kind == GN_KIND_ENTER || site->kind == GN_KIND_EXIT ||
                 site->kind == GN_KIND_STATE;
    PyObject *action = site->names[named ? NAME_TARGET : NAME_ACTION];
    return action != NULL ? action : empty;
}

/* Asks the filter; a site whose actor comes with each record is judged by its
 * module alone.  The filter may change while it is asked: such an answer is not
 * taken, the site's next event asks again. */
static void site_judge(struct site *site)
{
    uint32_t generation = core.filter_generation;
    if (core.hooks.threshold == NULL) {
        site_follow(site, 0, generation);
        return;
    }
    PyObject *actor = site->names[NAME_ACTOR] != NULL ? site->names[NAME_ACTOR] : empty;
    PyObject *arguments[] = {site->module, actor, site_action(site)};
    PyObject *threshold = PyObject_Vectorcall(core.hooks.threshold, arguments, 3, NULL);
    long said = threshold == NULL ? 0 : PyLong_AsLong(threshold);
    Py_XDECREF(threshold);
    bool asked = !PyErr_Occurred();
    bool settled = asked || !internal_error("filter");
    if (generation == core.filter_generation) {
        site_follow(site, asked ? said : 0, generation);
        if (!settled) /* interrupted: this event is kept, and the next one asks again */
            site->judged = 0;
    }
}

bool site_ready_slow(struct site *site)
{
    if (site->judged != core.filter_generation && site->thinned != core.filter_generation)
        site_judge(site);
    /* The recording may have ended while Python code ran: here, or since the
     * caller looked. */
    if (site->off || core.generation == 0)
        return false;
    if (site->defined != core.generation)
        site_define(site);
    return true;
}

bool site_wanted_slow(struct site *site)
{
    if (!site_ready_slow(site))
        return false;
    if (site->thinned != core.filter_generation)
        return true;
    if (site->counted != core.generation) {
        site->counted = core.generation;
        site->sampled_out = 0;
        site->turn = 0;
    }
    if (site->turn == 0) {
        site->turn = site->every - 1;
        return true;
    }
    site->turn--;
    site->sampled_out++;
    core.sampled_out++;
    return false;
}

void site_tell(struct site *site, int64_t id)
{
    if (site->counted == core.generation &&
        annotate_count(id, sampled_out_key, site->sampled_out))
        site->sampled_out = 0;
}

/* Adds to the count under the site's name; false with an exception set. */
static bool add_rest(PyObject *fields, const struct site *site)
{
    PyObject *actor = site->names[NAME_ACTOR] != NULL ? site->names[NAME_ACTOR] : empty;
    PyObject *name = PyUnicode_FromFormat("%U.%U", actor, site_action(site));
    PyObject *before = name == NULL ? NULL : PyDict_GetItemWithError(fields, name);
    uint64_t count = site->sampled_out + (before == NULL ? 0 : PyLong_AsUnsignedLongLong(before));
    PyObject *sum = PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(count);
    bool added = sum != NULL && PyDict_SetItem(fields, name, sum) == 0;
    Py_XDECREF(name);
    Py_XDECREF(sum);
    return added;
}

void sites_tell_rest(void)
{
    PyObject *fields = NULL;
    bool made = true;
    for (struct site *site = thinned_sites; site != NULL && made; site = site->next_thinned) {
        if (site->counted != core.generation || site->sampled_out == 0)
            continue;
        made = (fields != NULL || (fields = PyDict_New()) != NULL) && add_rest(fields, site);
        site->sampled_out = 0;
    }
    if (made && fields != NULL)
        made = note_fields("sampled_out", fields) || !PyErr_Occurred();
    if (!made)
        internal_error("counts of sampling");
    Py_XDECREF(fields);
}

int filtering_init(void)
{
    empty = PyUnicode_InternFromString("");
    sampled_out_key = PyUnicode_InternFromString("sampled_out");
    return empty == NULL || sampled_out_key == NULL ? -1 : 0;
}
