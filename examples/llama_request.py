"""One request to a llama.cpp: its prefill, every token, time to the first one.

python examples/llama_request.py
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import gpu_narration as gn
from gpu_narration import ffi
from gpu_narration.timeline.request import RequestReader
from gpu_narration.tracefile import Trace
from gpu_narration.views.request import print_request


def main() -> None:
    for package in ("gguf", "ik_llama_cpp"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed; pip install 'gpu-narration[demo]'")
            return
    from gpu_narration.demo.engine import Engine
    from gpu_narration.demo.model import write

    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "tiny.gguf"
        write(model)
        path = f"{directory}/llama.gnt"
        # Before or after a binding is imported; llama-cpp-python's is found the same way.
        with gn.start(path, backend="none", vram=False) as recorder, ffi.llama.install():
            engine = Engine(model)
            with gn.correlation("req-7"):
                first = engine.prefill(engine.tokenize("the kernel waits for the stream"))
                print("".join(engine.generate(first, 24)))
            engine.close()

        # What `gpu-narration spans llama.gnt --correlation req-7` prints first.
        trace = Trace(recorder.path)
        reader = RequestReader("req-7", trace.annotations)
        for _ in reader.watching(trace.events()):
            pass
        print_request(reader.finish(), sys.stdout, color=False)


if __name__ == "__main__":
    main()
