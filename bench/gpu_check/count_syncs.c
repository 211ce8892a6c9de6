/* Counts calls of the CUDA driver, by function and thread, in a process it is preloaded into.
 *
 * Libraries that use the driver do not link it: CuPy's runtime (a static libcudart),
 * cuda.bindings and ctypes open libcuda.so.1 and ask dlsym, or cuGetProcAddress, for each
 * function.  So both questions are answered here, with a counting function in front of the
 * real one.  Only what is listed in `counted` is touched.
 *
 * A library that got at the driver some other way would not be seen.  Whoever reads the
 * counts must therefore make a call on purpose first, the same way, and see it counted.
 *
 * One counting function stands for one real one (a slot): the same name can mean several
 * functions, by version and by kind of default stream.  All listed functions take at most
 * six arguments, none of them floating point, so passing on six machine words is passing
 * on all of them, on x86-64 and on AArch64. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uintptr_t word;
typedef word (*function)(word, word, word, word, word, word);
typedef void *(*lookup)(void *, const char *);

/* Beginnings of names: versions (_v2) and stream kinds (_ptsz) follow. */
static const char *const counted[] = {
    "cuCtxSynchronize", "cuStreamSynchronize", "cuEventSynchronize",
    "cuMemcpyDtoH",     "cuMemcpyHtoD",        "cuMemcpyDtoD",       "cuMemcpy",
    "cuMemFree",        "cuEventQuery",        "cuEventRecord",      "cuEventRecordWithFlags",
    "cuEventCreate",    "cuEventElapsedTime",  "cuStreamIsCapturing", "cuStreamGetCaptureInfo",
};

enum { SLOTS = 64, NAME_BYTES = 64, ASKERS = 8 };

struct slot {
    char name[NAME_BYTES]; /* as it was asked for */
    function real;         /* in libcuda */
    atomic_ulong calls;    /* of all threads */
};

/* Slots are only ever added, under the lock; a slot below `used` does not change. */
static struct slot slots[SLOTS];
static atomic_int used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local unsigned long mine[SLOTS];

static word call(int i, word a, word b, word c, word d, word e, word f)
{
    mine[i]++;
    atomic_fetch_add_explicit(&slots[i].calls, 1, memory_order_relaxed);
    return slots[i].real(a, b, c, d, e, f);
}

#define SLOT(i)                                                       \
    static word slot_##i(word a, word b, word c, word d, word e, word f) \
    {                                                                 \
        return call(0##i, a, b, c, d, e, f);                          \
    }
/* Numbered in octal, so that eight rows of eight name and number 64 functions. */
#define ROW(r) SLOT(r##0) SLOT(r##1) SLOT(r##2) SLOT(r##3) SLOT(r##4) SLOT(r##5) SLOT(r##6) SLOT(r##7)
ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7)

#define NAMES(r) slot_##r##0, slot_##r##1, slot_##r##2, slot_##r##3, \
                 slot_##r##4, slot_##r##5, slot_##r##6, slot_##r##7
static const function counting[SLOTS] = {
    NAMES(0), NAMES(1), NAMES(2), NAMES(3), NAMES(4), NAMES(5), NAMES(6), NAMES(7),
};

static int is_counted(const char *name)
{
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        size_t length = strlen(counted[i]);
        /* What follows is a version; "Async" and the like make it another function. */
        if (strncmp(name, counted[i], length) == 0 && (name[length] == '\0' || name[length] == '_'))
            return 1;
    }
    return 0;
}

/* The counting function in front of a real one; the real one itself if it is not counted
 * or all slots are taken. */
static void *in_front_of(const char *name, void *real)
{
    if (real == NULL || !is_counted(name) || strlen(name) >= NAME_BYTES)
        return real;
    function wanted;
    memcpy(&wanted, &real, sizeof wanted);
    void *found = real;
    pthread_mutex_lock(&lock);
    int count = atomic_load(&used);
    for (int i = 0; i < SLOTS; i++) {
        if (i < count && (slots[i].real != wanted || strcmp(slots[i].name, name) != 0))
            continue;
        if (i >= count) {
            memcpy(slots[i].name, name, strlen(name) + 1);
            slots[i].real = wanted;
            atomic_store(&used, i + 1);
        }
        memcpy(&found, &counting[i], sizeof found);
        break;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* cuGetProcAddress in its two versions; the first has no fifth argument and ignores it. */
static function askers[ASKERS];
static int asker_count;

static word ask(int i, word name, word out, word version, word flags, word status, word none);

#define ASKER(i)                                                      \
    static word asker_##i(word a, word b, word c, word d, word e, word f) \
    {                                                                 \
        return ask(i, a, b, c, d, e, f);                              \
    }
ASKER(0) ASKER(1) ASKER(2) ASKER(3) ASKER(4) ASKER(5) ASKER(6) ASKER(7)
static const function asking[ASKERS] = {asker_0, asker_1, asker_2, asker_3,
                                        asker_4, asker_5, asker_6, asker_7};

static void *in_front_of_asker(void *real)
{
    function wanted;
    memcpy(&wanted, &real, sizeof wanted);
    void *found = real;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ASKERS; i++) {
        if (i < asker_count && askers[i] != wanted)
            continue;
        if (i == asker_count)
            askers[asker_count++] = wanted;
        memcpy(&found, &asking[i], sizeof found);
        break;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static int is_asker(const char *name)
{
    return strncmp(name, "cuGetProcAddress", strlen("cuGetProcAddress")) == 0;
}

static word ask(int i, word name, word out, word version, word flags, word status, word none)
{
    word result = askers[i](name, out, version, flags, status, none);
    const char *asked = (const char *)name;
    void **found = (void **)out;
    if ((int)result == 0 && asked != NULL && found != NULL && *found != NULL)
        *found = is_asker(asked) ? in_front_of_asker(*found) : in_front_of(asked, *found);
    return result;
}

static lookup real_dlsym(void)
{
    static _Atomic(lookup) known;
    lookup real = atomic_load(&known);
    if (real != NULL)
        return real;
    /* dlsym is this file's; its versions are told apart by the C library's age and the CPU. */
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0] && real == NULL; i++) {
        void *found = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
        memcpy(&real, &found, sizeof real);
    }
    atomic_store(&known, real);
    return real;
}

EXPORT void *dlsym(void *restrict handle, const char *restrict name)
{
    lookup real = real_dlsym();
    if (real == NULL)
        return NULL;
    if (name[0] != 'c' || name[1] != 'u')
        return real(handle, name); /* a tail call: RTLD_NEXT looks at who returns to whom */
    void *found = real(handle, name);
    if (found != NULL && is_asker(name))
        return in_front_of_asker(found);
    return in_front_of(name, found);
}

/* ---- for the reader of the counts ---- */

EXPORT int count_syncs_functions(void)
{
    return atomic_load(&used);
}

EXPORT const char *count_syncs_name(int i)
{
    return i >= 0 && i < atomic_load(&used) ? slots[i].name : NULL;
}

/* Calls of the calling thread. */
EXPORT unsigned long count_syncs_mine(int i)
{
    return i >= 0 && i < atomic_load(&used) ? mine[i] : 0;
}

/* Calls of all threads. */
EXPORT unsigned long count_syncs_all(int i)
{
    return i >= 0 && i < atomic_load(&used) ? atomic_load(&slots[i].calls) : 0;
}
