"""``gpu-narration lint``: the texts of calls in sources, judged without running anything."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_narration._errors import OptionError
from gpu_narration.cli.options import color_option, report_errors, wants_color
from gpu_narration.views.escape import safe

if TYPE_CHECKING:
    from gpu_narration.editorial.finding import Finding
    from gpu_narration.editorial.settings import Settings

_STDIN = "-"


@click.command(
    epilog="""\b
Examples:
  gpu-narration lint src/
  gpu-narration lint --select GN1,GN4 --statistics src/ tests/
  gpu-narration lint --explain GN205
  gpu-narration lint --format sarif src/ > lint.sarif
  cat app.py | gpu-narration lint - --stdin-filename src/app.py

\b
A finding is suppressed by  # noqa: GN205  on its line, or on the first or last line of
its call.  Settings are in [tool.gpu_narration.lint] of the nearest pyproject.toml:
select, ignore, exclude, extend-exclude, per-file-ignores.  Notebooks are not read."""
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--select", multiple=True, metavar="CODES",
              help="Codes to check, or how they begin, with commas; instead of the settings'.")  # fmt: skip
@click.option(
    "--ignore", multiple=True, metavar="CODES", help="Codes not to check; instead of the settings'."
)
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text",
              show_default=True, help="How findings are written.")  # fmt: skip
@click.option(
    "--statistics", is_flag=True, help="How many findings each rule has, not the findings."
)
@click.option(
    "--explain", metavar="CODE", help="What a rule wants and why, with an example; reads nothing."
)
@click.option("--stdin-filename", type=click.Path(path_type=Path), metavar="PATH",
              help="What the source on standard input (-) is called.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="The pyproject.toml to take settings from.")  # fmt: skip
@click.option("--isolated", is_flag=True, help="No settings but those of the command line.")
@click.option(
    "--force-exclude", is_flag=True, help="Leave out excluded files even if they are named."
)
@click.option("--exit-zero", is_flag=True, help="Exit status 0 with findings, too.")
@color_option
@report_errors
def lint(
    paths: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    form: str,
    statistics: bool,
    explain: str | None,
    stdin_filename: Path | None,
    config: Path | None,
    isolated: bool,
    force_exclude: bool,
    exit_zero: bool,
    color: str,
) -> None:
    """Checks the texts of narrate, trace_* and their like in PATHS (the current folder).

    The sources are read, never run or imported.  Exit status: 0 nothing found, 1 something
    found, 2 an error.
    """
    if explain is not None:
        from gpu_narration.editorial.rules import explain as explanation

        print(explanation(explain))
        return
    _check_paths(paths, stdin_filename)
    settings = _settings(paths, stdin_filename, config, isolated=isolated).with_codes(
        _split(select), _split(ignore)
    )
    findings: list[Finding] = []
    files = 0
    for found in _lint(paths, settings, stdin_filename, force_exclude=force_exclude):
        files += 1
        findings += found
    if form == "sarif":
        from gpu_narration.editorial.sarif import sarif

        _print_json(sarif(findings))
    elif statistics:
        _print_statistics(findings, as_json=form == "json")
    elif form == "json":
        from gpu_narration.editorial.listing import as_object

        _print_json([as_object(finding) for finding in findings])
    else:
        _print_text(findings, files, color=wants_color(color, sys.stdout))
    if findings and not exit_zero:
        sys.exit(1)


def _split(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip() for given in codes for code in given.split(","))


def _check_paths(paths: tuple[Path, ...], stdin_filename: Path | None) -> None:
    for path in paths:
        if str(path) == _STDIN:
            if len(paths) > 1:
                raise OptionError(
                    "- (standard input) stands beside other paths", next_step="give it alone"
                )
        elif not path.exists():
            raise OptionError(f"there is no {path}", next_step="check the path")
        elif path.suffix == ".ipynb":
            raise OptionError(
                f"{path} is a notebook, and notebooks are not read",
                next_step="convert it to a .py file first",
            )
    if stdin_filename is not None and [str(path) for path in paths] != [_STDIN]:
        raise OptionError(
            "--stdin-filename names what is on standard input", next_step="give - as the path"
        )


def _settings(
    paths: tuple[Path, ...], stdin_filename: Path | None, config: Path | None, *, isolated: bool
) -> Settings:
    """The settings in force: those of the folder that holds all that is read."""
    from gpu_narration.editorial.settings import Settings, find, load

    if isolated:
        return Settings(root=Path.cwd())
    if config is not None:
        return load(config.absolute())
    real = [Path(os.path.realpath(path)) for path in paths if str(path) != _STDIN] or [
        Path(os.path.realpath(stdin_filename or "."))
    ]
    start = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in real]))
    file = find(start)
    return Settings(root=Path.cwd()) if file is None else load(file)


def _lint(
    paths: tuple[Path, ...], settings: Settings, stdin_filename: Path | None, *, force_exclude: bool
) -> Iterator[list[Finding]]:
    """The findings of each file."""
    from gpu_narration.editorial.files import sources
    from gpu_narration.editorial.linter import lint_bytes, lint_file

    if [str(path) for path in paths] == [_STDIN]:
        shown = str(stdin_filename or _STDIN)
        path = Path(os.path.realpath(stdin_filename)) if stdin_filename is not None else None
        found = lint_bytes(sys.stdin.buffer.read(), shown)
        yield [finding for finding in found if settings.wants(finding, path)]
        return
    for file in sources(paths or (Path(),), settings, force_exclude=force_exclude):
        found = lint_file(file, str(file))
        yield [finding for finding in found if settings.wants(finding, file.absolute())]


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _print_text(findings: Sequence[Finding], files: int, *, color: bool) -> None:
    for finding in findings:
        place = f":{finding.span.line}:{finding.span.column}:"
        line = (
            click.style(safe(finding.path), bold=True) + click.style(place, fg="cyan")
            + " " + click.style(finding.code, fg="red", bold=True) + " " + safe(finding.message)
        )  # fmt: skip
        click.echo(line if color else click.unstyle(line), color=True)
    checked = f"{files} file{'' if files == 1 else 's'}"
    if not files:
        print("There are no Python files to check.")
    elif not findings:
        print(f"All checks passed in {checked}.")
    else:
        within = len({finding.path for finding in findings})
        many = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}"
        print(f"Found {many} in {within} of {checked}.")


def _print_statistics(findings: Sequence[Finding], *, as_json: bool) -> None:
    from gpu_narration.editorial.listing import statistics

    rows = statistics(findings)
    if as_json:
        _print_json([{"code": code, "name": name, "count": count} for count, code, name in rows])
        return
    width = len(str(rows[0][0])) if rows else 0
    for count, code, name in rows:
        print(f"{count:{width}}  {code}  {name}")
