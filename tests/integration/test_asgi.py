"""The ASGI middleware under a real server, asked by a real client, on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import websockets.asyncio.client

import gpu_narration as gn
from gpu_narration._types import Level
from gpu_narration.bridges.asgi import NarrationMiddleware
from gpu_narration.contexts.headers import span_id_of
from tests.conftest import Record, Recorded
from tests.support.web import client, talk

if TYPE_CHECKING:
    import httpx

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    gn.trace_tiny("app", "hello", "", "")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asked(app: Any, path: str = "/", *, method: str = "GET", **options: Any) -> httpx.Response:
    """One request to the application behind the middleware."""

    async def conversation(port: int) -> httpx.Response:
        async with client(port) as asking:
            return await asking.request(method, path, **options)

    response: httpx.Response = talk(NarrationMiddleware(app), conversation)
    return response


def told(recorded: Recorded, ending: str = "respond") -> Any:
    """The narration that ends the only request."""
    return recorded.one(ending)


# ---- ids ----


def test_ids_of_a_request_reach_everything_in_it_and_come_back(record: Record) -> None:
    recorder = record.start()
    response = asked(
        hello, headers={"X-Correlation-Id": "req-7", "traceparent": CALLER, "tracestate": "a=b"}
    )
    recorded = record.stop()

    assert [(e.correlation, e.context["trace_id"], e.context["parent_span_id"],
             e.context["tracestate"]) for e in recorded.events] == [
        ("req-7", TRACE, "b7ad6b7169203331", "a=b")
    ] * 4  # fmt: skip
    process = recorded.trace.processes[0].name
    span = span_id_of(f"{recorder.trace_id}/{process}", recorded.begin("request").id)
    assert response.headers["x-correlation-id"] == "req-7"
    assert response.headers["traceresponse"] == f"00-{TRACE}-{span}-01"
    assert response.headers["x-app"] == "1"


def test_a_request_without_ids_gets_new_ones(record: Record) -> None:
    record.start()
    response = asked(hello)
    recorded = record.stop()
    made = response.headers["x-correlation-id"]
    assert UUID(made).version == 7
    assert {event.correlation for event in recorded.events} == {made}


def test_bad_ids_are_replaced_and_the_narration_says_why(record: Record) -> None:
    record.start()
    response = asked(hello, headers=[("traceparent", "ff-bad"), ("x-correlation-id", "a b")])
    recorded = record.stop()
    assert response.status_code == 200
    assert UUID(response.headers["x-correlation-id"]).version == 7
    assert told(recorded).fields["refused"] == (
        "traceparent: malformed; x-correlation-id: malformed"
    )


def test_two_traceparents_are_none(record: Record) -> None:
    record.start()
    asked(hello, headers=[("traceparent", CALLER), ("traceparent", CALLER)])
    assert told(record.stop()).fields["refused"] == "traceparent: more than one"


def test_headers_that_the_application_sets_stay(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Correlation-ID", b"mine"), (b"Traceresponse", b"mine")]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    response = asked(app)
    assert response.headers.get_list("x-correlation-id") == ["mine"]
    assert response.headers.get_list("traceresponse") == ["mine"]


def test_without_a_recording_requests_are_answered_and_have_ids() -> None:
    response = asked(hello, headers={"traceparent": CALLER})
    assert (response.text, response.headers["x-correlation-id"]) == ("hello", TRACE)
    assert response.headers["traceresponse"] == CALLER


def test_more_ids_come_from_the_scope(record: Record) -> None:
    record.start()
    app = NarrationMiddleware(hello, ids=lambda scope: {"session_id": scope["path"]})

    async def conversation(port: int) -> None:
        async with client(port) as asking:
            await asking.get("/s-1")

    talk(app, conversation)
    assert {event.context["session_id"] for event in record.stop().events} == {"/s-1"}


def test_two_hundred_requests_at_once_share_no_id(record: Record) -> None:
    """GIVEN an application that waits, calls threads and streams
    WHEN 200 clients ask at once THEN each event carries the id of its own request.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"][1:]
        with gn.span("app", "work", name):
            await asyncio.sleep(0.002)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for i in range(3):
            await asyncio.to_thread(gn.trace_tiny, "app", "step", name, "{}", i)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        child = asyncio.create_task(later(name))
        await child
        await send({"type": "http.response.body", "body": b""})

    async def later(name: str) -> None:
        await asyncio.sleep(0)
        gn.narrate("app", "late", name, "Said late")

    async def conversation(port: int) -> list[httpx.Response]:
        async with client(port, 200) as asking:
            return await asyncio.gather(
                *(asking.get(f"/{i}", headers={"x-correlation-id": f"req-{i}"}) for i in range(200))
            )

    record.start()
    responses = talk(NarrationMiddleware(app), conversation)
    recorded = record.stop()

    assert [r.headers["x-correlation-id"] for r in responses] == [f"req-{i}" for i in range(200)]
    own: dict[str, int] = {}
    traces: dict[str, set[object]] = {}
    for event in recorded.events:
        number = (event.names[2] or "").removeprefix("GET /")
        assert event.correlation == f"req-{number}"
        own[number] = own.get(number, 0) + 1
        traces.setdefault(number, set()).add(event.context["trace_id"])
    assert own == {str(i): 9 for i in range(200)}
    assert all(len(ids) == 1 for ids in traces.values())
    assert len(set.union(*traces.values())) == 200


# ---- how a request ends ----


def test_a_request_is_a_span_and_a_narration(record: Record) -> None:
    record.start()
    asked(hello, "/v1/chat?api_key=secret", method="POST", content=b"12345")
    recorded = record.stop()

    assert recorded.begin("request").names[:3] == ("http", "request", "POST /v1/chat")
    assert recorded.one("hello").span == recorded.begin("request").id
    event = told(recorded)
    assert event.level is Level.INFO
    assert event.names[3] == "POST /v1/chat was answered with 200"
    fields = {name: event.fields[name] for name in ("http_status", "response_bytes")}
    assert fields == {"http_status": 200, "response_bytes": 5}
    assert not any("secret" in line for line in recorded.lines)


def test_an_error_of_the_application_reaches_the_server(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("out of memory")

    record.start()
    response = asked(app)
    recorded = record.stop()

    assert response.status_code == 500
    assert recorded.outcomes("request") == ["ERROR"]
    event = told(recorded)
    assert (event.level, event.fields["error_kind"]) == (Level.ERROR, "RuntimeError")
    assert event.names[3] == "GET / failed with RuntimeError"


def test_a_status_of_the_servers_fault_is_an_error(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    record.start()
    asked(app)
    event = told(record.stop())
    assert (event.level, event.fields["http_status"]) == (Level.ERROR, 503)


def test_an_application_that_says_nothing_ended_without_a_response(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    record.start()
    asked(app)
    event = told(record.stop())
    assert (event.level, event.names[3]) == (Level.ERROR, "GET / ended without a response")


def test_a_stream_is_passed_on_piece_by_piece_in_both_directions(record: Record) -> None:
    """GIVEN an application that answers each piece of a body as it comes."""
    pieces: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            if message.get("body"):
                pieces.append(message["body"])
                gn.trace_tiny("app", "piece", "", "{}", len(pieces))
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def body() -> Any:
        for i in range(5):
            yield f"part-{i};".encode()
            await asyncio.sleep(0.01)

    record.start()
    response = asked(app, method="POST", content=body())
    recorded = record.stop()
    whole = b"".join(f"part-{i};".encode() for i in range(5))
    assert response.content == whole
    fields = told(recorded).fields
    assert (fields["request_bytes"], fields["response_bytes"]) == (len(whole), len(whole))
    assert fields["first_byte_ms"] <= fields["duration_ms"]
    assert {e.span for e in recorded.named("piece")} == {recorded.begin("request").id}


def test_a_client_that_leaves_is_told_of(record: Record) -> None:
    """GIVEN a stream without end WHEN its client goes THEN a narration says so."""
    left = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async def conversation(port: int) -> None:
        async with client(port) as asking, asking.stream("GET", "/forever") as response:
            await anext(response.aiter_raw())
        await asyncio.wait_for(left.wait(), 10)

    record.start()
    talk(NarrationMiddleware(app), conversation)
    event = told(record.stop())
    assert (event.level, event.fields["client_disconnected"]) == (Level.WARN, True)
    assert event.names[3] == "GET /forever was left by its client before the response was whole"


def test_a_disconnect_after_a_whole_response_is_none(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        while (await receive())["type"] != "http.disconnect":
            pass

    record.start()
    asked(app)
    event = told(record.stop())
    assert event.level is Level.INFO
    assert "client_disconnected" not in event.fields


def test_a_cancelled_request_ends_its_span_and_stays_cancelled(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/slow", "headers": []}
        task = asyncio.create_task(NarrationMiddleware(app)(scope, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    record.start()
    asyncio.run(run())
    recorded = record.stop()
    assert recorded.outcomes("request") == ["CANCELLED"]
    assert told(recorded).names[3] == "GET /slow was stopped by CancelledError"


def test_a_send_that_finds_nobody_is_a_client_that_left(record: Record) -> None:
    async def nobody(message: Any) -> None:
        raise OSError("closed")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    record.start()
    with pytest.raises(OSError, match="closed"):
        asyncio.run(NarrationMiddleware(hello)(scope, None, nobody))  # type: ignore[arg-type]
    assert told(record.stop()).fields["client_disconnected"] is True


# ---- what is no HTTP request ----


def test_lifespan_passes_through(record: Record) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await hello(scope, receive, send)
            return
        for _ in range(2):
            message = await receive()
            seen.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    async def conversation(port: int) -> str:
        async with client(port) as asking:
            return (await asking.get("/")).text

    record.start()
    assert talk(NarrationMiddleware(app), conversation, lifespan="on") == "hello"
    recorded = record.stop()
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    assert len(recorded.named("request")) == 2


def test_a_websocket_has_ids_a_span_and_its_messages(record: Record) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "headers": [(b"x-app", b"1")]})
        while (message := await receive())["type"] == "websocket.receive":
            gn.trace_tiny("app", "message", message["text"], "")
            await send({"type": "websocket.send", "text": message["text"].upper()})

    async def conversation(port: int) -> tuple[list[str], Any]:
        async with websockets.asyncio.client.connect(
            f"ws://127.0.0.1:{port}/chat",
            additional_headers={"X-Correlation-Id": "ws-1"},
            proxy=None,
        ) as socket:
            answers = []
            for text in ("one", "two"):
                await socket.send(text)
                answers.append(await socket.recv())
            assert socket.response is not None
            return answers, socket.response.headers

    record.start()
    answers, headers = talk(NarrationMiddleware(app), conversation)
    recorded = record.stop()
    assert answers == ["ONE", "TWO"]
    assert (headers["x-correlation-id"], headers["x-app"]) == ("ws-1", "1")
    assert {event.correlation for event in recorded.events} == {"ws-1"}
    assert recorded.outcomes("websocket") == ["OK"]
    assert recorded.one("disconnect").names[3] == "WebSocket /chat closed"
