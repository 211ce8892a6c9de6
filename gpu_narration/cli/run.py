"""``gpu-narration run``: runs a Python program and records it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_narration._types import FORMATS, VOICES
from gpu_narration.cli.nsys_options import RunCommand, nsys_options
from gpu_narration.cli.options import report_errors
from gpu_narration.cuda.backend import BACKENDS
from gpu_narration.views.escape import safe

if TYPE_CHECKING:
    from gpu_narration.cli.profiled import Profiled
    from gpu_narration.cli.program import Program


@click.command(
    cls=RunCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  gpu-narration run train.py --epochs 3
  gpu-narration run -o serve.gnt -m myapp.server --port 8000
  gpu-narration run --console --filter 'info,engine=trace' app.py
  gpu-narration run --ffi llama -m myapp.server
  gpu-narration run --backend mock examples/two_streams.py
  gpu-narration run --strip serve.py
  gpu-narration run --flight --dump-signal SIGUSR1 -m myapp.server
  gpu-narration run --nsys app.py
  gpu-narration run --capture-range prefill --nsys --gpu-metrics-devices=0 app.py
  gpu-narration run --dry-run --nsys -t cuda,nvtx -m myapp.server

The program's output, exit status and signals are its own.  What is recorded is
what the program marks with gpu_narration, see the README for how, and the calls of
the libraries that --ffi names.""",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), default=None,
              help="Trace directory; default PROGRAM.gnt, numbered if that exists.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a trace that is at OUTPUT already.")
@click.option("--module", "-m", "module", help="Run a module, as python -m does.")
@click.option("--filter", "filter_", default=None, metavar="DIRECTIVES",
              help="What to record, as info,myapp.worker=trace,tokenizer=off.")  # fmt: skip
@click.option("--console", is_flag=True, help="Show the narration on stderr as it happens.")
@click.option("--format", "form", type=click.Choice(FORMATS), default=None,
              help="How the console shows it; with this there is one.")  # fmt: skip
@click.option("--voice", type=click.Choice(VOICES), default=None,
              help="Whose words the console shows; with this there is one.")  # fmt: skip
@click.option("--backend", type=click.Choice(BACKENDS), default=None, help="The GPU backend.")
@click.option("--on-full", type=click.Choice(["wait", "drop"]), default="wait", show_default=True,
              help="What a thread does when the ring is full.")  # fmt: skip
@click.option("--flight", is_flag=True,
              help="Keep only the newest events; write them out on a dump, and at the end.")  # fmt: skip
@click.option("--dump-on-exception/--no-dump-on-exception", default=True, show_default=True,
              help="With --flight: dump on an exception that nobody handles.")  # fmt: skip
@click.option("--dump-signal", metavar="SIGNAL", help="With --flight: dump on this signal.")
@click.option("--control/--no-control", default=True, show_default=True,
              help="Follow gpu-narration filter, dump and flush; looks for them once a second.")  # fmt: skip
@click.option("--control-signal", metavar="SIGNAL",
              help="Look for them on this signal, at once; with --no-control only then.")  # fmt: skip
@click.option("--ring-mib", type=click.IntRange(1, 16384), default=8, show_default=True,
              help="Size of the ring in MiB; it must fit on the disk.")  # fmt: skip
@click.option("--nvtx", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True,
              help="Mark ranges for an attached tool.")  # fmt: skip
@click.option("--vram/--no-vram", default=True, show_default=True,
              help="Watch device memory; without it NVML is left alone.")  # fmt: skip
@click.option("--nsys", is_flag=True,
              help="Run it under Nsight Systems too; options of 'nsys profile' may follow directly.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="With --nsys: print the command, and do not run it.")
@click.option("--capture-range", metavar="NAME",
              help="A profiler collects only while a span of this name is open.")  # fmt: skip
@click.option("--memory-usage", is_flag=True,
              help="With --nsys: it follows device memory too, which slows allocations.")  # fmt: skip
@click.option("--ffi", type=click.Choice(["llama"]), multiple=True,
              help="Trace a foreign library as its preset knows it, now or once it is imported.")  # fmt: skip
@click.option("--strip", is_flag=True,
              help="Take the trace calls out of what the program imports, and of itself.")  # fmt: skip
@click.option("--strip-packages", metavar="NAMES",
              help="Only of these packages and what lies below them, as myapp,other.worker.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="Do not say at the end where the trace is.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
@report_errors
def run(
    ctx: click.Context,
    output: Path | None,
    overwrite: bool,
    module: str | None,
    filter_: str | None,
    console: bool,
    form: str | None,
    voice: str | None,
    backend: str | None,
    on_full: str,
    flight: bool,
    dump_on_exception: bool,
    dump_signal: str | None,
    control: bool,
    control_signal: str | None,
    ring_mib: int,
    nvtx: str,
    vram: bool,
    nsys: bool,
    dry_run: bool,
    capture_range: str | None,
    memory_usage: bool,
    ffi: tuple[str, ...],
    strip: bool,
    strip_packages: str | None,
    quiet: bool,
    program: tuple[str, ...],
) -> Program | Profiled | None:
    """Runs PROGRAM (a script and its arguments, or -m MODULE and its arguments) and records it."""
    from gpu_narration import recorder
    from gpu_narration.cli.program import Program
    from gpu_narration.stripping import choice
    from gpu_narration.tracedir import unused

    if module is None and not program:
        raise click.UsageError("give a script, or -m MODULE")
    if module is None:
        script = Path(program[0])
        if program[0].startswith("-") and not script.exists():
            raise click.NoSuchOption(program[0])
        if script.is_dir():
            raise click.UsageError(safe(f"{script} is a directory; run a package with -m"))
        if not script.exists():
            raise click.UsageError(safe(f"there is no script {script}"))
        name, arguments = script.stem, program[1:]
    else:
        name, arguments = module.rpartition(".")[2], program
    if strip or strip_packages:
        choice.strip_process(choice.parse("1" if strip else strip_packages or ""))
    path = output if output is not None else unused(f"{name}.gnt")
    if nsys:
        from gpu_narration.cli import profiled

        return profiled.prepare(
            path,
            profiled.recorded_again(path, ctx, module, program),
            options=nsys_options(ctx),
            capture_range=capture_range,
            memory_usage=memory_usage,
            overwrite=overwrite,
            dry_run=dry_run,
            quiet=quiet,
        )
    if dry_run or memory_usage:
        raise click.UsageError("--dry-run and --memory-usage are for --nsys; add it")
    started = recorder.start_for_command(
        path,
        overwrite=overwrite,
        console=(form or True) if console or form or voice else None,
        voice=voice,
        filter=filter_,
        backend=backend,
        on_full=on_full,
        mode="flight" if flight else "stream",
        dump_on_exception=dump_on_exception,
        dump_signal=dump_signal,
        control=control,
        control_signal=control_signal,
        ring_bytes=ring_mib << 20,
        nvtx=nvtx,
        capture_range=capture_range,
        vram=vram,
    )
    if "llama" in ffi:
        from gpu_narration.ffi import llama

        llama.install()
    return Program(
        script=None if module is not None else str(program[0]),
        module=module,
        arguments=list(arguments),
        recorder=started,
        quiet=quiet,
        strip=choice.chosen().covers("__main__"),
    )
