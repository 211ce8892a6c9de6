"""What is checked: codes, the table in pyproject.toml, and which files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_narration._errors import OptionError
from gpu_narration.editorial.files import sources
from gpu_narration.editorial.finding import Finding
from gpu_narration.editorial.settings import Settings, find, load


def settings(folder: Path, table: str) -> Settings:
    file = folder / "pyproject.toml"
    file.write_text(f"[tool.gpu_narration.lint]\n{table}\n", encoding="utf-8")
    return load(file)


def wants(chosen: Settings, code: str, path: Path | None = None) -> bool:
    return chosen.wants(Finding(code, ""), path)


def below(folder: Path, chosen: Settings | None = None) -> list[str]:
    chosen = chosen or Settings(root=folder)
    return [file.relative_to(folder).as_posix() for file in sources([folder], chosen)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize(
    ("select", "ignore", "wanted"),
    [
        ((), (), {"GN101": True, "GN205": True}),
        (("GN1",), (), {"GN101": True, "GN205": False}),
        (("all",), ("GN1",), {"GN101": False, "GN205": True}),
        (("GN101",), ("GN1",), {"GN101": True, "GN102": False}),
        (("GN1",), ("GN1",), {"GN101": False}),
        (("gn101",), (), {"GN101": True, "GN102": False}),
        (("GN4",), ("ALL",), {"GN401": True, "GN101": False}),
        (("GN4",), ("GN0",), {"GN001": True, "GN002": True, "GN003": False}),
    ],
)
def test_the_longer_prefix_decides(
    select: tuple[str, ...], ignore: tuple[str, ...], wanted: dict[str, bool]
) -> None:
    chosen = Settings().with_codes(select, ignore)
    assert {code: wants(chosen, code) for code in wanted} == wanted


@pytest.mark.parametrize("code", ["GN9", "E501", "", "GN1010", "GN101x", "human-too-long"])
def test_an_unknown_code_is_refused_with_the_known_ones(code: str) -> None:
    with pytest.raises(OptionError, match=r"--select: no rule .* codes are GN001, .* and ALL"):
        Settings().with_codes((code,), ())


def test_the_table_chooses_codes_and_paths(tmp_path: Path) -> None:
    chosen = settings(
        tmp_path,
        'select = ["GN1", "GN2"]\nignore = ["GN202"]\nextend-exclude = ["gen/*.py"]\n'
        'per-file-ignores = { "tests/*" = ["GN1"], "old.py" = ["ALL"] }',
    )
    assert [wants(chosen, code) for code in ("GN101", "GN202", "GN401")] == [True, False, False]
    assert not wants(chosen, "GN101", tmp_path / "tests" / "a.py")
    assert not wants(chosen, "GN201", tmp_path / "src" / "old.py")
    assert wants(chosen, "GN201", tmp_path / "tests" / "a.py")
    assert chosen.is_excluded(tmp_path / "gen" / "a.py")
    assert not chosen.is_excluded(tmp_path / "src" / "gen.py")


def test_exclude_stands_instead_of_what_is_excluded_by_itself(tmp_path: Path) -> None:
    touch(tmp_path, "build/a.py", "mine/b.py", "c.py")
    assert below(tmp_path, settings(tmp_path, 'exclude = ["mine"]')) == ["c.py", "build/a.py"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('selct = ["GN1"]', "there is no key 'selct'; keys are select, ignore"),
        ('select = "GN1"', "select is no list of strings"),
        ("select = [1]", "select is no list of strings"),
        ('ignore = ["GN7"]', r"\[tool.gpu_narration.lint\] in .*: no rule has a code .* 'GN7'"),
        ("per-file-ignores = 3", "per-file-ignores is no table"),
        ('per-file-ignores = { "a" = ["X1"] }', "no rule has a code"),
        ("select = [", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        settings(tmp_path, table)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.gpu_narration]\nlint = 3\n", encoding="utf-8")
    with pytest.raises(OptionError, match="is no table"):
        load(file)


def test_the_nearest_file_with_the_table_is_found(tmp_path: Path) -> None:
    settings(tmp_path, "")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    assert find(inner) == tmp_path / "pyproject.toml"


def test_folders_that_hold_no_sources_of_the_project_are_left_out(tmp_path: Path) -> None:
    touch(
        tmp_path, ".git/a.py", ".venv/b.py", "build/c.py", "x/__pycache__/d.py", "node_modules/e.py", "f.egg-info/g.py",
        "myenv/pyvenv.cfg", "myenv/h.py", "src/build.py", "i.pyw", "j.pyi", "k.ipynb", "README.md", "dist/l.py",
    )  # fmt: skip
    assert below(tmp_path) == ["i.pyw", "src/build.py"]


def test_links_to_folders_are_not_followed_and_no_file_is_read_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.py")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "c.py").symlink_to(tmp_path / "a" / "b.py")
    (tmp_path / "d.py").symlink_to(tmp_path / "d.py")
    (tmp_path / "e.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "f.py")
    assert below(tmp_path) == ["a/b.py"]
    assert list(
        sources([tmp_path / "a", tmp_path / "a" / "b.py", tmp_path], Settings(root=tmp_path))
    ) == [tmp_path / "a" / "b.py"]


def test_a_named_file_is_read_whatever_its_name_and_place(tmp_path: Path) -> None:
    touch(tmp_path, "build/script")
    named = [tmp_path / "build" / "script"]
    assert list(sources(named, Settings(root=tmp_path))) == named
    assert list(sources(named, Settings(root=tmp_path), force_exclude=True)) == []
