"""Scopes round calls of libraries that put GPU work on streams of their own."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from gpu_narration import ffi, set_filter, span
from gpu_narration._types import Kind
from gpu_narration.cuda import reasons
from tests.support.recording import Seen, recorded_on_mock
from tests.support.sample import build_sample


def _scope_round_a_call(directory: Path, name: str, **how: object) -> Seen:
    library = ctypes.CDLL(str(shutil.copy(build_sample(directory), directory / name)))

    def program(gpu, clock):
        with ffi.trace_library(library, **how), span("engine", "decode", gpu=True):
            library.add(2, 3)
            clock.step(1000)

    return recorded_on_mock(directory, program)


def _gpu_time(seen: Seen) -> tuple[object, object]:
    (learned,) = seen.learned(Kind.SPAN)
    return learned["gpu_ns"], learned.get("gpu_reason")


@pytest.mark.parametrize("name", ["libllama.so", "libggml-cuda.so.0", "libwhisper.so"])
def test_a_scope_round_a_library_known_for_its_streams_has_no_number(tmp_path, name):
    seen = _scope_round_a_call(tmp_path, name)
    assert _gpu_time(seen) == (None, reasons.LEGACY_BESIDE_NON_BLOCKING)
    assert not any("gpu_ms=0" in line for line in seen.lines())


def test_a_scope_round_another_library_keeps_its_number(tmp_path):
    assert _gpu_time(_scope_round_a_call(tmp_path, "libsum.so")) == (1000, None)


def test_what_the_program_says_of_a_library_holds(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    told = _scope_round_a_call(tmp_path / "a", "libsum.so", own_streams=True)
    denied = _scope_round_a_call(tmp_path / "b", "libllama.so", own_streams=False)
    assert _gpu_time(told)[0] is None
    assert _gpu_time(denied) == (1000, None)


def test_calls_that_the_filter_keeps_out_are_seen_all_the_same(tmp_path):
    library = ctypes.CDLL(str(shutil.copy(build_sample(tmp_path), tmp_path / "libllama.so")))

    def program(gpu, clock):
        set_filter("llama=off")
        with ffi.trace_library(library), span("engine", "decode", gpu=True):
            library.add(2, 3)

    seen = recorded_on_mock(tmp_path, program)
    assert seen.begins(Kind.FOREIGN) == []
    assert _gpu_time(seen)[0] is None


def test_a_call_before_the_scope_says_nothing_of_it(tmp_path):
    library = ctypes.CDLL(str(shutil.copy(build_sample(tmp_path), tmp_path / "libllama.so")))

    def program(gpu, clock):
        with ffi.trace_library(library):
            library.add(2, 3)
            with span("engine", "decode", gpu=True):
                clock.step(1000)

    assert _gpu_time(recorded_on_mock(tmp_path, program)) == (1000, None)


def test_a_scope_with_a_stream_of_its_own_keeps_its_number(tmp_path):
    library = ctypes.CDLL(str(shutil.copy(build_sample(tmp_path), tmp_path / "libllama.so")))

    def program(gpu, clock):
        with ffi.trace_library(library), span("e", "decode", gpu=True, stream=gpu.stream()):
            library.add(2, 3)
            clock.step(1000)

    assert _gpu_time(recorded_on_mock(tmp_path, program)) == (1000, None)
