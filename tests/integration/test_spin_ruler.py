"""The spin kernel keeps its promise of accuracy, on simulated clocks.

The kernel is compiled for this machine's processor, with its two clocks replaced by
simulated ones: a timer that moves in ticks and a core clock whose speed changes.  So
the arithmetic is tested with no GPU; what a GPU's clocks do is not.
"""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess

import pytest

from gpu_narration import kernels

READ_TIMER = 'asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now) : : "memory");'

#: True time in ns, moved on by every read.  The core clock starts at `slow` cycles a ns
#: and gains speed for as long as the kernel runs, as a GPU that was idle does.  A spin that
#: does not end is left: after 100,000 reads it has run for 500 us and more.
CLOCKS = r"""
#include <setjmp.h>
#include <stdlib.h>
#define __device__
static double now_ns, tick_ns, phase_ns, read_ns, slow, gain, set_back_at_ns, timer_reads, all_reads;
static jmp_buf leave;

static void pass(double ns)
{
    now_ns += ns * (0.6 + 0.8 * rand() / RAND_MAX);
    if (++all_reads > 1e5)
        longjmp(leave, 1);
}

static unsigned long long timer(void)
{
    pass(read_ns);
    timer_reads++;
    unsigned long long ticks = (unsigned long long)((now_ns + phase_ns) / tick_ns);
    unsigned long long base = now_ns < set_back_at_ns ? 4000000000ull : 1000000000ull;
    return base + ticks * (unsigned long long)tick_ns;
}

static long long clock64(void)
{
    pass(read_ns / 4);
    return (long long)(1000 + now_ns * (slow + gain * now_ns));
}
"""

RUN = r"""
double run(unsigned long long ns, double tick, double phase, double read, double from, double more,
           double set_back_at)
{
    srand(1);
    now_ns = timer_reads = all_reads = 0;
    tick_ns = tick; phase_ns = phase; read_ns = read; slow = from; gain = more;
    set_back_at_ns = set_back_at;
    if (setjmp(leave) == 0)
        spin(ns);
    return now_ns;
}
double reads(void) { return timer_reads; }
"""

NEVER = 1e18

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not on PATH")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    text = kernels.source("spin")
    assert text.count(READ_TIMER) == 1
    text = text.replace(READ_TIMER, "now = timer();").replace('extern "C" __global__', "static")
    folder = tmp_path_factory.mktemp("spin")
    source, built = folder / "spin.c", folder / "spin.so"
    source.write_text(CLOCKS + text + RUN, encoding="utf-8")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", built, source], check=True)
    loaded = ctypes.CDLL(str(built))
    loaded.run.argtypes = [ctypes.c_uint64, *[ctypes.c_double] * 6]
    loaded.run.restype = loaded.reads.restype = ctypes.c_double
    return loaded


@pytest.fixture
def ran_ns(library):
    """Runs the kernel on the clocks asked for; how long it really took."""
    usual = {
        "tick": 32, "phase": 0.0, "read": 15.0, "slow": 1.5, "gain": 0.0, "set_back_at": NEVER
    }  # fmt: skip

    def run(ns, **clocks):
        assert clocks.keys() <= usual.keys()
        return library.run(ns, *(usual | clocks).values())

    return run


def errors_in(ran_ns, *, tick, read, shortest, longest):
    """How far off 2,000 spins of random lengths are, begun at random moments of a tick."""
    draw = random.Random(tick)
    for _ in range(2_000):
        ns = int(draw.uniform(shortest, longest))
        took = ran_ns(
            ns, tick=tick, phase=draw.uniform(0, tick), read=read,
            slow=draw.uniform(0.3, 2.0), gain=draw.choice([0.0, 5e-7]),
        )  # fmt: skip
        yield took - ns


@pytest.mark.parametrize("read", [8.0, 30.0])
@pytest.mark.parametrize("tick", [32, 1_000, 1_024])
def test_from_two_ticks_up_a_spin_is_within_four_turns_of_its_loop(ran_ns, tick, read):
    """GIVEN any tick, and a clock that gains speed WHEN it spins THEN no tick is in the error."""
    turn = read * 1.4

    errors = errors_in(ran_ns, tick=tick, read=read, shortest=2 * tick, longest=100_000)

    assert max(map(abs, errors)) <= 4 * turn


@pytest.mark.parametrize("read", [8.0, 30.0])
@pytest.mark.parametrize("tick", [32, 1_000, 1_024])
def test_below_two_ticks_a_spin_is_within_a_tick_and_three_turns(ran_ns, tick, read):
    """GIVEN a request that has no whole tick WHEN it spins THEN it is off by a tick at most."""
    turn = read * 1.4

    errors = errors_in(ran_ns, tick=tick, read=read, shortest=1, longest=2 * tick)

    assert max(map(abs, errors)) <= tick + 3 * turn


@pytest.mark.parametrize("ns", [0, 60_000_000_001, 2**64 - 1])
def test_nothing_and_more_than_a_minute_return_at_once(library, ran_ns, ns):
    """GIVEN 0 ns, or a slip WHEN it spins THEN it has read the timer once and is done."""
    ran_ns(ns)

    assert library.reads() == 1


@pytest.mark.parametrize("set_back_at", [1.0, 20.0, 60.0, 5_000.0])
def test_a_timer_that_is_set_back_ends_the_spin_early(ran_ns, set_back_at):
    """GIVEN a timer set back under way WHEN it spins 10 µs THEN it is no longer than that."""
    assert ran_ns(10_000, set_back_at=set_back_at) <= 10_000 + 4 * 15.0 * 1.4
