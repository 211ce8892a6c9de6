"""Device memory as NVTX counters, received by a real tool."""

from __future__ import annotations

import pytest

from tests.support.nvml import GIB, device, sample
from tests.support.nvtx import tool_environment
from tests.support.nvtx_log import NvtxLog


def _observe(directory, machine, body="", **options):
    """The tool's log of a program on a scripted machine, and what its trace holds."""
    env = {**tool_environment(directory), **options.pop("env", {})}
    seen = sample(directory, machine, body, env=env, **options)
    return NvtxLog(directory / "nvtx.log"), seen


def test_used_and_free_memory_are_counters_of_our_domain(tmp_path):
    """GIVEN a tool WHEN memory is watched THEN it gets two counters, in bytes, up to the total."""
    log, _ = _observe(tmp_path, [device(3 * GIB, 16 * GIB, GIB)])

    assert [
        (call.domain, call.counter, call.unit, call.min, call.max) for call in log.of("counter")
    ] == [
        ("gpu_narration", "gpu0.vram_used", "bytes", 0, 16 * GIB),
        ("gpu_narration", "gpu0.vram_free", "bytes", 0, 16 * GIB),
    ]
    assert log.samples("gpu0.vram_used") == [3 * GIB]
    assert log.samples("gpu0.vram_free") == [12 * GIB]


def test_a_tool_gets_every_reading_that_differs_and_none_twice(tmp_path):
    """GIVEN moves below the threshold WHEN they are read THEN the tool has them, the trace not."""
    log, seen = _observe(
        tmp_path,
        [device(GIB)],
        """
        for used in (GIB + 4096, GIB + 8192, GIB):
            machine(device(used))
            sampled(2)
        """,
    )

    assert log.samples("gpu0.vram_used") == [GIB, GIB + 4096, GIB + 8192, GIB]
    assert seen.used() == [(None, GIB)]


def test_each_gpu_has_counters_of_its_own(tmp_path):
    """GIVEN two GPUs WHEN they are watched THEN four counters, with their samples."""
    log, _ = _observe(
        tmp_path,
        [device(GIB, uuid="GPU-aaaa"), device(2 * GIB, uuid="GPU-bbbb")],
        "sampled(devices=2)",
    )

    assert log.count("counter") == 4
    assert (log.samples("gpu0.vram_used"), log.samples("gpu1.vram_used")) == ([GIB], [2 * GIB])


def test_a_lost_gpu_has_no_value(tmp_path):
    """GIVEN a GPU that gets lost WHEN it is read THEN the tool is told that there is no sample."""
    log, _ = _observe(
        tmp_path, [device(GIB)], 'machine(device(GIB, flags="lost"))\nsampled()\n',
        start="from gpu_narration.cuda import vram\nvram.RETRY_NS = 10_000_000\n"
        'narration.start("t.gnt")\nsampled()\n',
    )  # fmt: skip

    assert log.samples("gpu0.vram_used") == [GIB, None]


def test_a_simulated_gpu_says_so_in_its_counters(tmp_path):
    """GIVEN the simulator WHEN memory is watched THEN no viewer can take it for a GPU."""
    log, _ = _observe(tmp_path, [], start='narration.start("t.gnt", backend="mock")\n')

    assert [call.counter for call in log.of("counter")] == [
        "simulated gpu0.vram_used",
        "simulated gpu0.vram_free",
    ]


@pytest.mark.parametrize(
    ("options", "tool"),
    [
        pytest.param('"t.gnt", nvtx="off"', True, id="switched-off"),
        pytest.param('"t.gnt", vram=False', True, id="no-vram"),
        pytest.param('"t.gnt"', False, id="no-tool"),
    ],
)
def test_no_counter_is_made_where_none_is_wanted(tmp_path, options, tool):
    """GIVEN no tool, or an option against it WHEN recorded THEN nothing is counted."""
    env = {} if tool else {"NVTX_INJECTION64_PATH": "", "NVTX_TOOL_LOG": ""}
    (tmp_path / "nvtx.log").touch()
    log, _ = _observe(
        tmp_path, [device(GIB)], "time.sleep(0.1)\n", start=f"narration.start({options})\n", env=env
    )

    assert (log.count("counter"), log.count("sample")) == (0, 0)


def test_an_nvtx_package_without_counters_leaves_the_ranges(tmp_path):
    """GIVEN an older nvtx package WHEN memory is watched THEN ranges and trace are as ever."""
    log, seen = _observe(
        tmp_path,
        [device(GIB)],
        'with span("engine", "load"):\n    pass\n',
        start="""
import nvtx
class Older:  # a domain as before 0.2.17
    def __init__(self, domain):
        self._domain = domain
    def __getattr__(self, name):
        if name == "get_counter":
            raise AttributeError(name)
        return getattr(self._domain, name)
get_domain = nvtx.get_domain
nvtx.get_domain = lambda name: Older(get_domain(name))
narration.start("t.gnt")
sampled()
""",
    )

    assert (log.count("counter"), log.count("push")) == (0, 1)
    assert seen.used() == [(None, GIB)]
