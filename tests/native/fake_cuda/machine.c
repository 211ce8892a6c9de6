/* The machine's state, its lock, and what is true of its objects. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake_cuda.h"

struct machine machine;
_Thread_local struct context *context_stack[STACK_MAX];
_Thread_local int context_depth;
_Thread_local int capture_mode;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void die(const char *what)
{
    fprintf(stderr, "fake_cuda: %s\n", what);
    abort();
}

static int from_environment(const char *name, int otherwise)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text == '\0')
        return otherwise;
    long value = strtol(text, &end, 10);
    if (*end != '\0')
        die(name);
    return (int)value;
}

static void prepare(void)
{
    const char *clock = getenv("FAKE_CUDA_CLOCK");
    machine.devices = from_environment("FAKE_CUDA_DEVICES", 1);
    machine.version = from_environment("FAKE_CUDA_VERSION", 12040);
    machine.init_status = from_environment("FAKE_CUDA_INIT", SUCCESS);
    machine.real_clock = clock != NULL && strcmp(clock, "real") == 0;
    machine.now_ns = 1000000;
    if (machine.devices < 0 || machine.devices > DEVICES_MAX)
        die("FAKE_CUDA_DEVICES");
    for (int i = 0; i < DEVICES_MAX; i++)
        machine.primary[i].device = i;
}

/* A driver's state does not survive a fork: the child may use nothing of it. */
static void in_child(void)
{
    machine.forked = machine.initialized;
    if (pthread_mutex_unlock(&lock) != 0)
        die("unlock in a child");
}

static void take_lock(void)
{
    if (pthread_mutex_lock(&lock) != 0)
        die("lock");
}

static void return_lock(void)
{
    if (pthread_mutex_unlock(&lock) != 0)
        die("unlock");
}

static void first_use(void)
{
    prepare();
    if (pthread_atfork(take_lock, return_lock, in_child) != 0)
        die("pthread_atfork");
}

int begin_before_init(const char *function)
{
    if (pthread_once(&once, first_use) != 0)
        die("pthread_once");
    take_lock();
    count_call(function);
    if (machine.deinitialized)
        return DEINITIALIZED;
    return injected_failure(function);
}

int begin(const char *function)
{
    int status = begin_before_init(function);
    if (status == SUCCESS && (!machine.initialized || machine.forked))
        return NOT_INITIALIZED;
    return status;
}

int done(int status)
{
    return_lock();
    return status;
}

int64_t now_ns(void)
{
    struct timespec time;
    if (!machine.real_clock)
        return machine.now_ns;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0)
        die("clock_gettime");
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

uint64_t thread_id(void)
{
    static _Thread_local uint64_t id; /* stays the parent's in a forked child's only thread */
    if (id == 0)
        id = (uint64_t)gettid();
    return id;
}

void *make(size_t bytes)
{
    void *object = calloc(1, bytes);
    if (object == NULL)
        die("out of memory");
    return object;
}

/* ---- contexts ---- */

void activate(struct context *context)
{
    context->alive = true;
    context->generation = ++machine.generations;
    context->fault = 0;
    context->legacy = make(sizeof *context->legacy);
    context->legacy->context = context;
    context->legacy->generation = context->generation;
    context->legacy->legacy = true;
}

void deactivate(struct context *context)
{
    context->alive = false;
    context->references = 0;
}

int usable(const struct context *context)
{
    if (!context->alive)
        return CONTEXT_IS_DESTROYED;
    if (machine.lost[context->device] != 0)
        return machine.lost[context->device];
    if (context->fault != 0 && now_ns() >= context->fault_ns)
        return context->fault;
    return SUCCESS;
}

int current(struct context **context)
{
    *context = context_depth > 0 ? context_stack[context_depth - 1] : NULL;
    return *context == NULL ? INVALID_CONTEXT : usable(*context);
}

/* ---- streams and events ---- */

static int outlived(const struct context *context, uint64_t generation)
{
    if (context->alive && context->generation == generation)
        return usable(context);
    machine.stale++;
    return INVALID_HANDLE;
}

static struct stream *per_thread_stream(struct context *context)
{
    struct stream *stream;
    for (stream = machine.streams; stream != NULL; stream = stream->next)
        if (stream->context == context && stream->generation == context->generation &&
            stream->thread == thread_id())
            return stream;
    stream = make(sizeof *stream);
    stream->context = context;
    stream->generation = context->generation;
    stream->thread = thread_id();
    stream->next = machine.streams;
    machine.streams = stream;
    return stream;
}

int find_stream(struct stream *handle, struct stream **stream)
{
    if ((uintptr_t)handle <= 2) {
        struct context *context;
        int status = current(&context);
        if (status == SUCCESS)
            *stream = (uintptr_t)handle == 2 ? per_thread_stream(context) : context->legacy;
        return status;
    }
    for (*stream = machine.streams; *stream != NULL; *stream = (*stream)->next)
        if (*stream == handle)
            break;
    if (*stream == NULL)
        return INVALID_HANDLE;
    if ((*stream)->destroyed) {
        machine.stale++;
        return INVALID_HANDLE;
    }
    return outlived((*stream)->context, (*stream)->generation);
}

int find_event(const struct event *handle, struct event **event)
{
    for (*event = machine.events; *event != NULL; *event = (*event)->next)
        if (*event == handle)
            break;
    if (*event == NULL)
        return INVALID_HANDLE;
    if ((*event)->destroyed) {
        machine.stale++;
        return INVALID_HANDLE;
    }
    return outlived((*event)->context, (*event)->generation);
}

static bool waits_for_legacy(const struct stream *stream, const struct context *context)
{
    return stream->context == context && stream->generation == context->generation &&
           (stream->flags & STREAM_NON_BLOCKING) == 0 && !stream->destroyed;
}

int64_t ready_ns(const struct stream *stream)
{
    int64_t ready = stream->tail_ns > now_ns() ? stream->tail_ns : now_ns();
    if ((stream->flags & STREAM_NON_BLOCKING) != 0)
        return ready;
    if (!stream->legacy)
        return stream->context->legacy->tail_ns > ready ? stream->context->legacy->tail_ns : ready;
    for (const struct stream *other = machine.streams; other != NULL; other = other->next)
        if (waits_for_legacy(other, stream->context) && other->tail_ns > ready)
            ready = other->tail_ns;
    return ready;
}

/* ---- captures ---- */

int permitted(void)
{
    int status = SUCCESS;
    if (capture_mode == MODE_RELAXED)
        return SUCCESS;
    for (struct stream *stream = machine.streams; stream != NULL; stream = stream->next) {
        bool mine = stream->capture_thread == thread_id();
        if (stream->capture == CAPTURE_NONE || stream->mode == MODE_RELAXED)
            continue;
        if (mine || (stream->mode == MODE_GLOBAL && capture_mode == MODE_GLOBAL)) {
            stream->capture = CAPTURE_INVALID;
            status = CAPTURE_UNSUPPORTED;
        }
    }
    return status;
}

int implicit_capture(const struct stream *legacy, bool use)
{
    int status = SUCCESS;
    for (struct stream *stream = machine.streams; stream != NULL; stream = stream->next)
        if (stream->capture != CAPTURE_NONE && waits_for_legacy(stream, legacy->context)) {
            stream->capture = use ? CAPTURE_INVALID : stream->capture;
            status = CAPTURE_IMPLICIT;
        }
    return status;
}

/* ---- for fake_cuReset ---- */

API void fake_cuReset(int devices)
{
    (void)begin_before_init(__func__);
    memset(&machine, 0, sizeof machine);
    prepare();
    machine.devices = devices;
    context_depth = 0;
    capture_mode = MODE_GLOBAL;
    (void)done(SUCCESS);
}
