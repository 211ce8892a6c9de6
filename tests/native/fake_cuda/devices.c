/* The driver's calls about itself, devices, contexts and errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

#define TOTAL_BYTES ((size_t)16 << 30)

/* ---- the driver ---- */

API int cuInit(unsigned flags)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int status = begin_before_init(__func__);
    if (status == SUCCESS && flags != 0)
        status = INVALID_VALUE;
    if (status == SUCCESS && machine.forked)
        status = NOT_INITIALIZED;
    if (status == SUCCESS)
        status = machine.init_status;
    if (status == SUCCESS && (machine.devices == 0 || (visible != NULL && *visible == '\0')))
        status = NO_DEVICE;
    if (status == SUCCESS)
        machine.initialized = true;
    return done(status);
}

API int cuDriverGetVersion(int *version)
{
    int status = begin_before_init(__func__);
    if (status == SUCCESS)
        *version = machine.version;
    return done(status);
}

static const struct text {
    int code;
    const char *name, *meaning;
} texts[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {STUB_LIBRARY, "CUDA_ERROR_STUB_LIBRARY", "stub library"},
    {DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE", "device unavailable"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no device detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "not in a valid state"},
    {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "illegal memory access"},
    {CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not while capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "capture invalidated"},
    {CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "dependency on a capture"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "event recorded in a capture"},
};

static const struct text *find_text(int code)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code)
            return &texts[i];
    return NULL;
}

API int cuGetErrorName(int code, const char **name)
{
    const struct text *text = find_text(code);
    *name = text == NULL ? NULL : text->name;
    return text == NULL ? INVALID_VALUE : SUCCESS;
}

API int cuGetErrorString(int code, const char **meaning)
{
    const struct text *text = find_text(code);
    *meaning = text == NULL ? NULL : text->meaning;
    return text == NULL ? INVALID_VALUE : SUCCESS;
}

/* ---- devices ---- */

static int known_device(int device)
{
    return device >= 0 && device < machine.devices ? SUCCESS : INVALID_DEVICE;
}

API int cuDeviceGetCount(int *count)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        *count = machine.devices;
    return done(status);
}

API int cuDeviceGet(int *device, int ordinal)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(ordinal);
    if (status == SUCCESS)
        *device = ordinal;
    return done(status);
}

API int cuDeviceGetName(char *name, int bytes, int device)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS)
        (void)snprintf(name, (size_t)bytes, "Fake GPU %d", device);
    return done(status);
}

API int cuDeviceGetPCIBusId(char *id, int bytes, int device)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS)
        (void)snprintf(id, (size_t)bytes, "0000:%02X:00.0", (unsigned)device + 1);
    return done(status);
}

static int uuid_of(unsigned char *uuid, int device, int status)
{
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS) {
        memset(uuid, 0, 16); /* a NUL within is as good as any byte */
        uuid[0] = 0xfa;
        uuid[1] = 0xce;
        uuid[15] = (unsigned char)device;
    }
    return done(status);
}

API int cuDeviceGetUuid(unsigned char *uuid, int device)
{
    return uuid_of(uuid, device, begin(__func__));
}

#ifndef FAKE_CUDA_OLD
API int cuDeviceGetUuid_v2(unsigned char *uuid, int device)
{
    return uuid_of(uuid, device, begin(__func__));
}
#endif

API int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    struct context *context;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS) {
        *total_bytes = TOTAL_BYTES;
        *free_bytes = TOTAL_BYTES - machine.used_bytes[context->device];
    }
    return done(status);
}

/* ---- contexts ---- */

API int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS) {
        *flags = 0;
        *active = machine.primary[device].alive;
    }
    return done(status);
}

API int cuDevicePrimaryCtxRetain(struct context **context, int device)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS && machine.lost[device] != 0)
        status = machine.lost[device];
    if (status == SUCCESS) {
        *context = &machine.primary[device];
        if (!(*context)->alive)
            activate(*context);
        (*context)->references++;
    }
    return done(status);
}

API int cuDevicePrimaryCtxRelease_v2(int device)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS && machine.primary[device].references == 0)
        status = INVALID_CONTEXT;
    if (status == SUCCESS && --machine.primary[device].references == 0)
        deactivate(&machine.primary[device]);
    return done(status);
}

API int cuDevicePrimaryCtxReset_v2(int device)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS)
        deactivate(&machine.primary[device]);
    return done(status);
}

API int cuCtxCreate_v2(struct context **context, unsigned flags, int device)
{
    int status = begin(__func__);
    (void)flags;
    if (status == SUCCESS)
        status = known_device(device);
    if (status == SUCCESS && context_depth == STACK_MAX)
        status = OUT_OF_MEMORY;
    if (status == SUCCESS) {
        *context = make(sizeof **context);
        (*context)->device = device;
        (*context)->next = machine.contexts;
        machine.contexts = *context;
        activate(*context);
        context_stack[context_depth++] = *context;
    }
    return done(status);
}

API int cuCtxDestroy_v2(struct context *context)
{
    int status = begin(__func__);
    if (status == SUCCESS && (context == NULL || !context->alive))
        status = INVALID_CONTEXT;
    if (status == SUCCESS) {
        deactivate(context);
        if (context_depth > 0 && context_stack[context_depth - 1] == context)
            context_depth--;
    }
    return done(status);
}

API int cuCtxGetCurrent(struct context **context)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        *context = context_depth > 0 ? context_stack[context_depth - 1] : NULL;
    return done(status);
}

/* As the driver: a profiler is told in the name of a context. */
API int cuProfilerStart(void)
{
    int status = begin(__func__);
    if (status == SUCCESS && context_depth == 0)
        status = INVALID_CONTEXT;
    return done(status);
}

API int cuProfilerStop(void)
{
    int status = begin(__func__);
    if (status == SUCCESS && context_depth == 0)
        status = INVALID_CONTEXT;
    return done(status);
}

API int cuCtxSetCurrent(struct context *context)
{
    int status = begin(__func__);
    if (status == SUCCESS) {
        context_depth -= context_depth > 0;
        if (context != NULL)
            context_stack[context_depth++] = context;
    }
    return done(status);
}

API int cuCtxPushCurrent_v2(struct context *context)
{
    int status = begin(__func__);
    if (status == SUCCESS && (context == NULL || context_depth == STACK_MAX))
        status = INVALID_CONTEXT;
    if (status == SUCCESS && !context->alive)
        status = CONTEXT_IS_DESTROYED;
    if (status == SUCCESS)
        context_stack[context_depth++] = context;
    return done(status);
}

API int cuCtxPopCurrent_v2(struct context **context)
{
    int status = begin(__func__);
    if (status == SUCCESS && context_depth == 0)
        status = INVALID_CONTEXT;
    if (status == SUCCESS)
        *context = context_stack[--context_depth];
    return done(status);
}

API int cuCtxGetDevice(int *device)
{
    struct context *context;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS)
        *device = context->device;
    return done(status);
}

#ifndef FAKE_CUDA_OLD
API int cuCtxGetId(struct context *context, unsigned long long *id)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = context == NULL ? current(&context) : usable(context);
    if (status == SUCCESS)
        *id = context->generation;
    return done(status);
}
#endif

API int cuCtxSynchronize(void)
{
    int status = begin(__func__);
    if (status == SUCCESS)
        status = permitted();
    return done(status);
}

API int cuThreadExchangeStreamCaptureMode(int *mode)
{
    int status = begin(__func__);
    if (status == SUCCESS && (*mode < MODE_GLOBAL || *mode > MODE_RELAXED))
        status = INVALID_VALUE;
    if (status == SUCCESS) {
        int before = capture_mode;
        capture_mode = *mode;
        *mode = before;
    }
    return done(status);
}
