/* What NVML reads: the memory of devices, and of the processes on them. */
#include "fake_nvml.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

struct memory {
    unsigned long long total, free, used;
};

#define MEMORY_V2 (sizeof(struct memory_v2) | 2u << 24)
struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

struct process_info {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

static _Atomic uint64_t readings[DEVICES_MAX]; /* of memory so far, by place */

static void rest(long milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (milliseconds > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
        ; /* not even for 0 ms: that gives the processor away, too */
}

static void burn(long microseconds)
{
    struct timespec begin;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin) != 0)
        die("clock", strerror(errno));
    while (since_ms(CLOCK_THREAD_CPUTIME_ID, &begin) * 1e3 < (double)microseconds)
        ;
}

/* ---- processes ---- */

static result list_processes(const struct script *script, const struct scripted *scripted,
                             unsigned *count, struct process_info *processes)
{
    rest(script->processes_sleep_ms);
    if (scripted->processes_code != 0)
        return (result)scripted->processes_code;
    unsigned room = *count;
    *count = scripted->process_count;
    if (processes == NULL || room < scripted->process_count)
        return scripted->process_count == 0 ? SUCCESS : INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < scripted->process_count; i++)
        processes[i] = (struct process_info){
            .pid = scripted->processes[i].pid, .bytes = scripted->processes[i].bytes};
    return SUCCESS;
}

API result nvmlDeviceGetComputeRunningProcesses_v3(device handle, unsigned *count,
                                                   struct process_info *processes)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || count == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    if (scripted->noprocesses3)
        return FUNCTION_NOT_FOUND;
    return list_processes(&script, scripted, count, processes);
}

API result nvmlDeviceGetComputeRunningProcesses_v2(device handle, unsigned *count,
                                                   struct process_info *processes)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || count == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    return list_processes(&script, scripted, count, processes);
}

/* ---- memory ---- */

static uint64_t used_now(const struct scripted *scripted)
{
    unsigned place = scripted->place;
    uint64_t used = scripted->used, room = scripted->total - scripted->reserved - used + 1;
    double elapsed_ms = since_init_ms();
    uint64_t before = atomic_fetch_add(&readings[place], 1);
    for (unsigned i = 0; i < scripted->step_count; i++)
        if (elapsed_ms >= (double)scripted->steps[i].after_ms)
            used = scripted->steps[i].used;
    return used + before * scripted->grow % room;
}

/* A reading takes as long as the script says, without a lock, as on a machine
 * whose driver is busy. */
static result read_memory(device handle, const char *function, struct scripted *memory)
{
    struct script script;
    struct scripted *scripted;
    log_line("begin");
    result failed = find(&script, function, handle, &scripted);
    if (failed != UNINITIALIZED) {
        rest(script.sleep_ms);
        burn(script.burn_us);
    }
    log_line("end");
    if (failed != SUCCESS)
        return failed;
    if (scripted->denied)
        return NO_PERMISSION;
    *memory = *scripted;
    return SUCCESS;
}

API result nvmlDeviceGetMemoryInfo(device handle, struct memory *info)
{
    struct scripted memory;
    result failed = read_memory(handle, __func__, &memory);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    info->total = memory.total;
    info->used = used_now(&memory) + memory.reserved;
    info->free = memory.total - info->used;
    return SUCCESS;
}

API result nvmlDeviceGetMemoryInfo_v2(device handle, struct memory_v2 *info)
{
    struct scripted memory;
    result failed = read_memory(handle, __func__, &memory);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    if (memory.v1)
        return FUNCTION_NOT_FOUND;
    if (info->version != MEMORY_V2)
        return ARGUMENT_VERSION_MISMATCH;
    info->total = memory.total;
    info->reserved = memory.reserved;
    info->used = used_now(&memory);
    info->free = memory.total - info->used - memory.reserved;
    return SUCCESS;
}
