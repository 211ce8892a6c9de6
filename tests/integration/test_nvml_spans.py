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
    }


def test_the_first_span_of_a_program_is_measured_too(tmp_path):
    """GIVEN a span right after start() WHEN memory rises in it THEN it says by how much.

    What a program does first is to load its model.  On a busy machine the contact
    may take longer than a program is made to wait, so here it has more time.
    """
    seen = sample(
        tmp_path,
        [device(GIB)],
        """
        with span("engine", "load_model", vram=True):
            machine(device(5 * GIB))
        """,
        start="from gpu_narration.cuda import scopes\n"
        "scopes.CONTACT_PATIENCE_S = 60.0\n"
        'narration.start("t.gnt")\n',
    )

    [begin] = [e for e in seen.trace.events() if e.kind is Kind.SPAN and e.phase is Phase.BEGIN]
    assert seen.trace.annotations(begin)["vram_delta_bytes"] == 4 * GIB


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
    """GIVEN a recording WHEN it ends THEN a note counts the rounds and the time they took."""
    seen = sample(tmp_path, [device(GIB)], "sampled(3)")

    [cost] = seen.notes("vram_cost")
    rounds = seen.log.count("end") - 1  # one reading found out the version
    assert cost["samples"] == rounds
    assert isinstance(cost["cost_ns"], int)
    assert cost["cost_ns"] > 0
