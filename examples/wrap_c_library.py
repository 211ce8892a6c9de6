"""A C library traced whole: every call of zlib, through ctypes.

python examples/wrap_c_library.py
"""

import ctypes
import ctypes.util
import tempfile

import gpu_narration as gn
from gpu_narration import ffi
from gpu_narration.tracefile import Trace
from gpu_narration.views.text import line


def main() -> None:
    name = ctypes.util.find_library("z")
    if name is None:
        print("zlib is not on this machine")
        return
    zlib = ctypes.CDLL(name)
    zlib.crc32.argtypes = [ctypes.c_ulong, ctypes.c_char_p, ctypes.c_uint]
    zlib.crc32.restype = ctypes.c_ulong
    with tempfile.TemporaryDirectory() as directory:
        with (
            gn.start(f"{directory}/zlib", backend="none", vram=False) as recorder,
            ffi.trace_library(zlib, actor="zlib"),
        ):
            print("crc32 of b'hello':", zlib.crc32(0, b"hello", 5))
        trace = Trace(recorder.path)
        for event in trace.events():
            print(line(event, trace.annotations(event)))


if __name__ == "__main__":
    main()
