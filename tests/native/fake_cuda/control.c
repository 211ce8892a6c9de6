/* What tests tell the machine and ask it; none of this is CUDA. */
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

#define COUNTS_MAX 1024
#define FAILURES_MAX 16

/* Calls of a function by a thread; function names are constants of this library. */
static struct {
    const char *function;
    uint64_t thread, calls;
} counts[COUNTS_MAX];
static size_t counted;

static struct {
    char function[64];
    int code;
    unsigned times;
} failures[FAILURES_MAX];

void count_call(const char *function)
{
    size_t i;
    for (i = 0; i < counted; i++)
        if (counts[i].function == function && counts[i].thread == thread_id())
            break;
    if (i == COUNTS_MAX)
        abort();
    if (i == counted) {
        counts[i].function = function;
        counts[i].thread = thread_id();
        counts[i].calls = 0;
        counted++;
    }
    counts[i].calls++;
}

int injected_failure(const char *function)
{
    for (size_t i = 0; i < FAILURES_MAX; i++)
        if (failures[i].times > 0 && strcmp(failures[i].function, function) == 0) {
            failures[i].times--;
            return failures[i].code;
        }
    return SUCCESS;
}

/* How often a thread has called a function; thread 0: all threads, name NULL: all
 * functions of the driver. */
API uint64_t fake_cuCalls(const char *function, uint64_t thread)
{
    uint64_t calls = 0;
    (void)begin_before_init("fake_cuCalls");
    for (size_t i = 0; i < counted; i++)
        if ((function == NULL ? strncmp(counts[i].function, "cu", 2) == 0
                              : strcmp(counts[i].function, function) == 0) &&
            (thread == 0 || counts[i].thread == thread))
            calls += counts[i].calls;
    (void)done(SUCCESS);
    return calls;
}

API void fake_cuForgetCalls(void)
{
    (void)begin_before_init("fake_cuForgetCalls");
    counted = 0;
    (void)done(SUCCESS);
}

/* The next `times` calls of a function do nothing but give this error. */
API int fake_cuFail(const char *function, int code, unsigned times)
{
    int status = OUT_OF_MEMORY;
    (void)begin_before_init("fake_cuFail");
    for (size_t i = 0; i < FAILURES_MAX && status != SUCCESS; i++)
        if (failures[i].times == 0 && strlen(function) < sizeof failures[i].function) {
            strcpy(failures[i].function, function);
            failures[i].code = code;
            failures[i].times = times;
            status = SUCCESS;
        }
    return done(status);
}

API void fake_cuForgetFailures(void)
{
    (void)begin_before_init("fake_cuForgetFailures");
    memset(failures, 0, sizeof failures);
    (void)done(SUCCESS);
}

API void fake_cuAdvance(int64_t ns)
{
    (void)begin_before_init("fake_cuAdvance");
    machine.now_ns += ns;
    (void)done(SUCCESS);
}

API void fake_cuSetVersion(int version)
{
    (void)begin_before_init("fake_cuSetVersion");
    machine.version = version;
    (void)done(SUCCESS);
}

API void fake_cuUse(int device, size_t bytes)
{
    (void)begin_before_init("fake_cuUse");
    machine.used_bytes[device] = bytes;
    (void)done(SUCCESS);
}

/* From now on every call about the device gives this error. */
API void fake_cuLose(int device, int code)
{
    (void)begin_before_init("fake_cuLose");
    machine.lost[device] = code;
    (void)done(SUCCESS);
}

/* The end of the process as the driver sees it. */
API void fake_cuDeinitialize(void)
{
    (void)begin_before_init("fake_cuDeinitialize");
    machine.deinitialized = true;
    (void)done(SUCCESS);
}

/* How often a handle was used whose object or whose context was gone. */
API uint64_t fake_cuStale(void)
{
    (void)begin_before_init("fake_cuStale");
    uint64_t stale = machine.stale;
    (void)done(SUCCESS);
    return stale;
}
