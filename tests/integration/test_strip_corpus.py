"""Packages of others, with our calls put in at hundreds of places, and stripped again.

Their sources come from the package index that pip uses, into a cache; without one that
answers these tests are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpu_narration.stripping.source import strip_source
from gpu_narration.stripping.transform import compile_stripped
from tests.support.code import differences, without_lines
from tests.support.inserting import insert
from tests.support.run import environment

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gpu_narration-tests"


@dataclass(frozen=True)
class Package:
    """A source distribution: its code, and those of its own tests that need nothing else."""

    name: str
    version: str
    code: str
    tests: tuple[str, ...] = ()
    #: What cannot pass here, stripped or not.
    without: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version}"


PACKAGES = (
    Package("attrs", "25.3.0", "src/attr", ("tests/test_dunders.py", "tests/test_slots.py",
            "tests/test_validators.py", "tests/test_next_gen.py")),
    # A hook of its conftest.py is not one of this pytest.
    Package("boltons", "25.0.0", "boltons", ("tests",), ("tests/conftest.py",)),
    # That test allows the modules of a list to be imported, and we are not on it.
    Package("click", "8.1.8", "src/click", ("tests",), ("tests/test_imports.py",)),
    Package("more_itertools", "10.7.0", "more_itertools", ("tests/test_recipes.py",)),
    Package("packaging", "25.0", "src/packaging", ("tests/test_requirements.py",
            "tests/test_markers.py")),
)  # fmt: skip
by_name = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def unpacked(package: Package, into: Path) -> Path:
    """The package's sources in a directory; skips where they cannot be had."""
    archives = list(CACHE.glob(f"{package.folder}.tar.gz"))
    if not archives:
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
             "--disable-pip-version-check", "--dest", CACHE, f"{package.name}=={package.version}"],
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        archives = list(CACHE.glob(f"{package.folder}.tar.gz"))
        if done.returncode != 0 or not archives:
            pytest.skip(f"pip cannot get the sources of {package.name}: {done.stderr[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(into, filter="data")
    return into / package.folder


def modules(root: Path, package: Package) -> list[Path]:
    return sorted((root / package.code).rglob("*.py"))


@by_name
def test_stripped_code_is_that_of_the_source_without_calls(
    package: Package, tmp_path: Path
) -> None:
    """GIVEN calls at hundreds of places WHEN stripped THEN bytes, constants and lines are
    those of the source without."""
    root = unpacked(package, tmp_path)
    places, different = 0, []
    for seed, path in enumerate(modules(root, package)):
        inserted = insert(path.read_text(encoding="utf-8"), seed)
        places += inserted.places
        stripped = compile_stripped(inserted.with_calls.encode(), str(path))
        plain = compile(inserted.without, str(path), "exec", dont_inherit=True)
        different += [f"{path.name}: {each}" for each in differences(stripped, plain)]
    assert different == []
    assert places > 300


@by_name
def test_the_source_form_gives_the_same_code(package: Package, tmp_path: Path) -> None:
    """GIVEN a third of the modules THEN the text without calls compiles to the same bytes."""
    root = unpacked(package, tmp_path)
    for seed, path in enumerate(modules(root, package)[::3]):
        inserted = insert(path.read_text(encoding="utf-8"), seed, share=0.2)
        text = strip_source(inserted.with_calls.encode())
        assert text.kept == ()
        assert differences(without_lines(text.text), without_lines(inserted.without)) == []


#: Loaded into the packages' test runs: says at the end how their modules were loaded.
PROOF = """
import sys
def pytest_sessionfinish(session):
    name = {name!r}
    loaded = [module for key, module in sys.modules.items() if (key + ".").startswith(name + ".")]
    kinds = sorted({{type(module.__loader__).__module__ for module in loaded}})
    print("LOADED", len(loaded), *kinds)
"""


@by_name
@pytest.mark.timeout(600)
def test_the_own_tests_of_a_package_pass_stripped(package: Package, tmp_path: Path) -> None:
    """GIVEN a package with our calls WHEN its tests run under GPU_NARRATION_STRIP THEN they pass,
    and its modules were loaded without the calls."""
    root = unpacked(package, tmp_path)
    places = 0
    for seed, path in enumerate(modules(root, package)):
        inserted = insert(path.read_text(encoding="utf-8"), seed)
        path.write_text(inserted.with_calls, encoding="utf-8")
        places += inserted.places
    for test in package.without:
        (root / test).unlink()
    name = Path(package.code).name
    (tmp_path / "proof.py").write_text(PROOF.format(name=name))
    code = (root / package.code).parent
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(code), str(tmp_path), env["PYTHONPATH"]])
    done = subprocess.run(
        # Our own plugin imports us, and so installs the hook, before the package is imported.
        [sys.executable, "-m", "pytest", "-q", "-p", "proof", "-p", "no:cacheprovider",
         "-p", "no:benchmark", "-W", "ignore", *package.tests],
        cwd=root, env={**env, "GPU_NARRATION_STRIP": name}, capture_output=True, text=True,
        check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    loaded = re.search(r"LOADED (\d+) (.*)", done.stdout)
    assert loaded is not None
    assert int(loaded[1]) >= 3
    assert "gpu_narration.stripping.hook" in loaded[2].split()
    assert places > 300
