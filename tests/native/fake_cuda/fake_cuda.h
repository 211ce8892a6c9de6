/* A libcuda.so.1 for tests: devices, contexts, streams, events and captures with
 * virtual time, and the driver's errors.
 *
 * The machine is made anew by fake_cuReset(), and at the first call from
 *
 *   FAKE_CUDA_DEVICES   how many devices there are; default 1
 *   FAKE_CUDA_VERSION   what cuDriverGetVersion tells; default 12040
 *   FAKE_CUDA_INIT      what cuInit gives instead of 0
 *   FAKE_CUDA_CLOCK     "real": time passes by itself; else by fake_cuAdvance()
 *   CUDA_VISIBLE_DEVICES  "": there is no device
 *
 * It is stricter than a driver: every call that a driver may refuse beside a
 * capture is refused and invalidates that capture, and a handle is known to be
 * stale (fake_cuStale counts), where a driver may crash.  Objects are never freed,
 * memory is.
 *
 * Compiled with FAKE_CUDA_OLD it lacks what CUDA 12 added, with
 * FAKE_CUDA_INCOMPLETE one function that every driver has. */
#ifndef FAKE_CUDA_H
#define FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))
#define DEVICES_MAX 8
#define STACK_MAX 16

/* Names and numbers as in cuda.h; table.c has their texts. */
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEINITIALIZED = 4,
    STUB_LIBRARY = 34,
    DEVICE_UNAVAILABLE = 46,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    ILLEGAL_STATE = 401,
    NOT_READY = 600,
    CONTEXT_IS_DESTROYED = 709,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
};

enum { MODE_GLOBAL, MODE_THREAD_LOCAL, MODE_RELAXED };
enum { CAPTURE_NONE, CAPTURE_ACTIVE, CAPTURE_INVALID };
enum { STREAM_NON_BLOCKING = 1, EVENT_DISABLE_TIMING = 2 };

struct stream {
    struct stream *next;     /* in machine.streams */
    struct context *context; /* borrowed from the machine */
    uint64_t generation;     /* the context's, when the stream was made */
    uint64_t thread;         /* of a per-thread default stream, else 0 */
    int64_t tail_ns;         /* when all work so far ends */
    unsigned flags;
    bool legacy, destroyed;
    int capture, mode; /* CAPTURE_*, MODE_* */
    uint64_t capture_thread;
};

struct event {
    struct event *next; /* in machine.events */
    struct context *context;
    uint64_t generation;
    int64_t time_ns;
    unsigned flags;
    bool recorded, captured, destroyed;
};

struct context {
    struct context *next; /* in machine.contexts; a primary one is in its device */
    int device;
    uint64_t generation; /* its id, anew at each activation; 0 before the first */
    bool alive;
    int references; /* of a primary context */
    struct stream *legacy;
    int fault; /* the error that every call gives from fault_ns on, or 0 */
    int64_t fault_ns;
};

struct machine {
    int devices, version, init_status;
    bool real_clock, initialized, deinitialized, forked;
    int64_t now_ns;
    uint64_t generations;
    uint64_t stale;
    struct context primary[DEVICES_MAX];
    int lost[DEVICES_MAX]; /* the error that every call about the device gives, or 0 */
    size_t used_bytes[DEVICES_MAX];
    struct context *contexts;
    struct stream *streams;
    struct event *events;
};

/* Everything below is guarded by the lock that begin() takes and done() returns. */
extern struct machine machine;

/* Which threads have which contexts current is the thread's own affair. */
extern _Thread_local struct context *context_stack[STACK_MAX];
extern _Thread_local int context_depth;
extern _Thread_local int capture_mode;

/* Every entry is `int status = begin(__func__); if (status == SUCCESS) ...; return
 * done(status);`.  begin() takes the lock, counts the call, and says whether the
 * driver is up and no failure is injected. */
int begin(const char *function);
int begin_before_init(const char *function);
int done(int status);

int64_t now_ns(void);
uint64_t thread_id(void);
void *make(size_t bytes);

/* The context current to this thread: it lives and has no error, or why not. */
int current(struct context **context);
int usable(const struct context *context);
void activate(struct context *context);
void deactivate(struct context *context);

/* The stream or event behind a handle, default handles included. */
int find_stream(struct stream *handle, struct stream **stream);
int find_event(const struct event *handle, struct event **event);

/* When all work that the stream waits for is done. */
int64_t ready_ns(const struct stream *stream);

/* Whether a call that is not captured is permitted to this thread now. */
int permitted(void);

/* CAPTURE_IMPLICIT if a stream that the legacy one waits for is capturing; with
 * `use` that invalidates the capture. */
int implicit_capture(const struct stream *legacy, bool use);

API int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes);

void count_call(const char *function);
int injected_failure(const char *function);

#endif
