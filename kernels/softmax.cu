/* y[row][i] = exp(x[row][i]) / sum over the row of exp(x[row][...]), row by row.
 *
 * Safe in numbers: the row's maximum is subtracted first, so the largest exponent is
 * 0 and the sum is at least 1: no overflow, no division by zero, whatever the finite
 * inputs.  A NaN, a +inf, or nothing but -inf makes its own row NaN, as NumPy and
 * PyTorch do, and leaves the other rows alone.
 *
 * Bytes: 8 an element have to cross device memory (one read, one write).  The kernel
 * asks for x three times (maximum, sum, result); the second and third reads come from
 * a cache for as long as the rows under way fit there.  A row is not kept in shared
 * memory, because then its width would have a limit.
 *
 * Bounds: x and y hold rows*columns floats, row after row; y may be x itself.  Any
 * number of rows and columns, 0 too.
 *
 * Launch: a block takes a row, and goes on with the row `gridDim.x` further where the
 * grid is smaller than that.  The block is a multiple of 32 threads, at most 1024: the
 * shuffles below name all 32 lanes, and `of_warp` has a place for 32 warps. */

#define WARP 32u
#define ALL_LANES 0xffffffffu

struct Larger {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

struct Sum {
    __device__ float operator()(float a, float b) const { return a + b; }
};

template <typename Join> static __device__ float over_warp(float value, Join join)
{
    /* The butterfly leaves the result in every lane, not in lane 0 only. */
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2)
        value = join(value, __shfl_xor_sync(ALL_LANES, value, (int)distance));
    return value;
}

/* Joins one value of each thread; every thread gets the result.  All threads of the
 * block must call it.  `nothing` is what changes no value: join(v, nothing) == v. */
template <typename Join>
static __device__ float over_block(float value, float nothing, Join join)
{
    __shared__ float of_warp[WARP];
    unsigned lane = threadIdx.x % WARP;
    unsigned warp = threadIdx.x / WARP;
    unsigned warps = blockDim.x / WARP;

    value = over_warp(value, join);
    /* A second call must not write before the first one's slowest reader is done. */
    __syncthreads();
    if (lane == 0)
        of_warp[warp] = value;
    __syncthreads();
    /* Each warp joins the warps' values again: cheaper than one warp that does it and
     * a third barrier for the others. */
    return over_warp(lane < warps ? of_warp[lane] : nothing, join);
}

extern "C" __global__ void softmax(unsigned long long rows, unsigned long long columns,
                                   const float *x, float *y)
{
    /* INFINITY is a macro of <math.h>, which NVRTC does not have. */
    const float least = -__int_as_float(0x7f800000);

    /* The bound depends on the block alone, so all its threads reach the barriers. */
    for (unsigned long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *in = x + row * columns;
        float *out = y + row * columns;

        float largest = least;
        for (unsigned long long i = threadIdx.x; i < columns; i += blockDim.x)
            largest = fmaxf(largest, in[i]);
        largest = over_block(largest, least, Larger());

        float sum = 0.0f;
        for (unsigned long long i = threadIdx.x; i < columns; i += blockDim.x)
            sum += expf(in[i] - largest);
        sum = over_block(sum, 0.0f, Sum());

        /* A thread reads and writes the same elements only, so y may be x. */
        for (unsigned long long i = threadIdx.x; i < columns; i += blockDim.x)
            out[i] = expf(in[i] - largest) / sum;
    }
}
