/* y = a*x + y, the smallest kernel that reads two arrays and writes one.
 *
 * Bytes: 12 an element (x and y are read, y is written), so its length is set by
 * memory and not by arithmetic.
 *
 * Bounds: x and y hold n floats each and do not overlap; n may be 0.  The indices
 * are 64 bits wide: an array of more than 2^31 elements is no special case.
 *
 * Launch: any grid and block of one dimension.  The grid-stride loop makes the
 * result independent of the grid, and lets a wrong grid be slow but never wrong. */

extern "C" __global__ void saxpy(unsigned long long n, float a, const float *__restrict__ x,
                                 float *__restrict__ y)
{
    /* The first factor is widened before the product: blockIdx.x * blockDim.x in
     * 32 bits wraps at 2^32 threads. */
    unsigned long long first = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;

    for (unsigned long long i = first; i < n; i += stride)
        y[i] = a * x[i] + y[i];
}
