"""Running a program in this process as if Python itself had been given it."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import runpy
import shlex
import sys
from dataclasses import dataclass
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING

from gpu_narration._errors import say

if TYPE_CHECKING:
    from gpu_narration.recorder import Recorder


@dataclass(slots=True)
class Program:
    """A script or module with its arguments.  Calling it runs it and ends like it.

    The recording goes on until the interpreter ends, so that threads and atexit
    functions of the program are in it.
    """

    script: str | None
    module: str | None
    arguments: list[str]
    recorder: Recorder
    quiet: bool
    #: Whether the script itself goes without its trace calls.
    strip: bool = False

    def __call__(self) -> None:
        """Runs the program.  What it raises goes on to the interpreter, which then ends
        as it would have, by exit status or by signal; only our frames are not shown.
        """
        if not self.quiet:
            # As seen from here: the program may change its directory.
            shown = os.path.relpath(self.recorder.path)
            self.recorder.at_end(lambda stats: self._say_where(shown, stats))
        try:
            if self.module is not None:
                self._run_module(self.module)
            else:
                assert self.script is not None
                self._run_script(self.script)
        except SystemExit:
            raise
        except BaseException as error:
            _hide_our_frames()
            if type(error) is KeyboardInterrupt:
                self.recorder.at_end(_end_by_sigint)
            raise

    def _run_script(self, script: str) -> None:
        # As python does with a script: the file itself is __main__.
        main = ModuleType("__main__")
        main.__dict__.update(
            __file__=script, __builtins__=builtins, __cached__=None, __spec__=None, __loader__=None
        )
        sys.modules["__main__"] = main
        sys.argv[:] = [script, *self.arguments]
        sys.path[0] = os.path.dirname(os.path.realpath(script))  # noqa: PTH120
        exec(_compiled(script, strip=self.strip), main.__dict__)  # noqa: S102 - the program to run

    def _run_module(self, module: str) -> None:
        sys.argv[:] = [module, *self.arguments]
        sys.path[0] = os.getcwd()  # noqa: PTH109 - as python -m does
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    def _say_where(self, path: str, stats: dict[str, int]) -> None:
        if not self.recorder.path.is_dir():
            return  # the recorder has said so
        lost = "".join(
            f", {stats[how]} {how}" for how in ("dropped", "forgotten") if stats.get(how)
        )
        command = f"gpu-narration show {shlex.quote(path)}"
        say(f"{stats.get('records', 0)} records of this process{lost} in {path}; see: {command}")


def _compiled(script: str, *, strip: bool) -> CodeType:
    with io.open_code(script) as file:
        source = file.read()
    if strip:
        from gpu_narration.stripping.hook import compile_or_contain

        code = compile_or_contain(source, script, -1)
        if code is not None:
            return code
    return compile(source, script, "exec", dont_inherit=True)


def _end_by_sigint(_: dict[str, int]) -> None:
    """Python dies of SIGINT if the last text it executed ended in a KeyboardInterrupt.

    That was the program; but imports execute texts too (``namedtuple`` does), and
    the recording may have imported something since.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102


def _hide_our_frames() -> None:
    """The report of an uncaught exception begins with the program's first frame."""
    report = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        shown = _first_of_program(traceback)
        report(kind, error.with_traceback(shown), shown)

    sys.excepthook = hook


def _first_of_program(traceback: TracebackType | None) -> TracebackType | None:
    frame, first = traceback, traceback
    while frame is not None:
        code = frame.tb_frame.f_code
        if code.co_filename == __file__ or "runpy" in code.co_filename:
            first = frame.tb_next
        frame = frame.tb_next
    return first
