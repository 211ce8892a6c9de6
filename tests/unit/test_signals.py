"""Handlers of ours: they act, the program's handlers run as before, and are back afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from gpu_narration import OptionError
from gpu_narration.signals import SignalHook, number_of
from tests.support.run import run_python

USR1 = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handler_is_restored() -> Iterator[None]:
    """Whatever a test does, the process has the handler it had."""
    before = signal.getsignal(USR1)
    yield
    signal.signal(USR1, before)


def send() -> None:
    os.kill(os.getpid(), USR1)


# ---- which signal ----


@pytest.mark.parametrize("given", ["SIGUSR1", "USR1", "usr1", 10, signal.SIGUSR1])
def test_a_signal_is_known_by_its_names_and_number(given: str | int) -> None:
    assert number_of("dump_signal", given) == signal.SIGUSR1


@pytest.mark.parametrize("given", ["SIGNOTHING", "", 0, 999, "10"])
def test_what_is_no_signal_is_named(given: str | int) -> None:
    with pytest.raises(OptionError, match="is no signal of this system"):
        number_of("dump_signal", given)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGSEGV", "SIGABRT"])
def test_a_signal_that_python_cannot_handle_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be handled"):
        number_of("dump_signal", name)


def test_off_the_main_thread_a_signal_is_refused_with_what_to_do() -> None:
    errors: list[str] = []

    def ask() -> None:
        try:
            number_of("dump_signal", "SIGUSR1")
        except OptionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "call start() in the main thread" in errors[0]


# ---- what happens on it ----


def test_it_acts_and_then_calls_the_handler_before() -> None:
    order: list[str] = []
    signal.signal(USR1, lambda *_: order.append("program"))
    hook = SignalHook(USR1, lambda: order.append("ours"))
    send()
    hook.remove()
    assert order == ["ours", "program"]


def test_the_handler_before_gets_its_arguments() -> None:
    given: list[tuple[object, ...]] = []
    signal.signal(USR1, lambda *arguments: given.append(arguments))
    hook = SignalHook(USR1, lambda: None)
    send()
    hook.remove()
    assert given[0][0] == USR1
    assert given[0][1] is not None


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_the_program_had_no_use_for_does_nothing_more(before: int) -> None:
    """GIVEN SIGUSR1, whose default would end the program, THEN asking for it is asking for us."""
    acted: list[int] = []
    signal.signal(USR1, before)
    hook = SignalHook(USR1, lambda: acted.append(1))
    send()
    hook.remove()
    assert acted == [1]


def test_a_failing_act_does_not_keep_the_program_from_its_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[str] = []
    monkeypatch.setattr(
        "gpu_narration.signals.internal_error", lambda where, _: failed.append(where)
    )
    called: list[int] = []
    signal.signal(USR1, lambda *_: called.append(1))
    hook = SignalHook(USR1, lambda: 1 // 0)
    send()
    hook.remove()
    assert (failed, called) == (["signal"], [1])


def test_a_signal_that_ends_programs_still_ends_them() -> None:
    """GIVEN SIGTERM with nobody else to handle it THEN we act and the program dies of it."""
    done = run_python(
        """
        import os, signal
        from gpu_narration.signals import SignalHook
        SignalHook(signal.SIGTERM, lambda: print("acted", flush=True))
        os.kill(os.getpid(), signal.SIGTERM)
        print("still here")
        """,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "acted\n")


def test_ctrl_c_is_still_a_keyboard_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)
    acted: list[int] = []
    hook = SignalHook(signal.SIGINT, lambda: acted.append(1))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    hook.remove()
    assert acted == [1]
    assert signal.getsignal(signal.SIGINT) is before


# ---- giving it back ----


def test_removing_restores_the_very_same_handler() -> None:
    def handler(*_: object) -> None:
        pass

    signal.signal(USR1, handler)
    SignalHook(USR1, lambda: None).remove()
    assert signal.getsignal(USR1) is handler


def test_a_handler_that_the_program_set_since_is_left_alone() -> None:
    def later(*_: object) -> None:
        pass

    hook = SignalHook(USR1, lambda: None)
    signal.signal(USR1, later)
    hook.remove()
    assert signal.getsignal(USR1) is later


def test_removed_in_another_thread_it_acts_no_more() -> None:
    acted: list[str] = []
    signal.signal(USR1, lambda *_: acted.append("program"))
    hook = SignalHook(USR1, lambda: acted.append("ours"))
    thread = threading.Thread(target=hook.remove)
    thread.start()
    thread.join()
    send()
    assert acted == ["program"]


def test_removed_in_another_thread_a_default_is_a_default_again() -> None:
    done = run_python(
        """
        import os, signal, threading
        from gpu_narration.signals import SignalHook
        hook = SignalHook(signal.SIGUSR1, lambda: print("acted"))
        thread = threading.Thread(target=hook.remove)
        thread.start(); thread.join()
        os.kill(os.getpid(), signal.SIGUSR1)
        print("still here")
        """,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGUSR1, "")


def test_a_handler_of_a_c_library_is_refused() -> None:
    """GIVEN a handler that Python cannot give back THEN its signal is not taken from it."""
    run_python(
        """
        import ctypes, signal
        from gpu_narration import OptionError
        from gpu_narration.signals import number_of
        handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(signal.SIGUSR1, ctypes.cast(handler, ctypes.c_void_p))
        try:
            number_of("dump_signal", "SIGUSR1")
        except OptionError as error:
            assert "C library" in str(error), error
        else:
            raise SystemExit("it was taken")
        """
    )
