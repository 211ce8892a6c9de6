"""A library through cffi, in each of the ways that cffi has."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import cffi

DECLARATIONS = """
    int add(int a, int b);
    double half(double value);
    int is_there(const void *pointer);
    char *copy_text(const char *text);
    void free_text(char *text);
    int call_back(int (*callback)(int), int value);
    int call_back_on_a_thread(int (*callback)(int), int value);
    int missing_in_the_library(int);
"""
_API = (
    DECLARATIONS.replace("    int missing_in_the_library(int);\n", "")
    + """
    struct point { int x, y; double weight; };
    long sum_point(struct point point);
    void nothing(void);
"""
)


def in_line(library: Path) -> tuple[Any, Any]:
    """ABI mode without a compiler: the declarations are read at once."""
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    return ffi, ffi.dlopen(str(library))


def out_of_line(library: Path, directory: Path) -> tuple[Any, Any]:
    """ABI mode with a module that holds the declarations."""
    builder = cffi.FFI()
    builder.cdef(DECLARATIONS)
    builder.set_source("sample_abi", None)
    module = _load(Path(builder.compile(tmpdir=str(directory))), "sample_abi")
    return module.ffi, module.ffi.dlopen(str(library))


def compiled(source: Path, directory: Path) -> Any:
    """API mode: a module in C, with the library's source in it."""
    builder = cffi.FFI()
    builder.cdef(_API)
    builder.set_source("_sample_api", f'#include "{source}"')
    return _load(Path(builder.compile(tmpdir=str(directory))), "_sample_api")


def _load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
