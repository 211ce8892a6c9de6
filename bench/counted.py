"""What instructions.py runs under callgrind; by itself it shows nothing.

    python bench/counted.py                  the states without a tool
    python bench/counted.py --tool           recording, with the tool of the environment

Every call of `getpgrp` ends a section: callgrind writes what it counted since the one
before.  For each loop there is a section of one and one of three thousand calls.
"""

# ruff: noqa: E402 - the import is counted, so nothing is loaded before it
import os

os.getpgrp()
import gpu_narration  # noqa: F401

os.getpgrp()

import gc
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from calls import CASES, NOT_STARTED, OFF, RECORDING, TOOL, WARM_UP, Block, Case, States
from gpu_narration import _core

ONE, THREE = 1_000, 3_000

#: Exit status: ticks are system calls here, so the counts are not those of the budgets.
NO_COUNTER = 3

START, IMPORT, SETTING_UP = "start of Python", "import", "setting up"


def loops(case: Case) -> Iterator[tuple[str, Block, object]]:
    """What is counted of a case in each state: the call, its rulers and the loop alone."""
    yield case.name, case.block, case.call
    for ruler in case.rulers:
        yield f"{case.name}: {ruler.name}", ruler.block, ruler.call
    yield f"{case.name}: bare", _without_calls(case.block), None


def states_of(*, tool: bool) -> tuple[str, ...]:
    return (TOOL,) if tool else (NOT_STARTED, OFF, RECORDING)


def sections(*, tool: bool) -> list[str]:
    """The names of the sections in the order in which callgrind writes them."""
    names = [START, IMPORT]
    for state in states_of(tool=tool):
        for case in CASES:
            for name, _block, _call in loops(case):
                names += [SETTING_UP, f"{state}/{name}/one", f"{state}/{name}/three"]
    return names


def _without_calls(block: Block) -> Block:
    return Block(lambda _call, count: block.bare(count), block.bare)


def _count(block: Block, call: object) -> None:
    block.run(call, WARM_UP)
    os.getpgrp()
    block.run(call, ONE)
    os.getpgrp()
    block.run(call, THREE)
    os.getpgrp()


def main() -> None:
    tool = "--tool" in sys.argv
    gc.disable()
    with tempfile.TemporaryDirectory() as directory:
        states = States(Path(directory))
        for state in states_of(tool=tool):
            with states.state(state):
                if state == RECORDING and _core.clock_source() == "monotonic":
                    sys.exit(NO_COUNTER)
                for case in CASES:
                    with case.inside():
                        for _name, block, call in loops(case):
                            _count(block, call)


if __name__ == "__main__":
    main()
