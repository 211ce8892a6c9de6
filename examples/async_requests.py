"""Requests that overlap on one event loop: every event knows its request and its span.

python examples/async_requests.py
"""

import asyncio
import tempfile

import gpu_narration as gn
from gpu_narration.tracefile import Trace
from gpu_narration.views.text import line


@gn.trace_fn(actor="server")
async def handle(request: str) -> str:
    with gn.span("server", "queue"):
        await asyncio.sleep(0.001)
    return await asyncio.to_thread(infer, request)


@gn.trace_fn(actor="engine")
def infer(request: str) -> str:
    gn.trace_tiny("engine", "step", "", "Working for {}", request)
    return request.upper()


async def serve(request: str) -> str:
    with gn.correlation(request):
        return await handle(request)


async def serve_all() -> None:
    print(await asyncio.gather(*(serve(f"req-{i}") for i in range(3))))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with gn.start(f"{directory}/async", backend="none", vram=False) as recorder:
            asyncio.run(serve_all())
        trace = Trace(recorder.path)
        for event in trace.events():
            print(line(event, trace.annotations(event)))


if __name__ == "__main__":
    main()
