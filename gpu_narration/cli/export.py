"""``gpu-narration export``: a trace for other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpu_narration.cli.options import report_errors


@click.group()
def export() -> None:
    """Gives a trace to other tools."""


@export.command(
    epilog="""\b
Examples:
  gpu-narration export otel app.gnt
  gpu-narration export otel app.gnt --endpoint http://127.0.0.1:4318/v1/traces
  gpu-narration export otel app.gnt --service inference

\b
Needs pip install 'gpu-narration[otel]'.  Spans have the ids that the program gave to
other services.  Launches that were timed and placed are spans; narrations are events
of the spans they were made in."""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--endpoint", metavar="URL",
              help="Where the collector takes OTLP over HTTP; default OTEL_EXPORTER_OTLP_ENDPOINT.")  # fmt: skip
@click.option("--service", metavar="NAME", help="The service.name; default the program's file.")
@report_errors
def otel(trace: Path, endpoint: str | None, service: str | None) -> None:
    """Sends the spans of TRACE to an OpenTelemetry collector, as OTLP over HTTP.

    Exit status: 0, or 2 where they could not be sent.
    """
    from gpu_narration.bridges.otel import export as send
    from gpu_narration.bridges.otel import otlp_exporter

    exporter = otlp_exporter(endpoint)
    try:
        counts = send(trace, exporter, service=service)
    finally:
        exporter.shutdown()
    print(
        f"{counts.spans} spans exported, {counts.gpu} of them on the GPU, "
        f"{counts.unfinished} unfinished; {counts.unplaced} launches without a place, "
        f"{counts.left_out} events outside of spans left out",
        file=sys.stderr,
    )
