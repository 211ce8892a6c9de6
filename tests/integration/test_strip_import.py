"""The import hook in programs of their own: which modules, which caches, which loaders."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.run import environment, run_python

#: A module whose call logs that its argument was evaluated.
MODULE = """
import gpu_narration as gn
evaluated = []
def work():
    gn.trace_tiny("a", "b", "c", "d", evaluated.append(1))
    with gn.span("a", "b"):
        return len(evaluated)
"""
WORKED = "0\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A package ``app`` with a module ``app.inner`` and a script that asks it."""
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(MODULE)
    (tmp_path / "main.py").write_text(
        "import gpu_narration\nfrom app.inner import work\nprint(work())\n"
    )
    return tmp_path


def run(app: Path, *command: str, strip: str | None = "1", **env: str) -> str:
    """What a program prints, in the directory of the app."""
    chosen = {} if strip is None else {"GPU_NARRATION_STRIP": strip}
    # With the caches that Python writes by itself, whatever this process was told.
    own = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=app, text=True, check=False, capture_output=True,
        env={**environment(), **own, **chosen, **env}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def caches(app: Path) -> list[str]:
    return sorted(path.name for path in app.rglob("*.pyc") if "inner" in path.name)


# ---- which modules ----


@pytest.mark.parametrize("choice", ["1", "app", "app.inner", "other, app", "true"])
def test_what_the_variable_chooses_is_stripped(app: Path, choice: str) -> None:
    assert run(app, "main.py", strip=choice) == WORKED


@pytest.mark.parametrize("choice", [None, "", "0", "off", "other", "ap", "app.inner.more"])
def test_what_it_does_not_choose_is_not(app: Path, choice: str | None) -> None:
    assert run(app, "main.py", strip=choice) == "1\n"


def test_a_choice_that_cannot_be_read_is_told_and_strips_nothing(app: Path) -> None:
    done = run_python(app / "main.py", cwd=app, env={"GPU_NARRATION_STRIP": "my-app"})
    assert done.stdout == "1\n"
    assert "'my-app' is no name of a package" in done.stderr
    assert done.stderr.count("[bad-option]") == 1


def test_the_module_that_imports_us_first_keeps_its_calls(app: Path) -> None:
    """GIVEN nothing but the variable THEN a module that is compiled already stays as it is."""
    (app / "main.py").write_text("from app.inner import work\nprint(work())\n")
    assert run(app, "main.py") == "1\n"


def test_strip_on_import_strips_what_comes_after_it(app: Path) -> None:
    (app / "main.py").write_text(
        "import gpu_narration\ngpu_narration.strip_on_import('app')\n"
        "from app.inner import work\nprint(work())\n"
    )
    assert run(app, "main.py", strip=None) == WORKED


def test_strip_on_import_names_what_came_before_it(app: Path) -> None:
    (app / "main.py").write_text(
        "import gpu_narration, app.inner\ngpu_narration.strip_on_import('app')\n"
        "print(app.inner.work())\n"
    )
    done = run_python(app / "main.py", cwd=app)
    assert done.stdout == "1\n"
    assert "app, app.inner had been imported before" in done.stderr
    assert "[strip-late]" in done.stderr


def test_a_package_that_asks_for_itself_is_not_late(app: Path) -> None:
    (app / "app" / "__init__.py").write_text(
        "import gpu_narration\ngpu_narration.strip_on_import(__name__)\n"
    )
    (app / "main.py").write_text("from app.inner import work\nprint(work())\n")
    assert run(app, "main.py", strip=None) == WORKED


# ---- caches ----


def test_stripped_code_is_cached_apart(app: Path) -> None:
    """GIVEN a module that is run stripped, plain and stripped THEN each has its cache and code."""
    assert run(app, "main.py") == WORKED
    assert [name for name in caches(app) if "gnstrip" not in name] == []
    assert run(app, "main.py", strip=None) == "1\n"
    assert run(app, "main.py") == WORKED
    assert run(app, "main.py", strip=None) == "1\n"
    assert len(caches(app)) == 2


def test_a_cache_is_used(app: Path) -> None:
    """GIVEN a cache whose code is another's but whose head is right THEN that code runs."""
    run(app, "main.py")
    (cache,) = app.rglob("*gnstrip*.pyc")
    program = (
        "import marshal, sys; data = open(sys.argv[1], 'rb').read()[:16]\n"
        "code = compile('def work(): return 17', sys.argv[2], 'exec')\n"
        "open(sys.argv[1], 'wb').write(data + marshal.dumps(code))\n"
    )
    run(app, "-c", program, str(cache), str(app / "app" / "inner.py"), strip=None)
    assert run(app, "main.py") == "17\n"


def test_a_source_that_changed_is_compiled_again(app: Path) -> None:
    """GIVEN another source of the same size and time THEN its cache is not used."""
    source = app / "app" / "inner.py"
    before = source.stat()
    run(app, "main.py")
    source.write_text(MODULE.replace("return len(evaluated)", "return   5;evaluated "))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    assert run(app, "main.py") == "5\n"


@pytest.mark.parametrize("damage", [b"", b"\0" * 40])
def test_a_damaged_cache_is_compiled_again(app: Path, damage: bytes) -> None:
    run(app, "main.py")
    (cache,) = app.rglob("*gnstrip*.pyc")
    head = cache.read_bytes()[:16]
    cache.write_bytes(head + damage)
    assert run(app, "main.py") == WORKED
    assert len(cache.read_bytes()) > 100


def test_a_cache_of_a_package_that_moved_is_compiled_again(app: Path) -> None:
    """GIVEN caches that moved along THEN tracebacks name the new place."""
    run(app, "main.py")
    moved = app.with_name(app.name + "-moved")
    app.rename(moved)
    program = "import gpu_narration, app.inner; print(app.inner.work.__code__.co_filename)"
    assert run(moved, "-c", program) == f"{moved}/app/inner.py\n"


def test_optimised_code_has_a_cache_of_its_own(app: Path) -> None:
    run(app, "main.py")
    run(app, "-O", "main.py")
    run(app, "-OO", "main.py")
    levels = {name.partition("opt-")[2].partition("gnstrip")[0] for name in caches(app)}
    assert levels == {"", "1", "2"}


def test_no_cache_is_written_where_python_writes_none(app: Path) -> None:
    assert run(app, "-B", "main.py") == WORKED
    assert caches(app) == []


def test_the_prefix_of_caches_is_followed(app: Path, tmp_path: Path) -> None:
    assert run(app, "main.py", PYTHONPYCACHEPREFIX=str(tmp_path / "elsewhere")) == WORKED
    assert caches(app / "app") == []
    assert len(caches(tmp_path / "elsewhere")) == 1


def test_a_module_without_our_calls_keeps_its_usual_cache(app: Path) -> None:
    (app / "app" / "inner.py").write_text("def work(): return 0\n")
    run(app, "main.py")
    assert [name for name in caches(app) if "gnstrip" in name] == []
    assert len(caches(app)) == 1


# ---- ways of loading ----


def test_a_package_in_a_zip_file(app: Path) -> None:
    with zipfile.ZipFile(app / "app.zip", "w") as archive:
        archive.write(app / "app" / "__init__.py", "zipped/__init__.py")
        archive.write(app / "app" / "inner.py", "zipped/inner.py")
    program = (
        "import sys; sys.path.insert(0, 'app.zip')\nimport gpu_narration, inspect\n"
        "from zipped import inner\nprint(inner.work())\n"
        "print('trace_tiny' in inspect.getsource(inner), inner.__file__.endswith('inner.py'))\n"
    )
    assert run(app, "-c", program) == "0\nTrue True\n"


@pytest.mark.parametrize(
    ("encoding", "line"), [("latin-1", "# coding: latin-1\n"), ("utf-8-sig", "")]
)
def test_a_module_in_a_zip_file_that_is_not_plain_utf8(app: Path, encoding: str, line: str) -> None:
    with zipfile.ZipFile(app / "app.zip", "w") as archive:
        archive.writestr("odd.py", f"{line}{MODULE}\nname = 'é'\n".encode(encoding))
    script = (
        "import sys; sys.path.insert(0, 'app.zip')\nimport copy, gpu_narration, odd\n"
        "copy.deepcopy(odd.__spec__)\nprint(odd.work(), ascii(odd.name))\n"
    )
    assert run(app, "-c", script) == "0 '\\xe9'\n"


def test_a_namespace_package_of_two_directories(app: Path) -> None:
    for number in (1, 2):
        (app / f"part{number}" / "space").mkdir(parents=True)
        (app / f"part{number}" / "space" / f"m{number}.py").write_text(MODULE)
    program = (
        "import sys; sys.path[:0] = ['part1', 'part2']\nimport gpu_narration\n"
        "import space.m1, space.m2\nprint(space.m1.work() + space.m2.work())\n"
    )
    assert run(app, "-c", program, strip="space") == WORKED


def test_a_module_that_is_run_with_m(app: Path) -> None:
    """GIVEN a package that imports us THEN ``-m`` runs its modules stripped."""
    (app / "app" / "__init__.py").write_text("import gpu_narration\n")
    (app / "app" / "__main__.py").write_text(MODULE + "print(__name__, work())\n")
    assert run(app, "-m", "app") == "__main__ 0\n"


def test_relative_imports_and_reload(app: Path) -> None:
    (app / "app" / "outer.py").write_text(
        "import importlib\nfrom . import inner\nimportlib.reload(inner)\nfrom .inner import work\n"
    )
    program = "import gpu_narration\nfrom app.outer import work\nprint(work())"
    assert run(app, "-c", program) == WORKED


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_multiprocessing_starts(app: Path, method: str) -> None:
    """GIVEN a child whose first import is the module itself THEN it is stripped there, too."""
    (app / "main.py").write_text(
        "import multiprocessing\n"
        "def child(queue):\n    from app.inner import work\n    queue.put(work())\n"
        "if __name__ == '__main__':\n"
        "    import gpu_narration\n    gpu_narration.strip_on_import('app')\n"
        f"    context = multiprocessing.get_context('{method}')\n"
        "    queue = context.Queue()\n    process = context.Process(target=child, args=(queue,))\n"
        "    process.start()\n    print(queue.get(timeout=60))\n    process.join()\n"
    )
    assert run(app, "main.py", strip=None) == WORKED


def test_pytest_rewrites_its_tests_and_the_package_is_stripped(app: Path) -> None:
    """GIVEN a test that fails THEN its assertion is explained, and our hook loaded the package."""
    (app / "test_it.py").write_text(
        "import app.inner\n"
        "def test_stripped():\n    assert app.inner.work() == 0\n"
        "def test_fails():\n    left = 3\n    assert left == app.inner.work()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=app, env={**environment(), "GPU_NARRATION_STRIP": "1"}, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert "assert 3 == 0" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_the_lines_that_run_are_those_of_the_source(app: Path) -> None:
    """GIVEN a tracer, as coverage is one THEN it sees the lines that are left, by their numbers."""
    program = (
        "import sys, gpu_narration\nfrom app import inner\nseen = set()\n"
        "def trace(frame, event, argument):\n"
        "    if frame.f_code.co_filename.endswith('inner.py') and event == 'line':\n"
        "        seen.add(frame.f_lineno)\n    return trace\n"
        "sys.settrace(trace)\ninner.work()\nsys.settrace(None)\nprint(sorted(seen))\n"
    )
    number = MODULE.split("\n").index("        return len(evaluated)") + 1
    assert run(app, "-c", program) == f"[{number}]\n"


def test_a_syntax_error_is_pythons_own(app: Path) -> None:
    (app / "app" / "inner.py").write_text("import gpu_narration\nx = = 1\n")
    program = (
        "import gpu_narration\ntry:\n    import app.inner\n"
        "except SyntaxError as error:\n    print(error.lineno, error.filename)\n"
    )
    assert run(app, "-c", program) == f"2 {app}/app/inner.py\n"


def test_a_module_that_another_loader_compiles_is_left_and_told(app: Path) -> None:
    program = (
        "import sys, importlib.machinery as m\n"
        "class Own(m.SourceFileLoader): pass\n"
        "class Finder:\n"
        "    def find_spec(name, path, target=None):\n"
        "        spec = m.PathFinder.find_spec(name, path)\n"
        "        if name == 'app.inner': spec.loader = Own(name, spec.origin)\n"
        "        return spec\n"
        "sys.meta_path.insert(0, Finder)\n"
        "import gpu_narration\nfrom app.inner import work\nprint(work())\n"
    )
    done = run_python(program, cwd=app, env={"GPU_NARRATION_STRIP": "app", "PYTHONPATH": str(app)
                                             + os.pathsep + environment()["PYTHONPATH"]})  # fmt: skip
    assert done.stdout == "1\n"
    assert "__main__.Own compiles keep their trace calls, the first is app.inner" in done.stderr


def test_an_error_of_ours_is_contained(app: Path) -> None:
    """GIVEN an analysis that fails THEN the module is loaded with its calls, and the error told."""
    program = (
        "import gpu_narration\nfrom gpu_narration.stripping import transform\n"
        "def broken(tree): raise RuntimeError\ntransform.strip_tree = broken\n"
        "from app.inner import work\nprint(work())\n"
    )
    env = {**environment(), "GPU_NARRATION_STRIP": "1"}
    del env["GPU_NARRATION_RAISE_INTERNAL"]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=app,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "1\n"
    assert "[internal-error]" in done.stderr


# ---- functions ----


def test_optimised_functions_are_not_wrapped(app: Path) -> None:
    program = (
        "import gpu_narration\ndef f(): pass\n"
        "print(gpu_narration.trace_fn(f) is f, gpu_narration.trace_fn(actor='x')(f) is f)\n"
    )
    assert run(app, "-O", "-c", program, strip=None) == "True True\n"
    assert run(app, "-c", program, strip=None) == "False False\n"
    assert run(app, "-c", program, strip="1") == "True True\n"


def test_functions_of_other_packages_are_wrapped(app: Path) -> None:
    (app / "app" / "inner.py").write_text("def work(): pass\n")
    program = (
        "import gpu_narration\nfrom app.inner import work\n"
        "print(gpu_narration.trace_fn(work) is work)\n"
    )
    assert run(app, "-c", program, strip="app") == "True\n"
    assert run(app, "-c", program, strip="other") == "False\n"
