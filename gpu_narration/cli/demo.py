"""``gpu-narration demo``: a small model and some kernels, traced."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from gpu_narration._types import VOICES
from gpu_narration.cli.options import color_option, report_errors, wants_color


@click.command(
    epilog="""\b
Examples:
  gpu-narration demo
  gpu-narration demo --voice cute
  gpu-narration demo -o /tmp/first.gnt --quiet
  gpu-narration show demo.gnt | head -50"""
)
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("demo.gnt"),
              show_default=True, help="Where to leave the trace; one that is there is replaced.")  # fmt: skip
@click.option("--backend", type=click.Choice(["auto", "cupy", "mock"]), default="auto",
              show_default=True, help="auto: a GPU where there is one, else simulated, and it says so.")  # fmt: skip
@click.option(
    "--tokens",
    type=click.IntRange(1, 96),
    default=24,
    show_default=True,
    help="How many tokens to decode.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=2,
    show_default=True,
    help="How often to run the kernels.",
)
@click.option("--voice", type=click.Choice(VOICES), default="human", show_default=True,
              envvar="GPU_NARRATION_VOICE", help="Whose words to show.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Only the summary, not the narration.")
@color_option
@report_errors
def demo(
    output: Path, backend: str, tokens: int, rounds: int, voice: str, quiet: bool, color: str
) -> None:
    """Launches kernels, writes a tiny model, decodes real tokens with a real engine
    through ctypes, and shows what happened.

    The narration goes to stderr as it happens, the summary to stdout.
    """
    from gpu_narration.demo import story
    from gpu_narration.timeline import order
    from gpu_narration.timeline.summary import device_uuids, summarise
    from gpu_narration.tracefile import Trace
    from gpu_narration.views.escape import safe
    from gpu_narration.views.summary import print_summary
    from gpu_narration.views.units import size

    outcome = story.run(
        output, backend=backend, tokens=tokens, rounds=rounds,
        console=False if quiet else voice, overwrite=True,
    )  # fmt: skip
    trace = Trace(outcome.path)
    summary = summarise(trace.events(), trace.annotations, uuids=device_uuids(trace))
    order.sort(summary, "total")
    print()
    if outcome.said is not None:
        print(safe(f'The model said: "{outcome.said}"'))
    else:
        print("No engine is installed, so no model spoke: pip install 'gpu-narration[demo]'")
    if outcome.simulated:
        reason = f": {outcome.why_simulated}" if outcome.why_simulated else ""
        print(safe(f"The GPU was simulated{reason}"))
    else:
        print(safe(f"The GPU was real, through {outcome.backend}"))
    print()
    print_summary(summary, sys.stdout, color=wants_color(color, sys.stdout), limit=10)
    records = outcome.stats.get("records", 0)
    cost_ns = records * outcome.event_cost_ns
    print(
        f"\nTracing: {records} records, {outcome.stats.get('dropped', 0)} dropped, "
        f"{size(outcome.stats.get('bytes_written', 0))} written; a light call costs "
        f"{outcome.event_cost_ns:.0f} ns here, so about {cost_ns / 1e6:.2f} ms of "
        f"{outcome.wall_ns / 1e6:.0f} ms ({100 * cost_ns / outcome.wall_ns:.3f} %)"
    )
    path = os.path.relpath(outcome.path)
    print(safe(f"The trace is {path}: gpu-narration show {shlex.quote(path)} | head -50"))
