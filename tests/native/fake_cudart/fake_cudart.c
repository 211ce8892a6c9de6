/* A libcudart for tests: memory is the host's, and an allocation of more than 1 GiB
 * fails. */
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, MEMORY_ALLOCATION = 2 };

API int cudaMalloc(void **address, size_t bytes)
{
    if (bytes > (1u << 30))
        return MEMORY_ALLOCATION;
    *address = malloc(bytes);
    return *address == NULL ? MEMORY_ALLOCATION : SUCCESS;
}

API int cudaFree(void *address)
{
    free(address);
    return SUCCESS;
}

API int cudaMemcpy(void *destination, const void *source, size_t bytes, int kind)
{
    if (kind < 0 || kind > 4)
        return INVALID_VALUE;
    memcpy(destination, source, bytes);
    return SUCCESS;
}

API int cudaDeviceSynchronize(void) { return SUCCESS; }

API int cudaGetDevice(int *device)
{
    *device = 0;
    return SUCCESS;
}

API const char *cudaGetErrorName(int status)
{
    return status == MEMORY_ALLOCATION ? "cudaErrorMemoryAllocation"
           : status == INVALID_VALUE   ? "cudaErrorInvalidValue"
                                       : "cudaSuccess";
}

API const char *cudaGetErrorString(int status)
{
    return status == MEMORY_ALLOCATION ? "out of memory"
           : status == INVALID_VALUE   ? "invalid argument"
                                       : "no error";
}
