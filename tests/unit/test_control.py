"""Requests and answers: what is believed, what is refused, what is done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration import control
from gpu_narration.control import Answer, RefusedError, Request, Responder
from gpu_narration.recorder import Recorder
from tests.conftest import Record

ME = {os.geteuid()}
PROCESS = "12-ab"


# ---- messages ----


def test_a_request_comes_back_as_it_was_written(tmp_path: Path) -> None:
    request = Request(7, "filter", "info,a=trace", "warn", 3)
    control.write(tmp_path, control.REQUEST, request)
    assert control.read(tmp_path / control.REQUEST, Request, ME) == request


def test_an_answer_comes_back_as_it_was_written(tmp_path: Path) -> None:
    answer = Answer(7, done=False, text="żółw", signal=10, polls=False)
    control.write(tmp_path, "a", answer)
    assert control.read(tmp_path / "a", Answer, ME) == answer


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    for number in range(3):
        control.write(tmp_path, control.REQUEST, Request(number, "flush"))
    assert [path.name for path in tmp_path.iterdir()] == [control.REQUEST]


def test_others_can_read_but_not_write_a_message_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        control.write(tmp_path, "open", Request(1, "flush"))
        os.umask(0o077)
        control.write(tmp_path, "closed", Request(1, "flush"))
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("open", "closed")] == [0o644] * 2


GOOD = {"number": 1, "verb": "flush", "directives": None, "filter": None, "filter_number": 0}

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\0",
    "a list": b"[]",
    "deep": b"[" * 60_000,
    "too large": json.dumps({**GOOD, "filter": "x" * 70_000}).encode(),
    "a field more": json.dumps({**GOOD, "shell": "rm"}).encode(),
    "a field less": b'{"number": 1, "verb": "flush"}',
    "a number that is a text": json.dumps({**GOOD, "number": "1"}).encode(),
    "a number that is true": json.dumps({**GOOD, "number": True}).encode(),
    "a number beyond all bounds": b'{"number": ' + b"9" * 5000 + b"}",
    "a verb that is a list": json.dumps({**GOOD, "verb": ["flush"]}).encode(),
    "directives that are a number": json.dumps({**GOOD, "directives": 1}).encode(),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_message_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / control.REQUEST).write_bytes(data)
    with pytest.raises(RefusedError):
        control.read(tmp_path / control.REQUEST, Request, ME)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    control.write(tmp_path, "elsewhere", Request(1, "flush"))
    (tmp_path / control.REQUEST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        control.read(tmp_path / control.REQUEST, Request, ME)


def test_a_pipe_does_not_block_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / control.REQUEST)
    with pytest.raises(RefusedError, match="no regular file"):
        control.read(tmp_path / control.REQUEST, Request, ME)


def test_what_others_can_write_is_refused(tmp_path: Path) -> None:
    control.write(tmp_path, control.REQUEST, Request(1, "flush"))
    (tmp_path / control.REQUEST).chmod(0o666)
    with pytest.raises(RefusedError, match="others can write"):
        control.read(tmp_path / control.REQUEST, Request, ME)


def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    control.write(tmp_path, control.REQUEST, Request(1, "flush"))
    with pytest.raises(RefusedError, match=f"user {os.geteuid()}"):
        control.read(tmp_path / control.REQUEST, Request, {os.geteuid() + 1})


# ---- one process's side ----


class Actor:
    """Notes what it was asked."""

    def __init__(self, done: bool = True) -> None:
        self.asked: list[Request] = []
        self._done = done

    def __call__(self, request: Request) -> tuple[bool, str]:
        self.asked.append(request)
        return self._done, request.verb


def responder(directory: Path, act: object) -> Responder:
    made = Responder(directory, PROCESS, act, polls=True, signal=None)  # type: ignore[arg-type]
    made.open()
    return made


def answer(directory: Path) -> Answer:
    return control.read(directory / control.answer_name(PROCESS), Answer, ME)


def ask(directory: Path, number: int, verb: str = "flush", **fields: str) -> None:
    control.write(directory, control.REQUEST, Request(number, verb, **fields))


def test_it_says_from_the_start_that_it_can_be_asked(tmp_path: Path) -> None:
    responder(tmp_path, Actor())
    assert answer(tmp_path) == Answer(0)


def test_a_request_is_done_once(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    ask(tmp_path, 1)
    side.look()
    side.look()
    assert [request.number for request in act.asked] == [1]
    assert answer(tmp_path) == Answer(1, done=True, text="flush")


def test_a_request_from_before_its_time_is_not_done(tmp_path: Path) -> None:
    ask(tmp_path, 5, "dump")
    act = Actor()
    responder(tmp_path, act).look()
    assert act.asked == []
    assert answer(tmp_path).number == 5


def test_the_filter_from_before_its_time_is_taken_over(tmp_path: Path) -> None:
    ask(tmp_path, 5, "dump", filter="info")
    assert Responder(tmp_path, PROCESS, Actor(), polls=True, signal=None).open() == "info"


def test_a_filter_that_was_missed_is_made_up_for(tmp_path: Path) -> None:
    """GIVEN a process that was stopped while a filter was set WHEN a later request comes THEN both."""
    act = Actor()
    side = responder(tmp_path, act)
    control.write(tmp_path, control.REQUEST, Request(3, "dump", None, "info", 2))
    side.look()
    assert [(r.number, r.verb, r.directives) for r in act.asked] == [
        (2, "filter", "info"), (3, "dump", None),
    ]  # fmt: skip


def test_a_filter_that_was_followed_is_not_set_again(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    control.write(tmp_path, control.REQUEST, Request(1, "filter", "info", "info", 1))
    side.look()
    control.write(tmp_path, control.REQUEST, Request(2, "dump", None, "info", 1))
    side.look()
    assert [request.verb for request in act.asked] == ["filter", "dump"]


def test_a_request_with_an_old_number_is_not_done(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    ask(tmp_path, 3)
    side.look()
    ask(tmp_path, 2)
    side.look()
    assert [request.number for request in act.asked] == [3]


def test_what_fails_is_answered(tmp_path: Path) -> None:
    side = responder(tmp_path, Actor(done=False))
    ask(tmp_path, 1)
    side.look()
    assert answer(tmp_path).done is False


def test_an_act_that_raises_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    monkeypatch.setattr(
        "gpu_narration.control.internal_error", lambda where, _: failed.append(where)
    )
    side = responder(tmp_path, lambda _: 1 // 0)
    ask(tmp_path, 1)
    side.look()
    assert "ZeroDivisionError" in answer(tmp_path).text
    assert failed == ["control"]


def test_a_refused_request_is_answered_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    for data in HOSTILE.values():
        (tmp_path / control.REQUEST).unlink(missing_ok=True)
        (tmp_path / control.REQUEST).write_bytes(data)
        side.look()
    assert act.asked == []
    assert answer(tmp_path).text.startswith("the request was refused: ")
    assert capsys.readouterr().err.count("[control-refused]") == 1


def test_an_unknown_verb_is_refused(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    ask(tmp_path, 1, "shutdown")
    side.look()
    assert act.asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_request_of_another_user_is_refused(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    ask(tmp_path, 1)
    os.chown(tmp_path / control.REQUEST, 12345, -1)
    side.look()
    assert act.asked == []
    assert "belongs to user 12345" in answer(tmp_path).text


def test_a_look_within_a_look_is_made_up_for(tmp_path: Path) -> None:
    """GIVEN a signal that comes while a request is followed THEN the next request is followed too."""
    asked: list[int] = []

    def act(request: Request) -> tuple[bool, str]:
        asked.append(request.number)
        if request.number == 1:
            ask(tmp_path, 2)
            side.look()  # as a signal handler would
            assert asked == [1], "it must not nest"
        return True, ""

    side = responder(tmp_path, act)
    ask(tmp_path, 1)
    side.look()
    assert asked == [1, 2]


def test_closed_it_takes_back_what_it_said(tmp_path: Path) -> None:
    side = responder(tmp_path, Actor())
    side.close()
    assert list(tmp_path.iterdir()) == []


def test_closed_it_does_nothing_more(tmp_path: Path) -> None:
    act = Actor()
    side = responder(tmp_path, act)
    side.close()
    ask(tmp_path, 1)
    side.look()
    assert act.asked == []


def test_a_directory_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    side = responder(tmp_path / "t", Actor())
    (tmp_path / "t" / control.answer_name(PROCESS)).unlink()
    (tmp_path / "t").rmdir()
    assert side.look() == control.PERIOD_S
    side.close()


# ---- numbering ----


def test_requests_are_numbered_on(tmp_path: Path) -> None:
    control.write(tmp_path, control.REQUEST, Request(4, "flush", None, "info", 2))
    following = control.next_request(tmp_path, ME, "dump", None, 0)
    assert following == Request(5, "dump", None, "info", 2)


def test_a_request_comes_after_all_answers(tmp_path: Path) -> None:
    """GIVEN a request file that is lost THEN processes still take the next one for new."""
    assert control.next_request(tmp_path, ME, "dump", None, 8).number == 9


@pytest.mark.parametrize("directives", ["", "info"])
def test_a_filter_stays_for_those_that_come_later(tmp_path: Path, directives: str) -> None:
    ask(tmp_path, 4, filter="warn")
    request = control.next_request(tmp_path, ME, "filter", directives, 0)
    assert request == Request(5, "filter", directives, directives, 5)


# ---- in a recording ----


def names(recorder: Recorder) -> list[str]:
    return sorted(path.name.partition(".")[2] for path in recorder.path.iterdir())


def test_a_recording_can_be_asked(record: Record) -> None:
    recorder = record.start()
    assert "control.json" in names(recorder)
    record.stop()
    assert "control.json" not in names(recorder)


def test_with_control_off_there_is_no_thread_and_no_file(record: Record) -> None:
    import threading

    recorder = record.start(control=False)
    assert "control.json" not in names(recorder)
    assert [t.name for t in threading.enumerate() if "gpu_narration" in t.name] == []
    record.stop()


def test_a_new_trace_in_the_place_of_an_old_one_has_none_of_its_requests(tmp_path: Path) -> None:
    quiet = {"backend": "none", "vram": False, "nvtx": "off", "children": False}
    gpu_narration.start(tmp_path / "t.gnt", **quiet).stop()  # type: ignore[arg-type]
    ask(tmp_path / "t.gnt", 1, "filter", directives="off", filter="off")
    (tmp_path / "t.gnt" / ".control.json.12-34").write_text("half")
    (tmp_path / "t.gnt" / "12-ab.control.json").write_text("left")
    with gpu_narration.start(tmp_path / "t.gnt", overwrite=True, **quiet) as recorder:  # type: ignore[arg-type]
        assert sorted(path.name for path in recorder.path.iterdir() if "control" in path.name) == [
            path.name for path in recorder.path.glob(f"{os.getpid()}-*.control.json")
        ]
