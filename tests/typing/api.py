"""What a type checker makes of the public API; checked, never run (unit/test_typing.py)."""

from __future__ import annotations

import ctypes
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import gpu_narration as gn
from gpu_narration import cuda, ffi
from gpu_narration.tracefile import Event, Notice, Trace

# ---- trace_fn leaves a function's type as it was ----


@gn.trace_fn
def plain(job: str, retries: int = 0) -> bytes:
    return job.encode() * retries


@gn.trace_fn(actor="worker", gpu=True, vram=True)
def configured(job: str, *, pool: str = "default") -> int:
    return len(job + pool)


@gn.trace_fn
async def coroutine(job: str) -> float:
    return float(len(job))


@gn.trace_fn
def generator(count: int) -> Iterator[int]:
    yield from range(count)


@gn.trace_fn
async def async_generator(count: int) -> AsyncIterator[int]:
    for index in range(count):
        yield index


class Worker:
    @gn.trace_fn
    def method(self, job: str) -> int:
        return len(job)

    @gn.trace_fn
    @staticmethod
    def above_static(job: str) -> int:
        return len(job)

    @staticmethod
    @gn.trace_fn
    def below_static(job: str) -> int:
        return len(job)

    @classmethod
    @gn.trace_fn
    def below_class(cls, job: str) -> Worker:
        del job
        return cls()

    @property
    @gn.trace_fn
    def size(self) -> int:
        return 1


same: Callable[[str, int], bytes] = plain
assert_type(plain("job"), bytes)
assert_type(configured("job", pool="a"), int)
pending = assert_type(coroutine("job"), Coroutine[Any, Any, float])
assert_type(generator(3), Iterator[int])
assert_type(async_generator(3), AsyncIterator[int])
assert_type(Worker().method("job"), int)
assert_type(Worker.above_static("job"), int)
assert_type(Worker.below_static("job"), int)
assert_type(Worker.below_class("job"), Worker)
assert_type(Worker().size, int)
plain(1)  # type: ignore[arg-type]
configured("job", pool=1)  # type: ignore[arg-type]
gn.trace_fn("a text")  # type: ignore[call-overload]

# ---- the light calls ----

assert_type(gn.span("engine", "prefill", gpu=True, stream=object()), gn.Span)
with gn.span("engine", "prefill") as opened:
    assert_type(opened, gn.Span)
    assert_type(opened.id, int | None)
gn.trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100)
gn.trace_loop("worker", "select", 0, 8, "load={}", 3)
gn.trace_tiny("tokenizer", 5, "", "")  # type: ignore[arg-type]
gn.span("engine", "prefill", "", "", True)  # type: ignore[call-arg]
assert_type(gn.narrate("engine", "ready", level=gn.Level.WARN, tokens=3), int | None)
assert_type(gn.narrate(actor="engine", action="ready", tokens_in=3, extra={"k": 1}), int | None)
assert_type(gn.narrate_warn("engine", "ready", stacklevel=2, free="word"), int | None)
fields = gn.NarrationFields(actor="engine", action="ready", vram_free_bytes=1 << 30)
assert_type(gn.narrate(fields, level="warn"), int | None)
assert_type(gn.narrate_fatal(fields), int | None)
assert_type(gn.Narration("engine", "ready").cute("hi").fields(job_id="j").emit(), int | None)
gn.narrate("engine", "ready", tokens_in="three")  # type: ignore[call-overload]
gn.narrate_error("engine", "ready", http_status="500")  # type: ignore[call-overload]
gn.NarrationFields(actor="engine", tokens_inn=3)  # type: ignore[typeddict-unknown-key]
gn.Narration("engine", "ready").fields(tokens_inn=3)  # type: ignore[call-arg]


@gn.narrate_fn(action="admit", human="Admitted {job} as {result}", level=gn.Level.DEBUG)
def narrated(job: str) -> int:
    return len(job)


assert_type(narrated("job"), int)
narrated(1)  # type: ignore[arg-type]
gn.narrate_fn(human=1)  # type: ignore[arg-type]


def returns_from_a_span() -> int:
    with gn.span("engine", "prefill"):  # swallows nothing, so nothing is missing behind it
        return 1


with gn.correlation() as job:
    assert_type(job, str)
assert_type(gn.correlation_id(), str | None)
with gn.context("req-7", job_id="job-1", new_trace=True) as ids:
    assert_type(ids, gn.Ids)
    assert_type(ids.trace_id, str | None)
with gn.context.from_headers({"traceparent": "…"}, session_id=7) as incoming:
    assert_type(incoming.correlation_id, str | None)
assert_type(gn.context.headers(), dict[str, str])
assert_type(gn.context.current(), gn.Ids | None)
assert_type(gn.context.wrap(plain)("job", retries=1), bytes)
with ThreadPoolExecutor() as pool:
    assert_type(gn.context.submit(pool, plain, "job").result(), bytes)

# ---- a recording ----

assert_type(gn.start("app.gnt", on_full="drop", mode="flight", ring_bytes=1 << 20), gn.Recorder)
with gn.start(Path("app.gnt"), console="cute") as recorder:
    assert_type(recorder, gn.Recorder)
    assert_type(recorder.path, Path)
    assert_type(recorder.stats(), dict[str, int])
    assert_type(recorder.dump("why"), bool)
    assert_type(recorder.stop(), dict[str, int])
assert_type(gn.stats(), dict[str, int] | None)
assert_type(gn.flush(timeout_s=1.0), bool)
assert_type(gn.dump(), bool)
gn.start(mode="flight", dump_signal="SIGUSR1", dump_on_exception=False, control_signal=12)
gn.start(dump_signal=1.5)  # type: ignore[arg-type]
gn.start(mode="ring")  # type: ignore[arg-type]

# ---- GPU, foreign libraries, reading ----

assert_type(cuda.kernel(cuda.MockKernel("saxpy", 1000), every=10), cuda.TracedKernel)
with ffi.trace_library(ctypes.CDLL(None), include="llama_*") as library:
    assert_type(library, ffi.TracedLibrary)
with ffi.llama.install(log=False, synchronize=True) as installed:
    assert_type(installed, ffi.llama.Installed)
    assert_type(installed.libraries, list[str])
ffi.llama.install("libllama.so")  # type: ignore[arg-type]
trace = Trace("app.gnt")
assert_type(trace.events(), Iterator[Event])
assert_type(trace.notices(), list[Notice])


# ---- marking GPU work ----


@cuda.range("step", actor="engine")
def ranged(count: int) -> str:
    return str(count)


def marks_gpu_work() -> None:
    assert_type(ranged(3), str)
    with cuda.range("prefill", stream=7) as opened:
        assert_type(opened, gn.Span)
    assert_type(cuda.kernel(plain, every=10), cuda.TracedKernel)
    assert_type(cuda.kernel(name="mine", every=1)(plain), cuda.TracedKernel)
    with cuda.patch_cupy(every=1) as patch:
        assert_type(patch, cuda.Patch)
    assert_type(cuda.patch_torch(), cuda.Patch)
    cuda.kernel(plain, every="all")  # type: ignore[call-overload]
    cuda.range(7)  # type: ignore[arg-type]
    ranged("three")  # type: ignore[arg-type]
