"""Prepares, measures, judges, and writes the report; README.md beside this file says how.

Exit status: 0 all musts hold, 1 a must does not or is not shown, 2 there is no GPU (nothing
is written), 3 wrong use, or something to build with is missing (nothing is written).
With --simulate: 0 if every part ran, 1 if one did not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from bench.gpu_check import preparing
from bench.gpu_check.preparing import CannotPrepareError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"

FORMAT = 1
PART_PATIENCE_S = 300

PARTS = (
    "device", "accuracy", "pair cost", "overhead", "placement", "syncs", "selected",
    "rival cupyx", "rival torch", "rival cupti",
)  # fmt: skip

OK, FAILED, NO_GPU, CANNOT = 0, 1, 2, 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(CANNOT, f"gpu_check: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    cuda: int | str = 0
    if not options.simulate:
        cuda = preparing.cuda_of_driver()
        if isinstance(cuda, str):
            print(f"gpu_check: {cuda}. Nothing was measured and nothing is written; "
                  "--simulate tries the program without a GPU.", file=sys.stderr)  # fmt: skip
            return NO_GPU
    try:
        env, where = _prepare(options, cuda)
        counter = preparing.build_counter(options.scratch)
    except CannotPrepareError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return CANNOT
    with tempfile.TemporaryDirectory(prefix="gpu_check-") as directory:
        parts = _measure(options, env, counter, Path(directory))
    report = _report(options, parts, where, env)
    _write(options.out, report)
    return _say(report, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m bench.gpu_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Examples:\n"
        "  python -m bench.gpu_check --out bench/results/h100.json --wheels wheels\n"
        "  python -m bench.gpu_check --simulate --quick --out /tmp/try.json",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--wheels", type=Path, help="a folder that collect.py has filled")
    parser.add_argument("--backend", default="auto", choices=["auto", "cupy", "driver"],
                        help="the backend under test; kernels are launched through CuPy")  # fmt: skip
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="on the simulated GPU: tries the program, measures nothing",
    )
    parser.add_argument("--quick", action="store_true", help="few turns: to try the program")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=ROOT / "build" / "gpu_check",
        help="where wheels are installed to and the C core is built; build/gpu_check",
    )
    parser.add_argument(
        "--installed", action="store_true", help="do not build: the package that this Python has"
    )
    options = parser.parse_args(arguments)
    if options.simulate and options.out.resolve().is_relative_to(RESULTS):
        parser.error("bench/results holds measurements; a simulation's report goes elsewhere")
    if not options.out.resolve().parent.is_dir():
        parser.error(f"there is no folder {options.out.resolve().parent}")
    if options.wheels is not None and not options.wheels.is_dir():
        parser.error(f"there is no folder {options.wheels}")
    return options


def _prepare(options: argparse.Namespace, cuda: int | str) -> tuple[dict[str, str], list[str]]:
    """The environment for the parts, and the folders that packages come from."""
    packages, built = options.scratch / "packages", options.scratch / "built"
    bench = preparing.show_bench(ROOT, options.scratch / "tree")
    folders = []
    if options.wheels is not None:
        print("gpu_check: installing the wheels", file=sys.stderr)
        preparing.install(options.wheels, cuda if isinstance(cuda, int) else 12, packages)
        folders = [packages]
    where = [*map(str, folders), *sys.path]
    if options.installed:
        return preparing.environment(*folders, bench), where
    missing = preparing.missing_tools(where)
    if missing:
        raise CannotPrepareError("cannot build here:\n  " + "\n  ".join(missing))
    print("gpu_check: building the C core", file=sys.stderr)
    preparing.build(ROOT, built, preparing.environment(*folders))
    return preparing.environment(built / "lib", *folders, bench), where


def _measure(
    options: argparse.Namespace, env: dict[str, str], counter: Path, directory: Path
) -> dict[str, Any]:
    """Every part's result, or ``{"failed": why}``."""
    print("gpu_check: running the tests", file=sys.stderr)
    parts: dict[str, Any] = {"tests": preparing.run_tests(ROOT, directory / "tests.xml", env)}
    for name in PARTS:
        print(f"gpu_check: {name}", file=sys.stderr)
        begin = time.monotonic()
        parts[name] = _part(name, options, env, counter, directory)
        print(f"gpu_check: {name} took {time.monotonic() - begin:.1f} s", file=sys.stderr)
    return parts


def _part(
    name: str, options: argparse.Namespace, env: dict[str, str], counter: Path, directory: Path
) -> Any:
    out = directory / f"{name}.json"
    command = [sys.executable, "-P", "-m", "bench.gpu_check.part", name, "--out", str(out)]
    command += ["--simulate"] if options.simulate else ["--backend", options.backend]
    command += ["--quick"] if options.quick else []
    if name == "syncs":
        env = {**env, "LD_PRELOAD": str(counter)}
    try:
        done = subprocess.run(
            command, cwd=directory, env=env, capture_output=True, text=True,
            timeout=PART_PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"it did not end within {PART_PATIENCE_S} s"}
    if done.returncode != 0 or not out.exists():
        return {"failed": f"it ended with {done.returncode}: {done.stderr}"[-4000:]}
    return json.loads(out.read_text(encoding="utf-8"))


def _report(
    options: argparse.Namespace, parts: dict[str, Any], where: list[str], env: dict[str, str]
) -> dict[str, Any]:
    """The report; it is put together where the packages are."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.gpu_check.conclude", str(ROOT)],
        input=json.dumps({"parts": parts, "where": where, "simulated": options.simulate}),
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the report cannot be put together: {done.stderr}")
    concluded: dict[str, Any] = json.loads(done.stdout)
    return {
        "format": FORMAT,
        "simulated": options.simulate,
        "quick": options.quick,
        "asked_backend": "mock" if options.simulate else options.backend,
        **concluded,
        "parts": parts,
    }


def _write(out: Path, report: dict[str, Any]) -> None:
    """Whole or not at all."""
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    beside.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    beside.replace(out)


def _say(report: dict[str, Any], options: argparse.Namespace) -> int:
    """The verdicts in lines, and the exit status."""
    failed = [name for name, found in report["parts"].items()
              if isinstance(found, dict) and "failed" in found]  # fmt: skip
    for name in failed:
        print(f"part {name} failed: {report['parts'][name]['failed'].strip()}", file=sys.stderr)
    marks = {True: "ok", False: "NO", None: "not shown"}
    for verdict in report["verdicts"]:
        print(f"{marks[verdict['ok']]:9}  {verdict['must']}: {verdict['found']}")
    if options.simulate:
        print("The GPU was simulated: this tries the program and says nothing of any GPU.")
    print(f"The report is {options.out}")
    if options.simulate:
        return FAILED if failed else OK
    return OK if all(verdict["ok"] for verdict in report["verdicts"]) else FAILED


if __name__ == "__main__":
    sys.exit(main())
