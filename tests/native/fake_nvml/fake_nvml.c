#include "fake_nvml.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME "Fake GPU"
#define DRIVER_VERSION "570.00"

struct pci_info {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

static struct device_handle handles[2 * DEVICES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t initialized_in; /* guarded by lock; state does not survive fork */
static unsigned initialized; /* likewise: how often, less the shutdowns */
static struct timespec initialized_at; /* likewise */

double since_ms(clockid_t clock, const struct timespec *begin)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        die("clock", strerror(errno));
    return (double)(now.tv_sec - begin->tv_sec) * 1e3 +
           (double)(now.tv_nsec - begin->tv_nsec) / 1e6;
}

static void hold(void)
{
    if (pthread_mutex_lock(&lock) != 0)
        die("lock", "failed");
}

static void release(void)
{
    if (pthread_mutex_unlock(&lock) != 0)
        die("lock", "failed");
}

static result read_initialized(struct script *script, const char *function)
{
    log_call(function);
    hold();
    bool ready = initialized > 0 && initialized_in == getpid();
    release();
    if (!ready)
        return UNINITIALIZED;
    script_read(script);
    return SUCCESS;
}

result find(struct script *script, const char *function, device handle, struct scripted **found)
{
    *found = NULL;
    result failed = read_initialized(script, function);
    if (failed != SUCCESS)
        return failed;
    if (handle < handles || handle >= handles + 2 * DEVICES_MAX)
        return INVALID_ARGUMENT;
    unsigned place = (unsigned)(handle - handles) % DEVICES_MAX;
    if (place >= script->count)
        return INVALID_ARGUMENT;
    *found = &script->devices[place];
    if ((*found)->lost)
        return GPU_IS_LOST;
    return (*found)->moved == (handle >= handles + DEVICES_MAX) ? SUCCESS : GPU_IS_LOST;
}

double since_init_ms(void)
{
    hold();
    struct timespec begin = initialized_at;
    release();
    return since_ms(CLOCK_MONOTONIC, &begin);
}

static result put_text(char *place, unsigned room, const char *text, size_t bytes)
{
    if (place == NULL)
        return INVALID_ARGUMENT;
    if (bytes + 1 > room)
        return INSUFFICIENT_SIZE;
    memcpy(place, text, bytes);
    place[bytes] = '\0';
    return SUCCESS;
}

static device handle_of(const struct script *script, unsigned place)
{
    return &handles[place + (script->devices[place].moved ? DEVICES_MAX : 0)];
}

/* ---- the library ---- */

API result nvmlInitWithFlags(unsigned flags)
{
    struct script script;
    (void)flags;
    log_line("init");
    log_call("nvmlInit");
    script_read(&script);
    if (script.init != SUCCESS)
        return (result)script.init;
    hold();
    if (initialized_in != getpid())
        initialized = 0;
    if (initialized++ == 0 && clock_gettime(CLOCK_MONOTONIC, &initialized_at) != 0)
        die("clock", strerror(errno));
    initialized_in = getpid();
    release();
    return SUCCESS;
}

API result nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

API result nvmlShutdown(void)
{
    log_line("shutdown");
    log_call("nvmlShutdown");
    hold();
    bool ready = initialized > 0 && initialized_in == getpid();
    initialized -= ready;
    release();
    return ready ? SUCCESS : UNINITIALIZED;
}

API const char *nvmlErrorString(result code)
{
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case FUNCTION_NOT_FOUND: return "Function Not Found";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument Version Mismatch";
    }
    return "Unknown Error";
}

API result nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    struct script script;
    result failed = read_initialized(&script, __func__);
    return failed != SUCCESS ? failed
                             : put_text(version, length, DRIVER_VERSION, strlen(DRIVER_VERSION));
}

API result nvmlDeviceGetCount_v2(unsigned *count)
{
    struct script script;
    result failed = read_initialized(&script, __func__);
    if (failed != SUCCESS || count == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    *count = 0;
    for (unsigned i = 0; i < script.count; i++)
        *count += script.devices[i].parent < 0;
    return SUCCESS;
}

/* The n-th device of a parent (-1: that is no instance), or -1. */
static int place_of(const struct script *script, int parent, unsigned n)
{
    for (unsigned i = 0; i < script->count; i++)
        if (script->devices[i].parent == parent && n-- == 0)
            return (int)i;
    return -1;
}

API result nvmlDeviceGetHandleByIndex_v2(unsigned index, device *handle)
{
    struct script script;
    result failed = read_initialized(&script, __func__);
    if (failed != SUCCESS)
        return failed;
    int place = place_of(&script, -1, index);
    if (handle == NULL || place < 0)
        return INVALID_ARGUMENT;
    *handle = handle_of(&script, (unsigned)place);
    return script.devices[place].lost ? GPU_IS_LOST : SUCCESS;
}

API result nvmlDeviceGetHandleByUUID(const char *uuid, device *handle)
{
    struct script script;
    result failed = read_initialized(&script, __func__);
    if (failed != SUCCESS || uuid == NULL || handle == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    for (unsigned i = 0; i < script.count; i++)
        if (strcmp(script.devices[i].uuid, uuid) == 0) {
            *handle = handle_of(&script, i);
            return script.devices[i].lost ? GPU_IS_LOST : SUCCESS;
        }
    return NOT_FOUND;
}

API result nvmlDeviceGetUUID(device handle, char *uuid, unsigned length)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    return failed != SUCCESS ? failed
                             : put_text(uuid, length, scripted->uuid, scripted->uuid_bytes);
}

API result nvmlDeviceGetName(device handle, char *name, unsigned length)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    return failed != SUCCESS ? failed : put_text(name, length, NAME, strlen(NAME));
}

API result nvmlDeviceGetPciInfo_v3(device handle, struct pci_info *info)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    unsigned number = 0; /* among the devices */
    for (const struct scripted *other = script.devices; other <= scripted; other++)
        number += other->parent < 0;
    if (scripted->parent >= 0)
        scripted = &script.devices[scripted->parent];
    memset(info, 0, sizeof *info);
    info->bus = scripted->bus != 0 ? scripted->bus : number;
    (void)snprintf(info->legacy_bus_id, sizeof info->legacy_bus_id, "0000:%02X:00.0",
                   info->bus & 0xff);
    (void)snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus & 0xff);
    return SUCCESS;
}

/* ---- MIG ---- */

API result nvmlDeviceGetMigMode(device handle, unsigned *current, unsigned *pending)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || current == NULL || pending == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    *current = *pending = scripted->mig;
    return scripted->mig ? SUCCESS : NOT_SUPPORTED;
}

API result nvmlDeviceGetMaxMigDeviceCount(device handle, unsigned *count)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || count == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    *count = scripted->mig ? 7 : 0;
    return SUCCESS;
}

API result nvmlDeviceGetMigDeviceHandleByIndex(device handle, unsigned index, device *instance)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, __func__, handle, &scripted);
    if (failed != SUCCESS || instance == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    int place = place_of(&script, (int)(scripted - script.devices), index);
    if (place < 0)
        return NOT_FOUND;
    *instance = handle_of(&script, (unsigned)place);
    return SUCCESS;
}

static result instance_number(device handle, const char *function, unsigned first, unsigned *id)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, function, handle, &scripted);
    if (failed != SUCCESS || id == NULL || scripted->parent < 0)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    *id = first == 0 ? 0 : first + (unsigned)(scripted - script.devices) -
                               (unsigned)scripted->parent;
    return SUCCESS;
}

API result nvmlDeviceGetGpuInstanceId(device handle, unsigned *id)
{
    return instance_number(handle, __func__, 6, id); /* 7, 8, … as a driver might */
}

API result nvmlDeviceGetComputeInstanceId(device handle, unsigned *id)
{
    return instance_number(handle, __func__, 0, id);
}
