"""Two streams that overlap, a graph, and memory that comes and goes, on the simulated GPU.

gpu-narration run --backend mock --console examples/two_streams.py

Each range shows the time elapsed on its own stream, some 0.8 ms and 0.5 ms.  They ran
at the same time, so the wait at the end is no longer than the longer of them.
"""

import gpu_narration as gn
from gpu_narration import cuda


def main() -> None:
    # Under `gpu-narration run` this joins the recording that runs already.
    gn.start("two_streams.gnt", backend="mock", overwrite=True)
    session = cuda.current()
    assert session is not None
    backend = session.backend
    assert isinstance(backend, cuda.MockBackend), "run this with --backend mock"
    gpu = backend.gpu
    prefill, decode = gpu.stream(), gpu.stream()
    # Every launch is timed by a pair of events; without every=1 only the ranges are.
    attention = cuda.kernel(cuda.MockKernel("attention", 800_000), every=1)
    sample = cuda.kernel(cuda.MockKernel("sample", 150_000))

    with gn.span("engine", "load_model", vram=True):
        weights = gpu.malloc(6 << 30)
    gpu.memcpy("h2d", 1 << 20, prefill)
    with gn.correlation("req-1"), cuda.range("prefill", stream=prefill):
        attention((64,), (256,), (), stream=prefill)
    with gn.correlation("req-2"), cuda.range("decode", stream=decode):
        for _ in range(3):
            sample((1,), (256,), (), stream=decode)
    gpu.synchronize()

    # Captured work has no time of its own: the graph is timed as a whole.
    gpu.begin_capture(decode)
    with cuda.range("sampling", stream=decode):
        sample((1,), (256,), (), stream=decode)
    step = cuda.kernel(gpu.end_capture(decode), name="step", every=1, captured_on=decode)
    with gn.correlation("req-2"):
        step.launch(decode)
    gpu.synchronize(decode)

    gpu.free(weights)
    gn.stop()
    print("recorded; see: gpu-narration show two_streams.gnt")


if __name__ == "__main__":
    main()
