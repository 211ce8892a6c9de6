"""Middleware for ASGI applications: ids of requests in and out, and a span round each.

Plain ASGI 3: it needs no framework, and none of its own packages.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gpu_narration._types import Level
from gpu_narration.contexts import Ids, context
from gpu_narration.narration import narrate
from gpu_narration.tracing import span

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Of a path, which anybody can make as long as a server allows.
_PATH_CHARACTERS = 200


class NarrationMiddleware:
    """Wraps an ASGI application: ``app = NarrationMiddleware(app)``.

    Each HTTP request runs in a context of its own: ``traceparent``, ``tracestate`` and
    ``X-Correlation-Id`` are taken over where they are valid, else made.  It is a span
    ``actor request "GET /path"``, and a narration tells how it was answered.  The response
    carries ``X-Correlation-Id`` and ``traceresponse``, unless the application sets them.
    A WebSocket is a span as long as it is open; lifespan and whatever else passes through.

    actor: whose events they are.
    ids: more ids for a request, from its scope: ``lambda scope: {"session_id": …}``.
    narrates: whether a request ends with a narration.

    The query string is never recorded.  What the application raises, and its cancellation,
    goes on to the server.
    """

    def __init__(
        self,
        app: Application,
        *,
        actor: str = "http",
        ids: Callable[[Scope], Mapping[str, object]] | None = None,
        narrates: bool = True,
    ) -> None:
        self._app = app
        self._actor = actor
        self._ids = ids
        self._narrates = narrates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        more = {} if self._ids is None else self._ids(scope)
        with context.from_headers(scope.get("headers") or (), **more) as ids:
            exchange = _Exchange(scope, receive, send, ids)
            try:
                with span(self._actor, exchange.action, exchange.target):
                    exchange.opened(context.headers().get("traceparent"))
                    await self._app(scope, exchange.receive, exchange.send)
            except BaseException as error:
                self._tell(exchange, error)
                raise
            self._tell(exchange, None)

    def _tell(self, exchange: _Exchange, error: BaseException | None) -> None:
        if self._narrates:
            level, how, fields = exchange.outcome(error)
            human = f"{exchange.target} {how}"
            narrate(
                self._actor, exchange.ending, exchange.target, human, level=level, **fields
            )  # fmt: skip


class _Exchange:
    """One request, or one WebSocket: what was seen of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ids: Ids) -> None:
        self._receive, self._send = receive, send
        self._ids = ids
        self._traceresponse: str | None = None
        self._begin_ns = time.perf_counter_ns()
        self._is_http = scope["type"] == "http"
        self._status: int | None = None
        self._first_byte_ns: int | None = None
        self._request_bytes = self._response_bytes = 0
        self._is_complete = self._is_gone = False
        path = str(scope.get("path", ""))[:_PATH_CHARACTERS]
        method = str(scope.get("method", "")) if self._is_http else "WebSocket"
        self.target = f"{method} {path}"
        self.action = "request" if self._is_http else "websocket"
        self.ending = "respond" if self._is_http else "disconnect"

    def opened(self, traceparent: str | None) -> None:
        self._traceresponse = traceparent

    async def receive(self) -> Message:
        message = await self._receive()
        kind = message["type"]
        if kind == "http.request":
            self._request_bytes += len(message.get("body", b""))
        elif kind == "http.disconnect":
            # A server says so after a whole response as well.
            self._is_gone = self._is_gone or not self._is_complete
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.accept"):
            self._status = message.get("status", self._status)
            message = {**message, "headers": self._with_ids(message.get("headers") or ())}
        elif kind == "http.response.body":
            body = message.get("body", b"")
            self._response_bytes += len(body)
            if body and self._first_byte_ns is None:
                self._first_byte_ns = time.perf_counter_ns()
        try:
            await self._send(message)
        except OSError:  # ASGI 2.4: nobody is there to be sent anything
            self._is_gone = self._is_gone or self._is_http
            raise
        if kind == "http.response.body" and not message.get("more_body", False):
            self._is_complete = True

    def outcome(self, error: BaseException | None) -> tuple[Level, str, dict[str, Any]]:
        """How it ended: level, the end of a sentence, fields."""
        now = time.perf_counter_ns()
        fields: dict[str, Any] = {"duration_ms": round((now - self._begin_ns) / 1e6, 3)}
        if self._status is not None:
            fields["http_status"] = self._status
        if self._is_http:
            fields["request_bytes"] = self._request_bytes
            fields["response_bytes"] = self._response_bytes
        if self._first_byte_ns is not None:
            first = (self._first_byte_ns - self._begin_ns) / 1e6
            fields["first_byte_ms"] = round(first, 3)
        if self._ids.refused is not None:
            fields["refused"] = self._ids.refused
        level, how = self._verdict(error)
        if error is not None:
            fields["error_kind"] = type(error).__name__
        if self._is_gone:
            fields["client_disconnected"] = True
        return level, how, fields

    def _verdict(self, error: BaseException | None) -> tuple[Level, str]:
        if error is not None and not self._is_gone:
            if isinstance(error, Exception):
                return Level.ERROR, f"failed with {type(error).__name__}"
            return Level.WARN, f"was stopped by {type(error).__name__}"
        if self._is_gone:
            return Level.WARN, "was left by its client before the response was whole"
        if not self._is_http:
            return Level.INFO, "closed"
        if self._status is None:
            return Level.ERROR, "ended without a response"
        level = Level.ERROR if self._status >= 500 else Level.INFO
        whole = "" if self._is_complete else ", but not to the end"
        return level, f"was answered with {self._status}{whole}"

    def _with_ids(self, headers: Any) -> list[tuple[bytes, bytes]]:
        given = [(bytes(name), bytes(value)) for name, value in headers]
        names = {name.lower() for name, _ in given}
        ours = {b"x-correlation-id": str(self._ids), b"traceresponse": self._traceresponse}
        for name, value in ours.items():
            if value and name not in names:
                given.append((name, value.encode("ascii")))
        return given
