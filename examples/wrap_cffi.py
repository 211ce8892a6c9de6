"""A library through cffi, traced whole: its functions stay what cffi made them.

python examples/wrap_cffi.py
"""

import tempfile

import gpu_narration as gn
from gpu_narration import ffi as foreign
from gpu_narration.tracefile import Trace
from gpu_narration.views.text import line


def main() -> None:
    try:
        import cffi
    except ModuleNotFoundError:
        print("cffi is not installed: pip install cffi")
        return
    ffi = cffi.FFI()
    ffi.cdef("""
        void qsort(int *base, size_t nmemb, size_t size, int (*compare)(int *, int *));
        int abs(int number);
    """)
    libc = ffi.dlopen(None)
    numbers = ffi.new("int[]", [5, -3, 4, -1])

    @ffi.callback("int(int *, int *)")  # type: ignore[untyped-decorator, unused-ignore]
    def compare(first: list[int], second: list[int]) -> int:
        return int(libc.abs(first[0])) - int(libc.abs(second[0]))

    with tempfile.TemporaryDirectory() as directory:
        with (
            gn.start(f"{directory}/cffi", backend="none", vram=False) as recorder,
            foreign.trace_library(libc, actor="libc"),
        ):
            libc.qsort(numbers, len(numbers), ffi.sizeof("int"), compare)
        print("sorted by size:", list(numbers))
        trace = Trace(recorder.path)
        for event in trace.events():
            print(line(event, trace.annotations(event)))


if __name__ == "__main__":
    main()
