"""``gpu-narration doctor``: what was found on this machine, and what to do."""

from __future__ import annotations

import json
import os
import sys

import click

from gpu_narration.cli.options import color_option, report_errors, wants_color


@click.command(
    epilog="""\b
Examples:
  gpu-narration doctor
  gpu-narration doctor --ffi llama_cpp.llama_cpp
  gpu-narration doctor --json | jq '.[] | select(.ok == false)'"""
)
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@click.option(
    "--ffi", "modules", multiple=True, metavar="MODULE",
    help="Imports this module and says which of its foreign functions can be traced, and "
    "which names elsewhere would escape.  May be given several times.",
)  # fmt: skip
@color_option
@report_errors
def doctor(as_json: bool, modules: tuple[str, ...], color: str) -> None:
    """Says what was found (driver, devices, CuPy, NVTX, NVML, llama) and, for each
    thing missing, what to do about it.

    Exit status: 0 if recording works here, 1 if it does not.  A missing GPU is no
    failure: everything but GPU time works without.
    """
    from gpu_narration.cli.findings import examine

    findings = examine()
    if modules:
        from gpu_narration.cli.foreign import look

        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as python -m does
        for module in modules:
            findings += look(module)
    if as_json:
        print(json.dumps([finding.as_object() for finding in findings], indent=2))
    else:
        from rich.table import Table
        from rich.text import Text

        from gpu_narration.views.escape import safe
        from gpu_narration.views.tables import TableConsole

        colored = wants_color(color, sys.stdout)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else Text("--", "yellow")
            if finding.essential and not finding.ok:
                mark = Text("no", "bold red")
            table.add_row(mark, finding.subject, Text(safe(finding.found)))
            if finding.todo:
                table.add_row("", "", Text(safe(f"→ {finding.todo}"), "cyan"))
        TableConsole(
            file=sys.stdout, force_terminal=colored, no_color=not colored, highlight=False,
            width=None if colored else 110,
        ).print(table)  # fmt: skip
    if any(finding.essential and not finding.ok for finding in findings):
        sys.exit(1)
