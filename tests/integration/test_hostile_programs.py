"""Programs that do the worst at the worst moment: they go on, and the trace can be read."""

from __future__ import annotations

from pathlib import Path

from gpu_narration.tracefile import Trace, Trouble
from tests.support.run import run_python

_DAMAGE = {Trouble.DAMAGED, Trouble.UNDEFINED, Trouble.TORN_TAIL}


def _texts(directory: Path) -> list[str]:
    """The human texts of a trace, which must be whole."""
    trace = Trace(directory / "t.gnt")
    texts = [event.names[3] or "" for event in trace.events()]
    assert not {notice.trouble for notice in trace.notices()} & _DAMAGE
    return texts


def test_a_recording_may_end_while_an_argument_is_summarised(tmp_path: Path) -> None:
    """GIVEN a hook that stops the recording WHEN an event asks it THEN the program goes on."""
    done = run_python(
        """
        import gpu_narration as gn
        from gpu_narration import _core

        class Thing: ...

        gn.start("t.gnt", backend="none")
        gn.trace_tiny("a", "b", "", "before")
        _core.set_hooks(summarise=lambda kind: gn.stop())
        gn.trace_tiny("a", "b", "", "{}", Thing())
        print("on")
        """,
        cwd=tmp_path,
    )

    assert (done.stdout, _texts(tmp_path)) == ("on\n", ["before"])


def test_a_keyword_with_a_hash_of_its_own_cannot_reach_an_open_record(tmp_path: Path) -> None:
    """GIVEN keywords whose hash makes events WHEN they are recorded THEN the trace is whole."""
    run_python(
        """
        import gpu_narration as gn

        class Name(str):
            def __hash__(self):
                gn.trace_tiny("a", "b", "", "hashed", "y" * 500)
                return str.__hash__(self)

        @gn.trace_fn
        def take(**fields): ...

        gn.start("t.gnt", backend="none")
        for i in range(100):
            take(**{Name(f"field_{i}"): 1})
        gn.trace_tiny("a", "b", "", "last")
        gn.stop()
        """,
        cwd=tmp_path,
    )

    assert _texts(tmp_path)[-1] == "last"


def test_finalisers_that_trace_never_write_over_an_open_record(tmp_path: Path) -> None:
    """GIVEN a collector that runs at every chance WHEN finalisers trace THEN the trace is whole."""
    run_python(
        """
        import gc
        import gpu_narration as gn

        class Cycle:
            def __init__(self):
                self.me = self
            def __del__(self):
                gn.trace_tiny("a", "b", "", "gone", "y" * 500)

        gn.start("t.gnt", backend="none")
        for i in range(500):
            gc.disable()
            Cycle(), Cycle()
            gc.set_threshold(1)
            gc.enable()
            gn.trace_tiny("a", "b", "", "big", "z", 2**70, b"b")
        gc.disable()
        gn.stop()
        """,
        cwd=tmp_path,
    )

    assert _texts(tmp_path).count("big") == 500


def test_a_long_chain_of_generators_is_freed(tmp_path: Path) -> None:
    """GIVEN traced generators that hold each other WHEN the last is dropped THEN all go."""
    done = run_python(
        """
        import gpu_narration as gn

        @gn.trace_fn
        def hold(inner):
            yield inner

        gn.start("t.gnt", backend="none")
        chain = None
        for _ in range(100_000):
            chain = hold(chain)
        del chain
        gn.stop()
        print("on")
        """,
        cwd=tmp_path,
    )

    assert done.stdout == "on\n"


def test_a_fork_while_another_thread_waits_for_room_leaves_a_child_that_ends(
    tmp_path: Path,
) -> None:
    """GIVEN a thread that waits for room in the ring WHEN the program forks THEN the child ends."""
    done = run_python(
        """
        import os
        import threading
        import gpu_narration as gn

        gn.start("t.gnt", backend="none", ring_bytes=512 * 1024)
        going = True

        def busy():
            while going:
                gn.trace_tiny("a", "b", "", "busy", "y" * 900)

        thread = threading.Thread(target=busy)
        thread.start()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                gn.trace_tiny("a", "b", "", "child")
                gn.stop()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        going = False
        thread.join()
        gn.stop()
        print("on")
        """,
        cwd=tmp_path,
    )

    assert (done.stdout, _texts(tmp_path).count("child")) == ("on\n", 10)
