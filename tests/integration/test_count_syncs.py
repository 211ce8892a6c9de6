"""The counter that gpu_check preloads sees the driver's functions however they are got at.

A library of a few functions stands for libcuda; a program gets at them the ways that
CUDA's runtime, cuda.bindings and ctypes do: dlsym, and cuGetProcAddress.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import load
from tests.support.run import run_python

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None and shutil.which("cc") is None, reason="no C compiler"
)

DRIVER = r"""
#include <string.h>
int cuStreamSynchronize(void *stream) { return stream == 0 ? 0 : 400; }
int cuStreamSynchronize_ptsz(void *stream) { return stream == 0 ? 1 : 401; }
int cuEventRecord(void *event, void *stream) { return (int)((long)event + (long)stream); }
int cuMemcpyDtoH_v2(void *to, unsigned long from, unsigned long size)
{
    return (int)((unsigned long)to + from + size);
}
int cuMemcpyDtoHAsync_v2(void) { return 7; }
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long flags, int *status)
{
    *found = 0;
    if (strcmp(name, "cuGetProcAddress") == 0)
        *found = cuGetProcAddress_v2;
    if (strcmp(name, "cuStreamSynchronize") == 0)
        *found = flags == 2 ? cuStreamSynchronize_ptsz : cuStreamSynchronize;
    if (strcmp(name, "cuEventRecord") == 0)
        *found = cuEventRecord;
    if (status != 0)
        *status = version;
    return *found == 0 ? 500 : 0;
}
"""

#: What the programs share: ask() gets a function by cuGetProcAddress, counts() says what was seen.
PROGRAM = r"""
import ctypes, json, threading

cuda = ctypes.CDLL("libcuda.so.1")
counter = ctypes.CDLL(None)
counter.count_syncs_name.restype = ctypes.c_char_p
counter.count_syncs_mine.restype = counter.count_syncs_all.restype = ctypes.c_ulong

def ask(name, flags=0):
    found, status = ctypes.c_void_p(), ctypes.c_int()
    result = cuda.cuGetProcAddress_v2(
        name, ctypes.byref(found), 12090, ctypes.c_ulong(flags), ctypes.byref(status)
    )
    assert result == 0 and status.value == 12090
    return ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5)(found.value)

def counts(count=counter.count_syncs_mine):
    slots = range(counter.count_syncs_functions())
    return [(counter.count_syncs_name(slot).decode(), count(slot)) for slot in slots]
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the counter, the folder of the driver)."""
    folder = tmp_path_factory.mktemp("count_syncs")
    preparing = load("preparing")
    source = folder / "driver.c"
    source.write_text(DRIVER, encoding="utf-8")
    subprocess.run(
        [preparing.compiler(), "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source],
        check=True,
    )
    return preparing.build_counter(folder), folder


@pytest.fixture
def ran(libraries: tuple[Path, Path]) -> Any:
    """Runs a program with the counter preloaded; what it printed as JSON."""
    counter, driver = libraries

    def run(program: str) -> Any:
        env = {"LD_PRELOAD": str(counter), "LD_LIBRARY_PATH": str(driver)}
        return json.loads(run_python(PROGRAM + program, env=env).stdout)

    return run


def test_calls_by_dlsym_are_counted(ran: Any) -> None:
    assert ran("cuda.cuStreamSynchronize(None); print(json.dumps(counts()))") == [
        ["cuStreamSynchronize", 1]
    ]


def test_calls_by_the_drivers_own_lookup_are_counted(ran: Any) -> None:
    program = "ask(b'cuEventRecord')(2, 3, 0, 0, 0); print(json.dumps(counts()))"
    assert ran(program) == [["cuEventRecord", 1]]


def test_a_lookup_that_was_itself_looked_up_is_seen(ran: Any) -> None:
    program = """
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, *[ctypes.c_void_p] * 4)
again = kind(ctypes.cast(ask(b"cuGetProcAddress"), ctypes.c_void_p).value)
found = ctypes.c_void_p()
again(b"cuStreamSynchronize", ctypes.addressof(found), 12090, 0, None)
ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(found.value)(None)
print(json.dumps(counts()))
"""
    assert ran(program) == [["cuStreamSynchronize", 1]]


def test_arguments_and_results_pass_through(ran: Any) -> None:
    program = """
print(json.dumps([cuda.cuMemcpyDtoH_v2(1, 20, 300), ask(b"cuEventRecord")(2, 3, 0, 0, 0)]))
"""
    assert ran(program) == [321, 5]


def test_two_functions_of_one_name_are_kept_apart(ran: Any) -> None:
    """GIVEN a function for each kind of default stream THEN each leads to its own."""
    program = """
results = [ask(b"cuStreamSynchronize", flags)(None, 0, 0, 0, 0) for flags in (1, 2, 2)]
print(json.dumps([results, counts()]))
"""
    assert ran(program) == [
        [0, 1, 1], [["cuStreamSynchronize", 1], ["cuStreamSynchronize", 2]]
    ]  # fmt: skip


def test_a_thread_counts_its_own_calls(ran: Any) -> None:
    program = """
cuda.cuStreamSynchronize(None)
thread = threading.Thread(target=lambda: [cuda.cuStreamSynchronize(None) for _ in range(5)])
thread.start()
thread.join()
print(json.dumps([counts(), counts(counter.count_syncs_all)]))
"""
    assert ran(program) == [[["cuStreamSynchronize", 1]], [["cuStreamSynchronize", 6]]]


def test_a_call_that_does_not_wait_is_not_counted_as_one_that_does(ran: Any) -> None:
    """GIVEN a name that begins like a counted one THEN it is another function."""
    program = "print(json.dumps([cuda.cuMemcpyDtoHAsync_v2(), counts()]))"
    assert ran(program) == [7, []]


def test_the_reader_of_the_counts_adds_up_the_functions_of_one_name(
    libraries: tuple[Path, Path], tmp_path: Path
) -> None:
    tree = load("preparing").show_bench(load("__main__").ROOT, tmp_path)
    program = (
        PROGRAM
        + f"""
import sys
sys.path.append({str(tree)!r})
from bench.gpu_check.syncs import Counter, synchronising
for flags in (1, 2):
    ask(b"cuStreamSynchronize", flags)(None, 0, 0, 0, 0)
print(json.dumps([Counter().mine(), synchronising(Counter().all())]))
"""
    )
    env = {"LD_PRELOAD": str(libraries[0]), "LD_LIBRARY_PATH": str(libraries[1])}
    assert json.loads(run_python(program, env=env).stdout) == [{"cuStreamSynchronize": 2}, 2]
