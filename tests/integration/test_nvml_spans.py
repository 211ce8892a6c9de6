"""Spans that measure memory through NVML, and what watching it costs and leaves alone."""

from __future__ import annotations

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase
from tests.support.nvml import GIB, device, sample


def test_a_span_that_asks_tells_what_memory_did_inside_it(tmp_path):
    """GIVEN a span with vram=True WHEN memory rises in it THEN it says by how much, and sampled."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            machine(device(5 * GIB))
        """,
    )

    [begin] = [e for e in seen.trace.events() if e.kind is Kind.SPAN and e.phase is Phase.BEGIN]
    assert seen.trace.annotations(begin) == {
        "vram_before_bytes": GIB,
        "vram_after_bytes": 5 * GIB,
        "vram_delta_bytes": 4 * GIB,
        "vram_source": "sampled",
        "vram_device": 0,
        "vram_peak_bytes": 5 * GIB,
        "vram_peak_source": "sampled",
    }


def test_the_first_span_of_a_program_is_measured_from_its_first_reading_on(tmp_path):
    """GIVEN a span right after start() WHEN memory is first read in it THEN it says how late.

    What a program does first is to load its model, and it does not wait for NVML.
    """
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            sampled()
            machine(device(5 * GIB))
        """,
        start='narration.start("t.gnt")\n',
    )

    learned = _learned(seen)
    assert learned["vram_delta_bytes"] == 4 * GIB
    assert learned["vram_before_late_ns"] > 0


def test_a_span_that_ends_before_the_first_reading_does_not_say_that_nothing_moved(tmp_path):
    """GIVEN a program that is over before NVML was read WHEN shown THEN the delta is unknown."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            machine(device(5 * GIB))
        """,
        start='narration.start("t.gnt")\n',
    )

    assert _learned(seen) == {
        "vram_delta_bytes": None,
        "vram_reason": "memory was first read when the span had ended",
    }


def _learned(seen):
    [begin] = [e for e in seen.trace.events() if e.kind is Kind.SPAN and e.phase is Phase.BEGIN]
    return seen.trace.annotations(begin)


@pytest.mark.parametrize("stop", ["narration.stop()", ""], ids=["stop", "end-of-program"])
def test_a_span_that_ends_with_the_program_is_measured_to_its_end(tmp_path, stop):
    """GIVEN memory that rises in the last span WHEN the program ends at once THEN it is told."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            machine(device(5 * GIB))
        """,
        stop=stop,
    )

    assert seen.used() == [(None, GIB), (GIB, 5 * GIB)]
    assert _learned(seen)["vram_after_bytes"] == 5 * GIB


def test_no_thread_of_the_program_calls_nvml(tmp_path):
    """GIVEN spans that ask for memory WHEN memory moves in them THEN only the watcher has asked."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        import threading
        print(threading.get_native_id())
        for i in range(50):
            with span("engine", "step", vram=True):
                machine(device((i % 3 + 1) * GIB))
        sampled()
        """,
    )

    threads = {thread for thread, _ in seen.calls}
    assert len(threads) == 1
    assert int(seen.stdout) not in threads


def test_measuring_memory_chooses_no_backend(tmp_path):
    """GIVEN a program without CuPy WHEN a span asks for VRAM THEN nothing looks for a backend."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            pass
        """,
    )

    assert seen.notes("backend") == []


# ---- when NVML is left alone ----


@pytest.mark.parametrize("options", ["vram=False", 'backend="none"', 'backend="mock"'])
def test_nvml_is_not_touched_where_it_is_not_asked_for(tmp_path, options):
    """GIVEN an option that rules NVML out WHEN a recording runs THEN it is never initialised."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            time.sleep(0.1)
        """,
        start=f'narration.start("t.gnt", {options})\n',
    )

    assert seen.log == []


def test_nvml_is_initialised_once_in_a_process(tmp_path):
    """GIVEN three recordings in turn WHEN each watches memory THEN NVML was initialised once."""
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        for i in range(2):
            narration.stop()
            narration.start(f"u{i}.gnt")
            sampled()
        """,
    )

    assert (seen.log.count("init"), seen.log.count("shutdown")) == (1, 0)


def test_what_watching_cost_is_in_the_trace(tmp_path):
    """GIVEN two GPUs WHEN the recording ends THEN a note for each counts readings and time."""
    seen = sample(
        tmp_path,
        [device(GIB, uuid="GPU-aaaa"), device(2 * GIB, uuid="GPU-bbbb")],
        "sampled(3)",
    )

    first, second = seen.notes("vram_cost")
    assert (first["uuid"], second["uuid"]) == ("GPU-aaaa", "GPU-bbbb")
    assert first["calls"] + second["calls"] == seen.log.count("end")
    assert (first["failures"], first["process_calls"]) == (0, 1)
    assert first["cost_ns"] > 0
    assert 0 < first["share"] < 1
    assert (first["peak_bytes"], second["peak_bytes"]) == (GIB, 2 * GIB)
