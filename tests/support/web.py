"""A real server on loopback, in this process, and what a client makes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import uvicorn


@contextlib.asynccontextmanager
async def served(app: Any, *, lifespan: str = "off") -> AsyncIterator[int]:
    """Serves an ASGI application with uvicorn on a free port of loopback; gives the port."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, lifespan=lifespan, timeout_graceful_shutdown=5
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), "the server did not start"
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 20)


def client(port: int, connections: int = 10) -> httpx.AsyncClient:
    """A client of that server."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        limits=httpx.Limits(max_connections=connections),
        timeout=30,
        trust_env=False,
    )


def talk(app: Any, conversation: Callable[[int], Awaitable[Any]], **options: Any) -> Any:
    """Serves the application as long as the conversation with its port lasts."""

    async def run() -> Any:
        async with served(app, **options) as port:
            return await conversation(port)

    return asyncio.run(run())
