/* Memory, copies and launches: the bytes are host memory, the work takes no time.  And
 * the look-up by name through which cuda-bindings finds all functions. */
#include "fake_cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In front of each allocation. */
struct block {
    size_t bytes;
    int device;
    int unused;
};

API int cuMemAlloc_v2(void **address, size_t bytes)
{
    struct context *context;
    size_t free_bytes, total_bytes;
    int status = bytes == 0 ? INVALID_VALUE : cuMemGetInfo_v2(&free_bytes, &total_bytes);
    if (status != SUCCESS)
        return status;
    status = begin(__func__);
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS && bytes > free_bytes)
        status = OUT_OF_MEMORY;
    if (status == SUCCESS) {
        struct block *block = malloc(sizeof *block + bytes);
        if (block == NULL)
            abort();
        *block = (struct block){.bytes = bytes, .device = context->device};
        machine.used_bytes[context->device] += bytes;
        *address = block + 1;
    }
    return done(status);
}

API int cuMemFree_v2(void *address)
{
    int status = begin(__func__);
    if (status == SUCCESS && address != NULL) {
        struct block *block = (struct block *)address - 1;
        machine.used_bytes[block->device] -= block->bytes;
        free(block);
    }
    return done(status);
}

static int copy(void *destination, const void *source, size_t bytes, int status)
{
    if (status == SUCCESS)
        memcpy(destination, source, bytes);
    return done(status);
}

API int cuMemcpyHtoD_v2(void *destination, const void *source, size_t bytes)
{
    return copy(destination, source, bytes, begin(__func__));
}

API int cuMemcpyDtoH_v2(void *destination, const void *source, size_t bytes)
{
    return copy(destination, source, bytes, begin(__func__));
}

/* Any function; nothing runs. */
API int cuLaunchKernel(const void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                       unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                       struct stream *handle, void **parameters, void **extra)
{
    struct stream *stream;
    (void)parameters;
    (void)extra;
    (void)shared_bytes;
    int status = begin(__func__);
    if (status == SUCCESS && function == NULL)
        status = INVALID_HANDLE;
    if (status == SUCCESS && grid_x * grid_y * grid_z * block_x * block_y * block_z == 0)
        status = INVALID_VALUE;
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    return done(status);
}

/* Without a version a name means the newest of it that the fake has. */
API int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                            int *found)
{
    Dl_info self;
    char newest[128];
    (void)version;
    (void)flags;
    *function = NULL;
    if (dladdr((void *)cuMemFree_v2, &self) == 0)
        return NOT_INITIALIZED;
    void *library = dlopen(self.dli_fname, RTLD_NOLOAD | RTLD_NOW);
    (void)snprintf(newest, sizeof newest, "%s_v2", name);
    if (library != NULL) {
        *function = dlsym(library, newest);
        if (*function == NULL)
            *function = dlsym(library, name);
        (void)dlclose(library);
    }
    if (found != NULL)
        *found = *function == NULL; /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    return *function == NULL ? 500 : SUCCESS;
}
