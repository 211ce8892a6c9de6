"""Two streams that overlap, and memory that comes and goes, on the simulated GPU.

gpu-narration run --backend mock --console examples/two_streams.py
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
    attention = cuda.kernel(cuda.MockKernel("attention", 800_000))
    sample = cuda.kernel(cuda.MockKernel("sample", 150_000))

    with gn.span("engine", "load_model", vram=True):
        weights = gpu.malloc(6 << 30)
    with gn.correlation("req-1"), gn.span("engine", "prefill", gpu=True, stream=prefill):
        attention((64,), (256,), (), stream=prefill)
    with gn.correlation("req-2"), gn.span("engine", "decode", gpu=True, stream=decode):
        for _ in range(3):
            sample((1,), (256,), (), stream=decode)
    gpu.synchronize()
    gpu.free(weights)
    gn.stop()
    print("recorded; see: gpu-narration show two_streams.gnt")


if __name__ == "__main__":
    main()
