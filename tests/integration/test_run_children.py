"""Processes that a recorded program begins: they record into the same trace, each in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_narration.tracefile import Trace
from tests.support.programs import actions_of, run_app, write_program


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_children_of_multiprocessing_record_into_the_same_trace(
    tmp_path: Path, method: str
) -> None:
    done = run_app(
        tmp_path,
        f"""
        import multiprocessing
        from gpu_narration import trace_tiny
        def work(number):
            for i in range(100):
                trace_tiny("child", f"child_{{number}}", "", "{{}}", i)
        if __name__ == "__main__":
            trace_tiny("app", "parent", "", "")
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=work, args=(n,)) for n in range(2)]
            for child in children: child.start()
            for child in children: child.join()
            print([child.exitcode for child in children])
        """,
    )
    assert done.stdout == "[0, 0]\n"
    actions = actions_of(tmp_path / "app.gnt")
    counts = {name: actions.count(name) for name in ("parent", "child_0", "child_1")}
    assert counts == {"parent": 1, "child_0": 100, "child_1": 100}
    assert len(Trace(tmp_path / "app.gnt").processes) >= 3


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_threads_that_outlive_a_childs_work_are_in_the_trace(tmp_path: Path, method: str) -> None:
    run_app(
        tmp_path,
        f"""
        import multiprocessing, threading, time
        from gpu_narration import trace_tiny
        def late():
            time.sleep(0.2)
            trace_tiny("child", "late", "", "")
        def work():
            trace_tiny("child", "early", "", "")
            threading.Thread(target=late).start()
        if __name__ == "__main__":
            child = multiprocessing.get_context({method!r}).Process(target=work)
            child.start()
            child.join()
        """,
    )
    assert actions_of(tmp_path / "app.gnt") == ["early", "late"]


def test_a_forked_child_records_into_the_same_trace(tmp_path: Path) -> None:
    """GIVEN a child by os.fork that ends as programs do THEN nothing of either is lost or twice."""
    done = run_app(
        tmp_path,
        """
        import os, sys
        from gpu_narration import trace_tiny
        trace_tiny("app", "before_fork", "", "")
        child = os.fork()
        if child == 0:
            for i in range(100): trace_tiny("child", "in_child", "", "{}", i)
            sys.exit(7)
        trace_tiny("app", "in_parent", "", "")
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert done.stdout == "7\n"
    actions = actions_of(tmp_path / "app.gnt")
    counts = {name: actions.count(name) for name in ("before_fork", "in_parent", "in_child")}
    assert counts == {"before_fork": 1, "in_parent": 1, "in_child": 100}


def test_a_forked_child_does_not_announce_the_trace(tmp_path: Path) -> None:
    done = run_app(
        tmp_path,
        """
        import os, sys
        from gpu_narration import trace_tiny
        if os.fork() == 0:
            trace_tiny("child", "in_child", "", "")
            sys.exit()
        os.wait()
        """,
    )
    assert done.stderr.count("gpu-narration show") == 1


def test_a_program_started_by_the_program_records_into_the_same_trace(tmp_path: Path) -> None:
    write_program(
        tmp_path, "from gpu_narration import trace_tiny; trace_tiny('b', 'in_b', '', '')", "b.py"
    )
    run_app(
        tmp_path,
        """
        import subprocess, sys
        from gpu_narration import trace_tiny
        trace_tiny("app", "before", "", "")
        subprocess.run([sys.executable, "b.py"], check=True)
        """,
    )
    assert actions_of(tmp_path / "app.gnt") == ["before", "in_b"]
