"""The NVTX tool of the tests, for the state "with an NVTX tool"."""

from __future__ import annotations

import sys
from pathlib import Path

import gpu_narration  # noqa: F401 - the installed one, before the source tree is on the path
from gate import Unknown

LIBRARY = "libnvtx_tool.so"


def environment() -> dict[str, str] | Unknown:
    """What attaches the tool to a process that is started with it.

    The tool writes a line for each call, here to nowhere: formatting it and the system
    call are part of what a clock measures in that state.
    """
    try:
        import pytest

        sys.path.append(str(Path(__file__).resolve().parents[1]))
        from tests.support.native import nvtx_tool
    except ImportError as error:
        return Unknown(f"{error}; pip install '.[test]'")
    try:
        library = nvtx_tool()
    except pytest.skip.Exception as error:
        return Unknown(str(error))
    assert library.name == LIBRARY
    return {"NVTX_INJECTION64_PATH": str(library), "NVTX_TOOL_LOG": "/dev/null"}
