"""An ASGI application under uvicorn, with 200 requests at once: each event knows its request.

python examples/asgi_app.py

Needs uvicorn and httpx.  By itself: uvicorn asgi_app:app, with GPU_NARRATION_FILE set.
"""

import asyncio
import tempfile
from collections import Counter
from typing import Any

import gpu_narration as gn
from gpu_narration.bridges.asgi import NarrationMiddleware
from gpu_narration.tracefile import Trace

REQUESTS = 200


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answers in pieces; what it does is told where it happens, without any id."""
    if scope["type"] != "http":
        return
    name = scope["path"].strip("/")
    with gn.span("engine", "prefill"):
        gn.trace_tiny("engine", "prefill", name, "Reading the prompt of {}", name)
        await asyncio.sleep(0.005)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for i in range(5):
        token = await asyncio.to_thread(decode, name, i)
        await send({"type": "http.response.body", "body": token, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def decode(name: str, i: int) -> bytes:
    gn.trace_tiny("engine", "decode", name, "Decoding token {} of {}", i, name)
    return f"{name}:{i} ".encode()


app = NarrationMiddleware(answer)


async def ask(client: Any, i: int) -> None:
    response = await client.get(f"/job-{i}", headers={"X-Correlation-Id": f"req-{i}"})
    assert response.headers["x-correlation-id"] == f"req-{i}"
    assert response.text == "".join(f"job-{i}:{n} " for n in range(5))


async def serve_and_ask() -> None:
    import httpx
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it offers no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60, trust_env=False
    ) as client:
        await asyncio.gather(*(ask(client, i) for i in range(REQUESTS)))
    server.should_exit = True
    await serving


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with gn.start(f"{directory}/asgi", backend="none", vram=False) as recorder:
            asyncio.run(serve_and_ask())
        per_request: Counter[str] = Counter()
        strangers = 0
        for event in Trace(recorder.path).events():
            if event.names[0] not in ("http", "engine"):
                continue  # memory of a GPU moves by itself
            number = (event.correlation or "").removeprefix("req-")
            per_request[number] += 1
            # The job's number is in the target of every event but the span of the prefill.
            job = (event.names[2] or "").rpartition("job-")[2]
            strangers += bool(job) and job != number
    print(
        f"{len(per_request)} requests, {sum(per_request.values())} events, "
        f"{min(per_request.values())} to {max(per_request.values())} of each, "
        f"{strangers} with the id of another, {per_request['']} without one"
    )
    assert (len(per_request), set(per_request.values()), strangers) == (REQUESTS, {11}, 0)


if __name__ == "__main__":
    main()
