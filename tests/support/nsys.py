"""A stand-in for ``nsys``: it starts the program with our NVTX tool attached, and leaves files.

What it cannot show is that the real one takes the options; their spelling is that of its
user guide.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

from tests.support.nvtx import tool_environment

_SOURCE = """\
#!{python}
import json, os, subprocess, sys
here = {here!r}
settings = json.load(open(os.path.join(here, "settings.json")))
if sys.argv[1:] == ["--version"]:
    print(settings["version"])
    sys.exit()
json.dump(sys.argv[1:], open(os.path.join(here, "arguments.json"), "w"))
arguments = sys.argv[2:]
options = {{}}
while arguments and arguments[0].startswith("-"):
    name, equals, value = arguments.pop(0).partition("=")
    options[name] = value if equals else arguments.pop(0)
if settings["refuses"]:
    print("unrecognised option", file=sys.stderr)
    sys.exit(1)
child = subprocess.Popen(arguments, env={{**os.environ, **settings["environment"]}})
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
status = child.wait()
if settings["captures"]:
    for suffix in ("nsys-rep", "sqlite"):
        open(options.get("--output", options.get("-o")) + "." + suffix, "w").write("report")
sys.exit(status if status >= 0 else 128 - status)
"""


class FakeNsys:
    """An ``nsys`` in a directory of its own, to be put on PATH."""

    def __init__(
        self,
        directory: Path,
        *,
        version: str = "NVIDIA Nsight Systems version 2026.3.1.157-263138048394v0",
        refuses: bool = False,
        captures: bool = True,
    ) -> None:
        self.directory = directory / "nsys-bin"
        self.directory.mkdir()
        settings = {
            "version": version,
            "refuses": refuses,
            "captures": captures,
            "environment": tool_environment(directory),
        }
        (self.directory / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        self.path = self.directory / "nsys"
        source = _SOURCE.format(python=sys.executable, here=str(self.directory))
        self.path.write_text(textwrap.dedent(source), encoding="utf-8")
        self.path.chmod(0o755)

    def arguments(self) -> list[str]:
        """What it was last called with."""
        found: list[str] = json.loads((self.directory / "arguments.json").read_text("utf-8"))
        return found
