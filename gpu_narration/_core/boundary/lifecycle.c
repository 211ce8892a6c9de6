/* Recordings and threads: how they begin, how they end, and what a fork does.
 *
 * core.generation names the recording that runs; 0 is none.  Everything a thread
 * keeps carries the generation it belongs to, so ending a recording is one store
 * and nothing dangles: a thread that comes back finds that its slot is stale. */
#include "boundary.h"

#include <errno.h>
#include <unistd.h>

#define WAIT_MS 50u
#define STACK_RESERVE_MAX (256u * 1024)

struct core core = {.filter_generation = 1};
__thread struct thread_slot thread_slot THREAD_MODEL;

bool autostart_now(void)
{
    core.autostart = false;
    if (core.hooks.autostart == NULL)
        return false;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *done = PyObject_CallNoArgs(core.hooks.autostart);
    if (done == NULL && internal_error("start of the recording"))
        core.autostart = core.generation == 0; /* interrupted: the next event tries again */
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
    return core.generation != 0;
}

/* ---- threads ---- */

/* threading's own name for this thread, where it has one.  Its table is read
 * without its lock: an event may come from code that holds it. */
static PyObject *thread_name(void)
{
    PyObject *name = NULL, *active = NULL, *key = NULL;
    PyObject *module_name = PyUnicode_InternFromString("threading");
    PyObject *module = module_name == NULL ? NULL : PyImport_GetModule(module_name);
    if (module != NULL)
        active = PyObject_GetAttrString(module, "_active");
    if (active != NULL && PyDict_Check(active))
        key = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *thread = key == NULL ? NULL : PyDict_GetItemWithError(active, key);
    if (thread != NULL)
        name = PyObject_GetAttrString(thread, "_name");
    if (name != NULL && !PyUnicode_CheckExact(name))
        Py_CLEAR(name);
    Py_XDECREF(key);
    Py_XDECREF(active);
    Py_XDECREF(module);
    Py_XDECREF(module_name);
    contain(); /* no name, then */
    return name;
}

static void define_thread(const struct gn_writer *writer, PyObject *name)
{
    uint8_t values[512];
    const uint8_t *end = values + sizeof values;
    uint8_t *p = gn_put_int(values, end, writer->thread);
    p = gn_put_int(p, end, (int64_t)PyThread_get_thread_native_id());
    if (name != NULL)
        p = put_string(p, end, name, 200);
    if (p != NULL)
        (void)gn_recording_put(core.recording, GN_STREAM_DEFINITIONS, GN_SYS_THREAD, values,
                               (size_t)(p - values)); /* lost: the reader shows the number */
}

static void unlink_thread(struct thread_state *thread)
{
    if (thread->previous != NULL)
        thread->previous->next = thread->next;
    else
        core.threads = thread->next;
    if (thread->next != NULL)
        thread->next->previous = thread->previous;
}

/* Runs at the end of each thread that recorded, without the GIL. */
static void thread_ended(void *unused)
{
    (void)unused;
    (void)pthread_mutex_lock(&core.threads_lock);
    if (thread_slot.generation != 0 && thread_slot.generation == core.generation) {
        struct thread_state *thread = thread_slot.state;
        unlink_thread(thread);
        gn_writer_close(&thread->writer);
        PyMem_RawFree(thread);
    }
    thread_slot.generation = 0;
    (void)pthread_mutex_unlock(&core.threads_lock);
}

/* Numbers an OS thread for as long as it lives, over all recordings; never reused. */
uint64_t thread_key(void)
{
    static __thread uint64_t key;
    if (key == 0)
        key = ++core.next_thread_key;
    return key;
}

static void measure_stack(void)
{
    pthread_attr_t attributes;
    void *bottom;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (pthread_attr_getstack(&attributes, &bottom, &size) == 0) {
        thread_slot.stack_bottom = (uintptr_t)bottom;
        thread_slot.stack_reserve = size / 4 < STACK_RESERVE_MAX ? size / 4 : STACK_RESERVE_MAX;
    }
    (void)pthread_attr_destroy(&attributes); /* cannot fail on an initialised one */
}

struct thread_state *thread_attach(void)
{
    uint32_t generation = core.generation;
    if (generation == 0)
        return NULL;
    /* First of all: a property of the program's own thread class may answer, and
     * do anything, such as attaching this thread or ending the recording.  In one
     * that began instead, nothing that the caller's event needs is defined. */
    PyObject *name = thread_name();
    if (core.generation != generation) {
        Py_XDECREF(name);
        core.suppressed++;
        return NULL;
    }
    if (thread_slot.generation == generation) {
        Py_XDECREF(name);
        return thread_slot.state;
    }
    struct thread_state *thread = PyMem_RawCalloc(1, sizeof *thread);
    if (thread == NULL) {
        Py_XDECREF(name);
        core.suppressed++;
        return NULL;
    }
    if (thread_slot.stack_bottom == 0)
        measure_stack();
    thread->key = thread_key();
    thread->context_version = UINT64_MAX; /* look at the context first */
    (void)pthread_mutex_lock(&core.threads_lock);
    gn_writer_open(&thread->writer, &core.recording->ring, UINT32_MAX);
    thread->next = core.threads;
    if (core.threads != NULL)
        core.threads->previous = thread;
    core.threads = thread;
    thread_slot.state = thread;
    thread_slot.generation = core.generation;
    (void)pthread_mutex_unlock(&core.threads_lock);
    /* Without the key the ring keeps the thread's chunk until the recording ends. */
    (void)pthread_setspecific(core.thread_end, &core);
    define_thread(&thread->writer, name);
    Py_XDECREF(name);
    return thread;
}

/* Ends a stretch in which other threads may have run.  If the recording ended in
 * it, the thread's state was left to us to free. */
static bool come_back(struct thread_state *thread, uint32_t generation)
{
    thread->busy = false;
    if (core.generation == generation)
        return true;
    PyMem_RawFree(thread);
    core.suppressed++;
    return false;
}

bool thread_sync(struct thread_state *thread, PyThreadState *python)
{
    uint32_t generation = core.generation;
    bool nested = thread->busy;
    thread->busy = true;
    strand_sync(thread, python);
    if (!nested)
        return come_back(thread, generation);
    return core.generation == generation;
}

bool thread_make_room(struct thread_state *thread, size_t bytes)
{
    uint32_t generation = core.generation;
    while (!gn_writer_has_room(&thread->writer, bytes)) {
        enum gn_result result = gn_writer_refill(&thread->writer);
        if (result == GN_OK)
            continue;
        if (result == GN_LOST) {
            gn_writer_drop(&thread->writer);
            return false;
        }
        if (result == GN_CLOSED || thread->busy) {
            core.suppressed++;
            return false;
        }
        core.waits++;
        core.away++;
        thread->busy = true;
        struct gn_ring *ring = &core.recording->ring;
        Py_BEGIN_ALLOW_THREADS
        (void)gn_ring_wait_space(ring, WAIT_MS);
        Py_END_ALLOW_THREADS
        core.away--;
        if (!come_back(thread, generation))
            return false;
    }
    return true;
}

/* ---- recordings ---- */

static PyObject *start_error(int error, const char *file)
{
    errno = error;
    return PyErr_SetFromErrnoWithFilename(PyExc_OSError, file);
}

/* start(dir_fd, prefix, *, flight, drop, chunks, counter_clock) */
PyObject *recording_start(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *keywords[] = {"dir_fd", "prefix", "flight", "drop", "chunks", "counter_clock",
                               NULL};
    struct gn_recording_options options = {.chunks = 128, .counter_clock = true};
    int flight = 0, drop = 0, counter = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "is|$ppIp", keywords, &options.dir_fd,
                                     &options.prefix, &flight, &drop, &options.chunks, &counter))
        return NULL;
    if (core.recording != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a recording is running or still being written");
        return NULL;
    }
    options.mode = flight ? GN_MODE_FLIGHT : GN_MODE_STREAM;
    options.on_full = drop ? GN_ON_FULL_DROP : GN_ON_FULL_WAIT;
    options.counter_clock = counter != 0;
    if (options.chunks < 8)
        options.chunks = 8;
    struct gn_recording *recording = PyMem_RawMalloc(sizeof *recording);
    if (recording == NULL)
        return PyErr_NoMemory();
    core.recording = recording; /* taken: nobody else starts one meanwhile */
    const char *file = "";
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = gn_recording_start(recording, &options, &file);
    Py_END_ALLOW_THREADS
    if (error != 0) {
        (void)start_error(error, file);
        core.recording = NULL;
        PyMem_RawFree(recording);
        return NULL;
    }
    core.settled = true;
    core.autostart = false;
    core.suppressed = 0;
    core.sampled_out = 0;
    core.tells = core.nvtx_on;
    core.waits = 0;
    (void)pthread_mutex_lock(&core.threads_lock);
    core.generation = ++core.last_generation;
    (void)pthread_mutex_unlock(&core.threads_lock);
    Py_RETURN_NONE;
}

static struct thread_state *end_generation(void)
{
    (void)pthread_mutex_lock(&core.threads_lock);
    struct thread_state *threads = core.threads;
    core.threads = NULL;
    core.generation = 0;
    (void)pthread_mutex_unlock(&core.threads_lock);
    return threads;
}

/* stop(more=None) -> (errno of a failed last write or 0, final counts), or None when
 * nothing was running */
PyObject *recording_stop(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *more = NULL;
    if (!PyArg_ParseTuple(args, "|O!", &PyDict_Type, &more))
        return NULL;
    if (core.generation == 0)
        Py_RETURN_NONE;
    if (thread_slot.generation == core.generation)
        nvtx_settle(thread_slot.state);
    sites_tell_rest();
    PyObject *final = core.generation == 0 ? NULL : note_end(more);
    if (final == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE; /* another thread came first */
    }
    /* From here no event begins; under the GIL none is half written. */
    struct thread_state *thread = end_generation();
    gn_recording_close(core.recording);
    while (thread != NULL) {
        struct thread_state *next = thread->next;
        gn_writer_close(&thread->writer);
        if (!thread->busy)
            PyMem_RawFree(thread);
        thread = next;
    }
    while (core.away > 0) { /* closed as it is, nobody stays long */
        Py_BEGIN_ALLOW_THREADS
        (void)usleep(200);
        Py_END_ALLOW_THREADS
    }
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = gn_recording_stop(core.recording);
    Py_END_ALLOW_THREADS
    PyMem_RawFree(core.recording);
    core.recording = NULL;
    core.settled = false;
    collector_leave();
    return Py_BuildValue("(iN)", error, final);
}

/* flush(timeout_ms=10000, events=False) -> whether everything is on disk */
PyObject *recording_flush(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned timeout_ms = 10000;
    int events = 0, flushed;
    if (!PyArg_ParseTuple(args, "|Ip", &timeout_ms, &events))
        return NULL;
    if (core.generation == 0)
        Py_RETURN_FALSE;
    struct gn_recording *recording = core.recording;
    core.away++;
    Py_BEGIN_ALLOW_THREADS
    flushed = gn_drain_flush(&recording->drain, timeout_ms, events != 0);
    Py_END_ALLOW_THREADS
    core.away--;
    return PyBool_FromLong(flushed);
}

/* scopes() -> [(thread number, event id, actor, action, last tick, correlation,
 * next sequence number)] of the innermost open span of each thread; the names are
 * None where the span is known only by its id */
PyObject *recording_scopes(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    /* Threads end without the GIL: what is needed is copied under their lock. */
    struct {
        uint32_t thread, correlation;
        int64_t id;
        struct site *site;
        uint64_t tick, sequence;
    } open[256];
    size_t count = 0;
    (void)pthread_mutex_lock(&core.threads_lock);
    for (struct thread_state *thread = core.threads; thread != NULL && count < 256;
         thread = thread->next)
        if (thread->span != 0) {
            open[count].thread = thread->writer.thread;
            open[count].correlation = thread->correlation;
            open[count].id = thread->span;
            open[count].site = thread->span_site;
            open[count].tick = thread->writer.last_tick;
            open[count++].sequence = thread->writer.seq;
        }
    (void)pthread_mutex_unlock(&core.threads_lock);
    for (size_t i = 0; i < count; i++) {
        PyObject *const *names = open[i].site == NULL ? NULL : open[i].site->names;
        PyObject *item = Py_BuildValue(
            "ILOOKIK", open[i].thread, (long long)open[i].id,
            names != NULL && names[0] != NULL ? names[0] : Py_None,
            names != NULL && names[1] != NULL ? names[1] : Py_None,
            (unsigned long long)open[i].tick, open[i].correlation,
            (unsigned long long)open[i].sequence);
        int failed = item == NULL || PyList_Append(list, item) < 0;
        Py_XDECREF(item);
        if (failed) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* ---- fork ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&core.threads_lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&core.threads_lock);
}

/* The ring's mapping is not there in the child (MADV_DONTFORK) and the drain's
 * thread neither: forget them before anything can record. */
static void after_fork_in_child(void)
{
    (void)pthread_mutex_init(&core.threads_lock, NULL);
    core.generation = 0;
    core.threads = NULL;
    core.away = 0; /* who waited without the GIL is not here to come back */
    thread_slot.generation = 0;
    thread_slot.state = NULL;
}

/* after_fork(): closes in the child what belongs to the parent; the first event
 * then asks the autostart hook for a recording of the child's own. */
PyObject *recording_after_fork(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (core.recording != NULL && core.generation == 0) {
        if (core.settled)
            gn_recording_abandon(core.recording);
        core.settled = false;
        core.recording = NULL; /* its memory stays: a lock in it may be held for ever */
        core.autostart = true;
    }
    Py_RETURN_NONE;
}

int lifecycle_init(void)
{
    if (pthread_mutex_init(&core.threads_lock, NULL) != 0 ||
        pthread_key_create(&core.thread_end, thread_ended) != 0 ||
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
        PyErr_SetString(PyExc_ImportError, "gpu_narration: no thread-specific storage left");
        return -1;
    }
    return 0;
}
