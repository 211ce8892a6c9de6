"""``gpu-narration strip``: sources, or a wheel, without their trace calls."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_narration.cli.options import report_errors
from gpu_narration.views.escape import safe

if TYPE_CHECKING:
    from gpu_narration.stripping.analysis import Use
    from gpu_narration.stripping.trees import File, Result

#: Files before a bar is worth showing.
_MANY = 50


@click.command(
    epilog="""\b
Examples:
  gpu-narration strip src/ -o dist-src/
  gpu-narration strip dist/app-1.0-py3-none-any.whl -o stripped/
  gpu-narration strip --diff src/app.py
  gpu-narration strip --check dist-src/

What is taken out, and what stays, is told in docs/off.md."""
)
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--output", "-o", type=click.Path(path_type=Path), default=None,
              help="Where the stripped sources go; of a wheel, the directory it goes to.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Write over files that are in OUTPUT already.")
@click.option("--check", is_flag=True, help="Write nothing; fail if any trace call is in SOURCE.")
@click.option("--diff", is_flag=True, help="Print what changes; without -o nothing is written.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say at the end what was done.")
@report_errors
def strip(
    source: Path, output: Path | None, overwrite: bool, check: bool, diff: bool, quiet: bool
) -> None:
    """Takes the trace calls out of SOURCE: a directory, a file or a wheel.

    Taken out are statements of trace_* calls, the decorators trace_fn and cuda.range, and
    with span(...), with cuda.range(...) round their blocks, together with their arguments.
    narrate() stays.  Formatting and comments are kept; SOURCE itself is never changed.
    What must stay is named, with the reason.

    Exit status: 0, 1 if --check found a trace call, 2 for what cannot be done.
    """
    if check and (output is not None or diff):
        raise click.UsageError("--check goes alone: it writes nothing and changes nothing")
    if not check and not diff and output is None:
        raise click.UsageError("give -o OUTPUT, --diff or --check")
    if check:
        sys.exit(_check(source))
    results = _write(source, output, overwrite) if output is not None else _strip(source)
    if diff:
        for result in results:
            click.echo(_diff(result), nl=False)
    _report(results, quiet=quiet)


def _is_wheel(source: Path) -> bool:
    return source.suffix == ".whl"


def _check(source: Path) -> int:
    """Prints every trace call that is there; the exit status."""
    remaining = 0
    for result in _strip(source, only_look=True):
        if result.problem:
            click.echo(f"{_place(result)}: {safe(result.problem)}", err=True)
            remaining += 1
        for use in sorted((*result.stripped.taken, *result.stripped.kept), key=_position):
            why = f" ({use.kept}: strip leaves it)" if use.kept else ""
            click.echo(f"{_place(result, use)}: {safe(use.name)}{why}")
            remaining += 1
    if remaining:
        calls = "trace call remains" if remaining == 1 else "trace calls remain"
        click.echo(f"{remaining} {calls} [strip-check]", err=True)
    return 1 if remaining else 0


def _strip(source: Path, *, only_look: bool = False) -> list[Result]:
    from gpu_narration.stripping import trees, wheels

    strip: Callable[[File, bytes], Result] = trees.look_at if only_look else trees.strip_bytes
    if _is_wheel(source):
        return wheels.strip_members(source, strip)
    files = trees.sources(source)
    with _bar(len(files)) as step:
        return [step(strip(file, file.path.read_bytes())) for file in files]


def _write(source: Path, output: Path, overwrite: bool) -> list[Result]:
    from gpu_narration.stripping import trees, wheels

    if _is_wheel(source):
        target = output / source.name
        trees.prepare_output(source, target, overwrite=overwrite)
        output.mkdir(parents=True, exist_ok=True)
        return wheels.strip_wheel(source, target)
    trees.prepare_output(source, output, overwrite=overwrite)
    with _bar(len(trees.sources(source))) as step:
        return trees.write_tree(source, output, step)


@contextmanager
def _bar(files: int) -> Iterator[Callable[[Result], Result]]:
    """A bar on stderr if that is a terminal and there are many files."""
    if files < _MANY or not sys.stderr.isatty():
        yield lambda result: result
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Stripping", total=files)

        def step(result: Result) -> Result:
            bar.advance(task)
            return result

        yield step


def _diff(result: Result) -> str:
    """A unified diff; of lines as the file's encoding has them, escaped where unsafe."""
    name = _place(result)
    before, after = (_lines(text) for text in (result.before, result.stripped.text))
    lines = difflib.unified_diff(before, after, name, f"{name} (stripped)", lineterm="")
    return "".join(f"{safe(line)}\n" for line in lines)


def _lines(source: bytes) -> list[str]:
    from gpu_narration.stripping.source import text_of

    return text_of(source).expandtabs(8).splitlines()


def _report(results: Iterable[Result], *, quiet: bool) -> None:
    results = list(results)
    for result in results:
        if result.problem:
            click.echo(f"{_place(result)}: left as it is: {safe(result.problem)}", err=True)
        for use in result.stripped.kept:
            click.echo(f"{_place(result, use)}: {safe(use.name)} stays: {use.kept}", err=True)
    if not quiet:
        taken = sum(len(result.stripped.taken) for result in results)
        kept = sum(len(result.stripped.kept) for result in results)
        changed = sum(bool(result.stripped.taken) for result in results)
        click.echo(f"{taken} taken out of {changed} of {len(results)} files; {kept} stay", err=True)


def _place(result: Result, use: Use | None = None) -> str:
    path = safe(str(result.file.path))
    return path if use is None else f"{path}:{use.line}:{use.column}"


def _position(use: Use) -> tuple[int, int]:
    return use.line, use.column
