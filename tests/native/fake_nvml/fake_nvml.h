/* A libnvidia-ml.so.1 for tests: the part of NVML that device memory needs.
 *
 *   fake_nvml.c   the library and its devices
 *   readings.c    memory, and processes
 *   script.c      what they answer, read from a file, and the log of the calls
 *
 * What it answers is in the text file named by FAKE_NVML_SCRIPT, which is looked at
 * anew at every call, so a test changes the machine by replacing the file (a new
 * file under the old name, not a change in place):
 *
 *   # one directive a line; numbers are decimal, sizes are bytes
 *   init 9                       nvmlInit returns this code instead of 0
 *   sleep_ms 500                 every reading of memory takes this much longer
 *   burn_us 12                   … and this much of the caller's processor
 *   processes_sleep_ms 5         a list of processes takes this much longer
 *   device UUID TOTAL USED RESERVED [FLAG…]
 *   instance UUID TOTAL USED RESERVED [FLAG…]     a MIG instance of the device above
 *   process PID BYTES            on the device or instance above
 *   grow BYTES                   it: every reading finds so much more in use than the one
 *                                before; where it would not fit it begins anew
 *   step MS USED                 it: from so long after nvmlInit on, this is in use
 *
 *   UUID    \0 stands for a NUL byte
 *   USED    as version 2 counts it; version 1 adds RESERVED to it
 *   PID     self stands for the caller
 *   BYTES   of a process: n/a where NVML does not tell it
 *
 *   v1            the driver has no version 2
 *   lost          the device fell off the bus: every call about it fails
 *   moved         it came back: handles from before are not valid any more
 *   denied        memory may not be read
 *   mig           MIG is on (with instances it is in any case)
 *   bus=N         its PCI bus; default 1, 2, … in the order of the devices
 *   processes=N   a list of processes fails with this code
 *   noprocesses3  the driver has version 2 of that list only
 *
 * With FAKE_NVML_LOG set, that file gets the line "init", "shutdown", or "begin"
 * and "end" of each reading of memory, as it happens.  With FAKE_NVML_CALLS set, that
 * one gets a line for each call: the thread as the kernel numbers it, and the function.
 *
 * A script that cannot be read or parsed ends the process with a message. */
#ifndef FAKE_NVML_H
#define FAKE_NVML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define API __attribute__((visibility("default")))

#define DEVICES_MAX 32u /* devices and instances together */
#define UUID_BYTES_MAX 80u
#define PROCESSES_MAX 8u
#define STEPS_MAX 16u
#define NOT_AVAILABLE UINT64_MAX

typedef enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
} result;

struct process {
    unsigned pid;
    uint64_t bytes;
};

struct scripted {
    char uuid[UUID_BYTES_MAX]; /* padded with NUL */
    size_t uuid_bytes;
    uint64_t total, used, reserved, grow;
    unsigned place; /* in the script */
    int parent; /* place of the device it is an instance of, or -1 */
    unsigned bus, process_count, step_count;
    int processes_code;
    bool v1, lost, moved, denied, mig, noprocesses3;
    struct process processes[PROCESSES_MAX];
    struct {
        long after_ms;
        uint64_t used;
    } steps[STEPS_MAX];
};

struct script {
    int init;
    long sleep_ms, burn_us, processes_sleep_ms;
    unsigned count;
    struct scripted devices[DEVICES_MAX];
};

/* A handle is a place in the script; of a device that came back, one behind all the
 * places. */
struct device_handle {
    unsigned unused;
};
typedef struct device_handle *device;

_Noreturn void die(const char *what, const char *detail);

/* The script as it is now. */
void script_read(struct script *script);

/* Notes the call and finds the device of a handle; what NVML says if that fails. */
result find(struct script *script, const char *function, device handle, struct scripted **found);

double since_ms(clockid_t clock, const struct timespec *begin);
double since_init_ms(void);

/* A line of the log: "init", "begin" and so on. */
void log_line(const char *what);

/* A line of the calls. */
void log_call(const char *function);

#endif
