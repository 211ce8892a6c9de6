"""The command line of ``nsys profile`` for a program that we record.

The options are those of the user guide of Nsight Systems,
https://docs.nvidia.com/nsight-systems/UserGuide/ ("CLI Profile Command Switch Options").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._errors import OptionError

#: The domain of our ranges; ``cuda/ranges.py`` has it for the recording half.
DOMAIN = "gpu_narration"

#: What we ask for, unless the user's own options say something about it: the long name
#: of the option, its short one, and the value.  The CPU is not sampled: that needs
#: permissions, and costs the program what we do not.
_DEFAULTS = (
    ("--trace", "-t", "cuda,nvtx,osrt"),
    ("--sample", "-s", "none"),
    ("--cpuctxsw", "", "none"),
    ("--cuda-graph-trace", "", "node"),
    ("--export", "", "sqlite"),
)
#: Long names of short options that we look at.
_LONG = {"-t": "--trace", "-s": "--sample", "-o": "--output", "-c": "--capture-range",
         "-p": "--nvtx-capture", "-f": "--force-overwrite"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of nsys leaves behind.

    base: the path without its suffix.
    exported: whether an SQLite export is asked for.
    """

    base: Path
    exported: bool

    @property
    def report(self) -> Path:
        """The report for the viewer."""
        return self.base.with_name(f"{self.base.name}.nsys-rep")

    @property
    def sqlite(self) -> Path:
        """The export that ``gpu-narration nsys`` reads."""
        return self.base.with_name(f"{self.base.name}.sqlite")

    def there(self) -> list[Path]:
        """What of it exists."""
        return [path for path in (self.report, self.sqlite) if path.exists()]


def command(
    nsys: str,
    application: Sequence[str],
    base: Path,
    *,
    options: Sequence[str] = (),
    capture_range: str | None = None,
    memory_usage: bool = False,
    overwrite: bool = False,
) -> tuple[list[str], Report]:
    """The command that profiles ``application``, and where its report will be.

    base: path of the report without a suffix, unless ``options`` name one.
    options: the user's own, for ``nsys profile``; they win over ours.
    capture_range: collect from the first range of this name in our domain to its end;
        else all of the program.
    memory_usage: have nsys follow device memory too, which slows allocations.

    Raises OptionError for options that exclude each other.
    """
    given = _given(options)
    if capture_range is not None and "--capture-range" in given:
        raise OptionError(
            "--capture-range is among nsys's options too",
            next_step="leave out one of the two",
        )
    line = [nsys, "profile"]
    line += [f"{name}={value}" for name, _, value in _DEFAULTS if name not in given]
    if memory_usage and "--cuda-memory-usage" not in given:
        line.append("--cuda-memory-usage=true")
    if capture_range is not None:
        # Matched against registered strings, which the names of our ranges are.
        line += ["--capture-range=nvtx", f"--nvtx-capture={_escaped(capture_range)}@{DOMAIN}"]
        if "--capture-range-end" not in given:
            line.append("--capture-range-end=stop")
    if "--output" not in given:
        line.append(f"--output={base}")
    if overwrite and "--force-overwrite" not in given:
        line.append("--force-overwrite=true")
    output = Path(given.get("--output", str(base)))
    if output.suffix == ".nsys-rep":
        output = output.with_suffix("")
    report = Report(output, "sqlite" in given.get("--export", "sqlite").split(","))
    return [*line, *options, *application], report


def _given(options: Sequence[str]) -> dict[str, str]:
    """The user's options by their long names."""
    given: dict[str, str] = {}
    place = 0
    while place < len(options):
        name, equals, value = options[place].partition("=")
        place += 1
        if not equals and not name.startswith("--") and place < len(options):
            value = options[place]
            place += 1
        given[_LONG.get(name, name)] = value
    return given


def _escaped(name: str) -> str:
    r"""A range's name in ``range@domain``, where ``@`` and ``\\`` have a meaning."""
    return name.replace("\\", "\\\\").replace("@", "\\@")
