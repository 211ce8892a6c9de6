/* Holds its stream for a given number of nanoseconds: the ruler that measured times
 * are checked against.
 *
 * Two clocks, because neither is enough:
 *   %globaltimer  counts nanoseconds, whatever the core clock does, but moves in
 *                 ticks.  The tick is the GPU's own affair: 32 ns and about 1 us have
 *                 both been reported, and a profiler at work can change it.
 *   clock64()     counts cycles of this multiprocessor, and moves with each one, but
 *                 a cycle has no fixed length: the clock rises under load and falls
 *                 when idle, so cycles cannot stand for a long time.
 * A loop on %globaltimer alone is wrong by up to a tick in either direction: it begins
 * somewhere inside one tick and can only end where another begins.  Here the timer
 * measures the whole ticks, and cycles the two pieces of a tick at the ends:
 *
 *      start    edge                                    end
 *        |--head--|---------|---------|- ... -|--tail--|
 *                  a cycle's length is taken from the whole tick next to each piece
 *
 * How accurate, with T the tick and P one turn of the loop in next_tick():
 *   ns from 2 T up     within 4 P of ns
 *   ns below 2 T       within T + 3 P of ns: there is no whole tick to learn from
 * and s T more where the clock's speed changes by the share s from a tick to the next.
 * That is the kernel's own time.  What a pair of events reads is longer by the launch
 * and the end of the grid, a floor that spin(0) shows.
 *
 * Traps:
 *   - PTX keeps %globaltimer for tools and promises nothing for GPUs to come.
 *   - Time slices given to other processes count: the time passes, on the stream too.
 *   - A desktop's GPU that draws the screen kills kernels after a few seconds.
 *
 * Bounds: above LONGEST_NS (a minute) it returns at once.  Such a request is a slip, a
 * negative number most often, which arrives as up to 584 years; nothing but killing
 * the process would end that.  The products below are a tick in ns times a tick in
 * cycles: even where a pause stretched one tick to a second they fit into 64 bits.
 *
 * Launch: one block of one thread.  It holds the stream, not the GPU: the other
 * multiprocessors stay free for other streams.  More blocks measure for themselves,
 * and the kernel lasts as long as the last of them. */

#define LONGEST_NS 60000000000ull

struct Reading {
    unsigned long long ns;
    unsigned long long cycles;
};

static __device__ unsigned long long timer_ns(void)
{
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now) : : "memory");
    return now;
}

static __device__ unsigned long long core_cycles(void)
{
    return (unsigned long long)clock64();
}

/* Waits for the timer to leave `ns`.  Only the timer is read in the loop: the turn is
 * short, and the cycles are read equally late after every edge, which cancels out. */
static __device__ struct Reading next_tick(unsigned long long ns)
{
    struct Reading now;
    do
        now.ns = timer_ns();
    while (now.ns == ns);
    now.cycles = core_cycles();
    return now;
}

extern "C" __global__ void spin(unsigned long long ns)
{
    struct Reading start;
    start.ns = timer_ns();
    start.cycles = core_cycles();
    if (ns == 0 || ns > LONGEST_NS)
        return;

    struct Reading edge = next_tick(start.ns);
    unsigned long long longest_head = edge.ns - start.ns;
    if (longest_head >= ns)
        return;

    struct Reading now = next_tick(edge.ns);
    unsigned long long step = now.ns - edge.ns;
    unsigned long long step_cycles = now.cycles - edge.cycles;
    unsigned long long head = (edge.cycles - start.cycles) * step / step_cycles;
    /* A pause between the reads spoils the division, never this bound. */
    if (head > longest_head)
        head = longest_head;

    unsigned long long left = ns - head;
    for (;;) {
        /* Should the timer be set back, the difference is huge and the spin ends. */
        if (step >= left)
            return;
        left -= step;
        edge = now;
        if (left < step)
            break;
        now = next_tick(edge.ns);
        step = now.ns - edge.ns;
        step_cycles = now.cycles - edge.cycles;
    }

    /* left / step of a tick, as cycles; multiplied out, as a division costs more. */
    while ((core_cycles() - edge.cycles) * step < left * step_cycles) {
    }
}
