/* to = from, bound by memory: what a launch reaches here is the bandwidth that the
 * other kernels can be measured against.
 *
 * Bytes: 8 an element (one read, one write).
 *
 * Why float4: one instruction moves 16 bytes, so a quarter of the instructions keep
 * the same bytes in flight.  Such an access must be 16-byte aligned or the launch
 * dies with a misaligned address.  What cudaMalloc returns is aligned; a view into
 * the middle of an array need not be, so the kernel looks at both addresses and goes
 * element by element where either is off.
 *
 * Bounds: `from` and `to` hold n floats each and do not overlap; n may be 0.
 *
 * Launch: any grid and block of one dimension (grid-stride loops). */

extern "C" __global__ void copy(unsigned long long n, const float *__restrict__ from,
                                float *__restrict__ to)
{
    unsigned long long first = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;

    /* size_t is as wide as a pointer; both addresses are checked in one test. */
    bool aligned = (((size_t)from | (size_t)to) & (sizeof(float4) - 1)) == 0;
    unsigned long long quads = aligned ? n / 4 : 0;

    const float4 *from4 = (const float4 *)from;
    float4 *to4 = (float4 *)to;
    for (unsigned long long i = first; i < quads; i += stride)
        to4[i] = from4[i];

    /* The tail: up to 3 elements after the last quad, or all n where nothing is
     * aligned. */
    for (unsigned long long i = quads * 4 + first; i < n; i += stride)
        to[i] = from[i];
}
