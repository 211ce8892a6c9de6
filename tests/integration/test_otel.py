"""Spans of a trace as OpenTelemetry has them: in memory, and over the wire."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.status import StatusCode

import gpu_narration as gn
from gpu_narration.bridges.otel import EVENTS_MAX, Exported, export
from gpu_narration.cuda import MockGpu, MockKernel, kernel
from tests.conftest import Record
from tests.support.recording import ManualClock, recorded_on_mock
from tests.support.run import run_python

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def exported(path: Path) -> tuple[dict[str, ReadableSpan], Exported]:
    """The spans by name, and the counts."""
    exporter = InMemorySpanExporter()
    counts = export(path, exporter)
    return {span.name: span for span in exporter.get_finished_spans()}, counts


def finish(record: Record) -> Path:
    recorder = record._recorder
    assert recorder is not None
    record.stop()
    return recorder.path


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def test_spans_have_the_ids_that_other_services_were_given(record: Record) -> None:
    record.start()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}
    with gn.context.from_headers(headers, job_id="j"), gn.span("app", "request"):  # noqa: SIM117 - one inside the other
        with gn.span("app", "call"):
            outgoing = gn.context.headers()["traceparent"]
    spans, counts = exported(finish(record))

    request, call = spans["app request"], spans["app call"]
    assert counts == Exported(spans=2)
    assert outgoing == f"00-{TRACE}-{ids(call)[1]}-01"
    assert ids(request)[0] == ids(call)[0] == TRACE
    assert request.parent is not None
    assert (f"{request.parent.span_id:016x}", request.parent.is_remote) == (PARENT, True)
    assert call.parent is not None
    assert (f"{call.parent.span_id:016x}", call.parent.is_remote) == (ids(request)[1], False)
    assert call.get_span_context().trace_state.to_header() == "a=b"  # type: ignore[union-attr]
    assert dict(call.attributes or {})["job_id"] == "j"


def test_spans_of_no_context_are_one_trace_a_tree(record: Record) -> None:
    record.start()
    for name in ("one", "two"):
        with gn.span("app", name), gn.span("app", f"in {name}"):
            pass
    spans, _ = exported(finish(record))
    assert ids(spans["app one"])[0] == ids(spans["app in one"])[0]
    assert ids(spans["app one"])[0] != ids(spans["app two"])[0]
    assert spans["app one"].parent is None


def test_a_span_of_another_trace_has_a_link_to_the_one_round_it(record: Record) -> None:
    record.start()
    with gn.context("outer"), gn.span("app", "batch"):  # noqa: SIM117 - one inside the other
        with gn.context("inner", new_trace=True), gn.span("app", "item"):
            pass
    spans, _ = exported(finish(record))
    batch, item = spans["app batch"], spans["app item"]
    assert item.parent is None
    (link,) = item.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == ids(batch)
    assert not batch.links


def test_an_error_is_the_status_and_a_result_an_attribute(record: Record) -> None:
    @gn.trace_fn(actor="app")
    def work(size: int) -> int:
        if size > 1:
            raise ValueError("no pool")
        return size

    record.start()
    work(1)
    path = finish(record)
    spans, _ = exported(path)
    good = spans["app work"]
    assert (good.status.status_code, (good.attributes or {})["result"]) == (StatusCode.UNSET, 1)

    record.start()
    with pytest.raises(ValueError, match="no pool"):
        work(2)
    spans, _ = exported(finish(record))
    bad = spans["app work"]
    assert (bad.status.status_code, bad.status.description) == (
        StatusCode.ERROR, "ValueError: no pool",
    )  # fmt: skip
    assert (bad.attributes or {})["error.type"] == "ValueError"
    assert (bad.attributes or {})["size"] == 2


def test_narrations_are_events_of_the_span_they_were_made_in(record: Record) -> None:
    record.start()
    gn.narrate("app", "before", "", "Outside of all")
    with gn.span("app", "work"):
        gn.narrate("queue", "admit", "job-1", "Admitted job-1", queue_position=3)
        gn.trace_tiny("app", "detail", "", "")
    spans, counts = exported(finish(record))
    (event,) = spans["app work"].events
    attributes = dict(event.attributes or {})
    assert (event.name, attributes["message"], attributes["queue_position"]) == (
        "queue admit", "Admitted job-1", 3,
    )  # fmt: skip
    assert attributes["level"] == "INFO"
    assert attributes["code.file.path"] == __file__
    assert counts == Exported(spans=1, left_out=1)


def test_a_span_takes_so_many_narrations_along_and_counts_the_rest(record: Record) -> None:
    record.start()
    with gn.span("app", "work"):
        for _ in range(EVENTS_MAX + 5):
            gn.narrate("a", "b", "", "Said")
    spans, counts = exported(finish(record))
    work = spans["app work"]
    assert (len(work.events), (work.attributes or {})["gpu_narration.events_left_out"]) == (
        EVENTS_MAX, 5,
    )  # fmt: skip
    assert counts.left_out == 5


def test_a_span_lasts_as_long_as_the_trace_says(record: Record) -> None:
    record.start()
    with gn.span("app", "work"):
        pass
    assert record._recorder is not None
    path = record._recorder.path
    recorded = record.stop()
    spans, _ = exported(path)
    work = spans["app work"]
    (end,) = recorded.ends("work")
    offset = recorded.trace.realtime_offset_ns
    assert work.start_time == recorded.begin("work").monotonic_ns + offset
    assert work.end_time == end.monotonic_ns + offset


def test_a_span_without_an_end_says_so(record: Record) -> None:
    record.start()
    span = gn.span("app", "open")
    span.__enter__()
    gn.trace_tiny("app", "last", "", "")
    spans, counts = exported(finish(record))
    span.__exit__(None, None, None)
    assert (spans["app open"].attributes or {})["gpu_narration.unfinished"] is True
    assert counts == Exported(spans=1, unfinished=1)


def test_launches_on_the_timeline_are_spans_and_others_are_events(tmp_path: Path) -> None:
    """GIVEN two launches on the simulated GPU, one of them timed."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        stream = gpu.stream()
        with gn.context("req-1"), gn.span("app", "work"):
            kernel(MockKernel("timed", 31_000), every=1)((1,), (1,), (), stream=stream)
            kernel(MockKernel("untimed", 500), every=0)((1,), (1,), (), stream=stream)
            clock.step(1_000_000)

    seen = recorded_on_mock(tmp_path, program)
    spans, counts = exported(seen.trace.path)
    work, timed = spans["app work"], spans["gpu timed"]
    assert (counts.gpu, counts.unplaced) == (1, 1)
    assert timed.parent is not None
    assert f"{timed.parent.span_id:016x}" == ids(work)[1]
    assert (timed.attributes or {})["gpu_ns"] == 31_000
    assert (timed.attributes or {})["simulated"] is True
    assert [event.attributes["target"] for event in work.events if event.attributes] == ["untimed"]


def test_what_the_exporter_refuses_is_an_error(record: Record) -> None:
    class Refusing(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.FAILURE

        def shutdown(self) -> None: ...

    record.start()
    with gn.span("app", "work"):
        pass
    path = finish(record)
    with pytest.raises(gn.GpuNarrationError, match="refused 1 spans, after 0") as failure:
        export(path, Refusing())
    assert "[export-failed]" in str(failure.value)


# ---- over the wire ----


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    taken: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    Collector.taken = []
    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", Collector.taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_verb_sends_all_spans_to_a_collector(
    record: Record, collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    endpoint, taken = collector
    record.start()
    for _ in range(600):
        with gn.span("app", "work"):
            pass
    path = finish(record)
    done = run_python(
        "import sys; from gpu_narration.cli.app import main; sys.exit(main())",
        "export", "otel", str(path), "--endpoint", endpoint, "--service", "inference",
    )  # fmt: skip
    assert done.stderr.startswith("600 spans exported, 0 of them on the GPU")
    spans = [
        span
        for request in taken
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert (len(spans), {span.name for span in spans}) == (600, {"app work"})
    names = {a.key: a.value.string_value for a in taken[0].resource_spans[0].resource.attributes}
    assert names["service.name"] == "inference"


def test_without_the_extra_the_error_names_it(record: Record) -> None:
    record.start()
    path = finish(record)
    done = run_python(
        """
        import sys
        sys.modules["opentelemetry"] = None
        from gpu_narration.cli.app import main
        sys.exit(main())
        """,
        "export", "otel", str(path), check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'gpu-narration[otel]'" in done.stderr
    assert "[missing-extra]" in done.stderr
