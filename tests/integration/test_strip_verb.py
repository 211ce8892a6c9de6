"""``gpu-narration strip``, ``run --strip`` and the build backend."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpu_narration.stripping import source as source_form
from gpu_narration.stripping import trees
from tests.support.run import environment

CALLS = """\
from gpu_narration import span, trace_fn, trace_tiny

@trace_fn
def work(n):
    # how often
    for i in range(n):
        trace_tiny("a", "b", "{}", "d", i)
    with span("a", "b"):
        return n
"""
LEFT = """\
from gpu_narration import span, trace_fn, trace_tiny

def work(n):
    # how often
    for i in range(n):
        pass
    return n
"""
USED = "import gpu_narration as gn\nx = gn.trace_tiny('a', 'b', 'c', 'd')\n"


def strip(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpu_narration.cli", *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A source tree: a module with calls, one without, and something that is no Python."""
    package = tmp_path / "src" / "app"
    package.mkdir(parents=True)
    (package / "work.py").write_text(CALLS)
    (package / "plain.py").write_text("x  =  1\n")
    (package / "data.bin").write_bytes(b"trace_tiny\0")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "work.pyc").write_bytes(b"old")
    return tmp_path / "src"


def test_a_tree_is_written_stripped_and_otherwise_whole(src: Path) -> None:
    (src / "app" / "work.py").chmod(0o755)
    done = strip("strip", "src/", "-o", "dist-src/", cwd=src.parent)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "3 taken out of 1 of 2 files; 0 stay\n"
    out = src.parent / "dist-src"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"app/work.py", "app/plain.py", "app/data.bin"}
    assert (out / "app" / "work.py").read_text() == LEFT
    assert (out / "app" / "plain.py").read_text() == "x  =  1\n"
    assert (out / "app" / "data.bin").read_bytes() == b"trace_tiny\0"
    assert (out / "app" / "work.py").stat().st_mode & 0o777 == 0o755
    assert (src / "app" / "work.py").read_text() == CALLS


def test_a_file_is_written_stripped(src: Path) -> None:
    done = strip("strip", src / "app" / "work.py", "-o", "new/work.py", "-q", cwd=src.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert (src.parent / "new" / "work.py").read_text() == LEFT


def test_what_stays_is_named_with_the_reason(src: Path) -> None:
    (src / "app" / "used.py").write_text(USED)
    done = strip("strip", "src", "-o", "out", cwd=src.parent)
    assert "src/app/used.py:2:5: gn.trace_tiny stays: its value is used\n" in done.stderr
    assert "3 taken out of 1 of 3 files; 1 stay\n" in done.stderr
    assert done.returncode == 0


def test_check_fails_on_every_call_and_passes_on_stripped_ones(src: Path) -> None:
    before = strip("strip", "--check", "src", cwd=src.parent)
    assert before.returncode == 1
    assert before.stdout.splitlines() == [
        "src/app/work.py:3:2: trace_fn",
        "src/app/work.py:7:9: trace_tiny",
        "src/app/work.py:8:10: span",
    ]
    assert before.stderr == "3 trace calls remain [strip-check]\n"
    strip("strip", "src", "-o", "out", cwd=src.parent)
    after = strip("strip", "--check", "out", cwd=src.parent)
    assert (after.returncode, after.stdout, after.stderr) == (0, "", "")


def test_check_fails_on_a_call_that_strip_leaves(src: Path) -> None:
    (src / "app" / "work.py").write_text(USED)
    done = strip("strip", "--check", "src", cwd=src.parent)
    assert done.returncode == 1
    assert "gn.trace_tiny (its value is used: strip leaves it)" in done.stdout


def test_narrations_are_no_trace_calls(src: Path) -> None:
    (src / "app" / "work.py").write_text(
        "import gpu_narration as gn\ngn.narrate('a', 'b', 'c', 'd')\n"
    )
    assert strip("strip", "--check", "src", cwd=src.parent).returncode == 0


def test_diff_prints_what_would_change_and_writes_nothing(src: Path) -> None:
    done = strip("strip", "--diff", "src", cwd=src.parent)
    assert done.returncode == 0
    changed = [line for line in done.stdout.splitlines() if line[0] in "+-"]
    assert changed == [
        "--- src/app/work.py", "+++ src/app/work.py (stripped)", "-@trace_fn",
        '-        trace_tiny("a", "b", "{}", "d", i)', '-    with span("a", "b"):', "-        return n",
        "+        pass", "+    return n",
    ]  # fmt: skip
    assert sorted(path.name for path in src.parent.iterdir()) == ["src"]


def test_a_source_that_does_not_parse_is_copied_and_named(src: Path) -> None:
    old = "import gpu_narration\nprint 'Python 2'\n"
    (src / "app" / "old.py").write_text(old)
    done = strip("strip", "src", "-o", "out", cwd=src.parent)
    assert done.returncode == 0
    assert "src/app/old.py: left as it is: is no source of this Python" in done.stderr
    assert (src.parent / "out" / "app" / "old.py").read_text() == old
    assert strip("strip", "--check", "out", cwd=src.parent).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["src"], "give -o OUTPUT, --diff or --check"),
        (["src", "--check", "--diff"], "--check goes alone"),
        (["nothing", "--check"], "does not exist"),
        (["src", "-o", "src"], "[strip-output]"),
        (["src", "-o", "src/app/out"], "[strip-output]"),
        (["src/app", "-o", "src"], "[strip-output]"),
        (["src", "-o", "full"], "full exists already"),
        (["no.whl", "-o", "out"], "no.whl is no wheel"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    src: Path, arguments: list[str], said: str
) -> None:
    (src.parent / "full").mkdir()
    (src.parent / "full" / "mine").write_text("kept")
    (src.parent / "no.whl").write_text("no wheel")
    before = sorted(path for path in src.parent.rglob("*") if path.is_file())
    done = strip("strip", *arguments, cwd=src.parent)
    assert done.returncode == 2
    assert said in done.stderr
    assert sorted(path for path in src.parent.rglob("*") if path.is_file()) == before


def test_links_to_nowhere_and_to_directories_are_copied_and_pipes_are_not(src: Path) -> None:
    (src / "app" / ".#work.py").symlink_to("editor@host.1234")  # the lock of an editor
    (src / "again").symlink_to("app")
    os.mkfifo(src / "app" / "pipe.py")
    done = strip("strip", "src/", "-o", "out", cwd=src.parent)
    assert (done.returncode, done.stderr) == (0, "3 taken out of 1 of 2 files; 0 stay\n")
    out = src.parent / "out"
    assert (out / "app" / ".#work.py").readlink() == Path("editor@host.1234")
    assert (out / "again").readlink() == Path("app")
    assert not (out / "app" / "pipe.py").exists()
    assert strip("strip", "--check", "out", cwd=src.parent).returncode == 0


def test_a_file_that_cannot_be_stripped_truly_is_named(
    src: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(source: bytes, findings: object) -> bytes:
        return b"x = 1\n"

    monkeypatch.setattr(source_form, "_rewrite", other)
    with pytest.raises(source_form.StripError, match=r"app/work\.py: the text without the calls"):
        trees.write_tree(src, src.parent / "out", print)


def test_overwrite_removes_nothing_else(src: Path) -> None:
    (src.parent / "full" / "app").mkdir(parents=True)
    (src.parent / "full" / "mine").write_text("kept")
    (src.parent / "full" / "app" / "work.py").write_text("old")
    done = strip("strip", "src", "-o", "full", "--overwrite", cwd=src.parent)
    assert done.returncode == 0
    assert (src.parent / "full" / "mine").read_text() == "kept"
    assert (src.parent / "full" / "app" / "work.py").read_text() == LEFT


def test_links_are_copied_as_links(src: Path) -> None:
    (src / "app" / "link.py").symlink_to("work.py")
    strip("strip", "src", "-o", "out", cwd=src.parent)
    assert (src.parent / "out" / "app" / "link.py").readlink() == Path("work.py")


# ---- wheels ----

PROJECT = """\
[build-system]
requires = ["setuptools>=77", "gpu-narration[strip]"]
build-backend = "gpu_narration.stripping.backend"

[project]
name = "app"
version = "1.0"

[tool.setuptools]
packages = ["app"]
package-dir = { "" = "src" }
"""


@pytest.fixture
def project(src: Path) -> Path:
    """A project whose wheels are built by our backend around setuptools."""
    (src / "app" / "__init__.py").write_text("")
    (src.parent / "pyproject.toml").write_text(PROJECT)
    return src.parent


def built(project: Path) -> Path:
    """The wheel that pip builds, without a network."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "-w", "dist", "."],
        cwd=project, env=environment(), capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel


def records(wheel: Path) -> dict[str, tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("RECORD"))
        rows = csv.reader(archive.read(name).decode().splitlines())
        return {row[0]: (row[1], row[2]) for row in rows}


def test_a_wheel_is_built_stripped(project: Path) -> None:
    """GIVEN the backend in pyproject.toml WHEN pip builds and installs THEN it runs stripped, and
    RECORD vouches for what is there."""
    wheel = built(project)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("app/work.py").decode() == LEFT
        for name, (digest, size) in records(wheel).items():
            if not name.endswith("RECORD"):
                data = archive.read(name)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                assert (digest, size) == (f"sha256={expected.decode()}", str(len(data)))
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--disable-pip-version-check", "--target", "installed", wheel],
        cwd=project, env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    assert (project / "installed" / "app" / "work.py").read_text() == LEFT
    assert (project / "src" / "app" / "work.py").read_text() == CALLS


def test_a_built_wheel_can_be_stripped(project: Path) -> None:
    text = PROJECT.replace("gpu_narration.stripping.backend", "setuptools.build_meta")
    (project / "pyproject.toml").write_text(text)
    wheel = built(project)
    assert strip("strip", "--check", wheel, cwd=project).returncode == 1
    done = strip("strip", wheel, "-o", "stripped", cwd=project)
    assert done.returncode == 0
    assert strip("strip", "--check", project / "stripped" / wheel.name, cwd=project).returncode == 0
    assert records(wheel).keys() == records(project / "stripped" / wheel.name).keys()
    assert strip("strip", wheel, "-o", "stripped", cwd=project).returncode == 2


def test_the_backend_has_exactly_the_other_hooks_of_the_projects_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_narration.stripping import backend

    monkeypatch.chdir(project)
    assert hasattr(backend, "build_editable")
    assert hasattr(backend, "get_requires_for_build_wheel")
    assert not hasattr(backend, "build_something_else")


def test_a_backend_that_names_itself_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_narration import OptionError
    from gpu_narration.stripping import backend

    table = '[tool.gpu-narration.strip]\nbackend = "gpu_narration.stripping.backend"\n'
    (project / "pyproject.toml").write_text(PROJECT + table)
    monkeypatch.chdir(project)
    with pytest.raises(OptionError, match="the project's own backend"):
        backend.build_wheel(str(project))


# ---- run --strip ----

PROGRAM = """\
import gpu_narration as gn
import app.work
seen = []
gn.trace_tiny("main", "b", "c", "d", seen.append("main"))
app.work.work(3)
gn.narrate("main", "says", "x", "Hello")
print(seen)
"""


def traced(project: Path, *options: str) -> tuple[str, list[str]]:
    """What a program prints when it is run, and what `show` does."""
    (project / "main.py").write_text(PROGRAM)
    env = {**environment()}
    env["PYTHONPATH"] = os.pathsep.join([str(project / "src"), env["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "gpu_narration.cli", "run", "-q", "--overwrite", "--backend", "none",
         "-o", "t.gnt", *options], cwd=project, env=env, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, strip("show", "t.gnt", cwd=project).stdout.splitlines()


def test_run_strip_strips_the_script_and_what_it_imports(project: Path) -> None:
    printed, shown = traced(project, "--strip", "main.py")
    assert printed == "[]\n"
    assert shown == [
        (
            'INFO gpu_narration strip packages="all" '
            '"Trace calls are taken out of these modules when they are imported"'
        ),
        'INFO main says x "Hello"',
    ]


def test_run_strip_packages_strips_those_alone(project: Path) -> None:
    printed, shown = traced(project, "--strip-packages", "app", "main.py")
    assert printed == "['main']\n"
    assert [line.split()[:3] for line in shown] == [
        ["INFO", "gpu_narration", "strip"], ["TRACE", "main", "b"], ["INFO", "main", "says"],
    ]  # fmt: skip


def test_run_strip_of_a_module(project: Path) -> None:
    (project / "src" / "app" / "__main__.py").write_text(PROGRAM)
    printed, shown = traced(project, "--strip-packages", "app", "-m", "app")
    assert printed == "[]\n"
    assert len(shown) == 2


def test_run_without_strip_says_nothing_of_it(project: Path) -> None:
    printed, shown = traced(project, "main.py")
    assert printed == "['main']\n"
    assert not any("strip" in line for line in shown)
    assert len(shown) == 9
