/* A libnvidia-ml.so.1 for tests: the part of NVML that device memory needs.
 *
 * What it answers is in the text file named by FAKE_NVML_SCRIPT, which is read
 * anew at every call, so a test changes the machine by replacing the file:
 *
 *   # one directive a line; numbers are decimal, sizes are bytes
 *   init 9                      nvmlInit returns this code instead of 0
 *   sleep_ms 500                every reading of memory takes this much longer
 *   device UUID TOTAL USED RESERVED [v1] [lost]
 *
 *   UUID    \0 stands for a NUL byte
 *   USED    as version 2 counts it; version 1 adds RESERVED to it
 *   v1      the driver has no version 2
 *   lost    the device fell off the bus: every call about it fails
 *
 * With FAKE_NVML_LOG set, that file gets the line "init", "shutdown", or "begin"
 * and "end" of each reading of memory, as it happens.
 *
 * A script that cannot be read or parsed ends the process with a message. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define DEVICES_MAX 16u
#define UUID_BYTES_MAX 80u
#define NAME "Fake GPU"
#define DRIVER_VERSION "570.00"

typedef enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
} result;

struct device_handle {
    unsigned index;
};
typedef struct device_handle *device;

struct memory {
    unsigned long long total, free, used;
};

#define MEMORY_V2 (sizeof(struct memory_v2) | 2u << 24)
struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

struct pci_info {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct scripted {
    char uuid[UUID_BYTES_MAX]; /* padded with NUL */
    size_t uuid_bytes;
    unsigned long long total, used, reserved;
    bool v1, lost;
};

struct script {
    int init;
    long sleep_ms;
    unsigned count;
    struct scripted devices[DEVICES_MAX];
};

static struct device_handle handles[DEVICES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned initialized; /* guarded by lock */

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "fake_nvml: %s: %s\n", what, detail);
    abort();
}

static void add_log(const char *what)
{
    const char *path = getenv("FAKE_NVML_LOG");
    if (path == NULL)
        return;
    char line[32];
    int length = snprintf(line, sizeof line, "%s\n", what);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path, strerror(errno));
    if (write(fd, line, (size_t)length) != length)
        die(path, strerror(errno));
    if (close(fd) != 0)
        die(path, strerror(errno));
}

/* ---- the script ---- */

static void parse_uuid(struct scripted *scripted, const char *word)
{
    for (; *word != '\0'; word++) {
        if (scripted->uuid_bytes + 1 >= UUID_BYTES_MAX)
            die("UUID is too long", word);
        bool nul = word[0] == '\\' && word[1] == '0';
        scripted->uuid[scripted->uuid_bytes++] = nul ? '\0' : *word;
        word += nul;
    }
}

static void parse_device(struct script *script, const char *line)
{
    char uuid[2 * UUID_BYTES_MAX], flags[2][8] = {"", ""};
    if (script->count == DEVICES_MAX)
        die("too many devices", line);
    struct scripted *scripted = &script->devices[script->count];
    int fields = sscanf(line, "device %159s %llu %llu %llu %7s %7s", uuid, &scripted->total,
                        &scripted->used, &scripted->reserved, flags[0], flags[1]);
    if (fields < 4)
        die("not understood", line);
    for (int i = 0; i < fields - 4; i++) {
        scripted->v1 |= strcmp(flags[i], "v1") == 0;
        scripted->lost |= strcmp(flags[i], "lost") == 0;
        if (strcmp(flags[i], "v1") != 0 && strcmp(flags[i], "lost") != 0)
            die("no such flag", flags[i]);
    }
    parse_uuid(scripted, uuid);
    script->count++;
}

static void parse(struct script *script, const char *line)
{
    if (line[0] == '#' || line[strspn(line, " \t\r\n")] == '\0')
        return;
    if (strncmp(line, "device ", 7) == 0)
        parse_device(script, line);
    else if (sscanf(line, "init %d", &script->init) != 1 &&
             sscanf(line, "sleep_ms %ld", &script->sleep_ms) != 1)
        die("not understood", line);
}

static void read_script(struct script *script)
{
    const char *path = getenv("FAKE_NVML_SCRIPT");
    char line[512];
    if (path == NULL)
        die("FAKE_NVML_SCRIPT", "is not set");
    FILE *file = fopen(path, "re");
    if (file == NULL)
        die(path, strerror(errno));
    memset(script, 0, sizeof *script);
    while (fgets(line, sizeof line, file) != NULL)
        parse(script, line);
    if (ferror(file) != 0 || fclose(file) != 0)
        die(path, "cannot be read");
}

static result read_initialized(struct script *script)
{
    if (pthread_mutex_lock(&lock) != 0)
        die("lock", "failed");
    bool ready = initialized > 0;
    if (pthread_mutex_unlock(&lock) != 0)
        die("lock", "failed");
    if (!ready)
        return UNINITIALIZED;
    read_script(script);
    return SUCCESS;
}

static result find(struct script *script, device handle, struct scripted **found)
{
    *found = NULL;
    result failed = read_initialized(script);
    if (failed != SUCCESS)
        return failed;
    if (handle < handles || handle >= handles + script->count)
        return INVALID_ARGUMENT;
    *found = &script->devices[handle - handles];
    return (*found)->lost ? GPU_IS_LOST : SUCCESS;
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

/* ---- the library ---- */

API result nvmlInitWithFlags(unsigned flags)
{
    struct script script;
    (void)flags;
    add_log("init");
    read_script(&script);
    if (script.init != SUCCESS)
        return (result)script.init;
    if (pthread_mutex_lock(&lock) != 0)
        die("lock", "failed");
    initialized++;
    if (pthread_mutex_unlock(&lock) != 0)
        die("lock", "failed");
    return SUCCESS;
}

API result nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

API result nvmlShutdown(void)
{
    add_log("shutdown");
    if (pthread_mutex_lock(&lock) != 0)
        die("lock", "failed");
    bool ready = initialized > 0;
    initialized -= ready;
    if (pthread_mutex_unlock(&lock) != 0)
        die("lock", "failed");
    return ready ? SUCCESS : UNINITIALIZED;
}

API const char *nvmlErrorString(result code)
{
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
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
    result failed = read_initialized(&script);
    return failed != SUCCESS ? failed
                             : put_text(version, length, DRIVER_VERSION, strlen(DRIVER_VERSION));
}

API result nvmlDeviceGetCount_v2(unsigned *count)
{
    struct script script;
    result failed = read_initialized(&script);
    if (failed != SUCCESS || count == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    *count = script.count;
    return SUCCESS;
}

API result nvmlDeviceGetHandleByIndex_v2(unsigned index, device *handle)
{
    struct script script;
    struct scripted *scripted;
    if (handle == NULL || index >= DEVICES_MAX)
        return INVALID_ARGUMENT;
    handles[index].index = index;
    result failed = find(&script, &handles[index], &scripted);
    if (failed == SUCCESS)
        *handle = &handles[index];
    return failed;
}

API result nvmlDeviceGetHandleByUUID(const char *uuid, device *handle)
{
    struct script script;
    result failed = read_initialized(&script);
    if (failed != SUCCESS || uuid == NULL || handle == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    for (unsigned i = 0; i < script.count; i++)
        if (strcmp(script.devices[i].uuid, uuid) == 0)
            return nvmlDeviceGetHandleByIndex_v2(i, handle);
    return NOT_FOUND;
}

API result nvmlDeviceGetUUID(device handle, char *uuid, unsigned length)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, handle, &scripted);
    return failed != SUCCESS ? failed
                             : put_text(uuid, length, scripted->uuid, scripted->uuid_bytes);
}

API result nvmlDeviceGetName(device handle, char *name, unsigned length)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, handle, &scripted);
    return failed != SUCCESS ? failed : put_text(name, length, NAME, strlen(NAME));
}

API result nvmlDeviceGetPciInfo_v3(device handle, struct pci_info *info)
{
    struct script script;
    struct scripted *scripted;
    result failed = find(&script, handle, &scripted);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    memset(info, 0, sizeof *info);
    info->bus = (unsigned)(handle - handles) + 1;
    (void)snprintf(info->legacy_bus_id, sizeof info->legacy_bus_id, "0000:%02X:00.0",
                   info->bus & 0xff);
    (void)snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus & 0xff);
    return SUCCESS;
}

API result nvmlDeviceGetComputeRunningProcesses_v3(device handle, unsigned *count, void *processes)
{
    struct script script;
    struct scripted *scripted;
    (void)count;
    (void)processes;
    result failed = find(&script, handle, &scripted);
    return failed != SUCCESS ? failed : NOT_SUPPORTED;
}

/* A reading takes as long as the script says, without a lock, as on a machine
 * whose driver is busy. */
static result read_memory(device handle, struct scripted *memory)
{
    struct script script;
    struct scripted *scripted;
    add_log("begin");
    result failed = find(&script, handle, &scripted);
    if (failed != UNINITIALIZED) {
        struct timespec left = {script.sleep_ms / 1000, script.sleep_ms % 1000 * 1000000};
        while (nanosleep(&left, &left) != 0 && errno == EINTR)
            ;
    }
    add_log("end");
    if (failed == SUCCESS)
        *memory = *scripted;
    return failed;
}

API result nvmlDeviceGetMemoryInfo(device handle, struct memory *info)
{
    struct scripted memory;
    result failed = read_memory(handle, &memory);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    info->total = memory.total;
    info->used = memory.used + memory.reserved;
    info->free = memory.total - info->used;
    return SUCCESS;
}

API result nvmlDeviceGetMemoryInfo_v2(device handle, struct memory_v2 *info)
{
    struct scripted memory;
    result failed = read_memory(handle, &memory);
    if (failed != SUCCESS || info == NULL)
        return failed != SUCCESS ? failed : INVALID_ARGUMENT;
    if (memory.v1)
        return FUNCTION_NOT_FOUND;
    if (info->version != MEMORY_V2)
        return ARGUMENT_VERSION_MISMATCH;
    info->total = memory.total;
    info->reserved = memory.reserved;
    info->used = memory.used;
    info->free = memory.total - memory.used - memory.reserved;
    return SUCCESS;
}
