"""The pages under docs/ say what the code does: its files, messages and numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.editorial.rules import RULES
from gpu_narration.editorial.settings import EXCLUDED
from gpu_narration.timeline import gpu_time
from gpu_narration.tracefile import Trouble
from gpu_narration.tracefile import format as fmt
from gpu_narration.views import text

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "gpu_narration"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_column(section: str) -> set[str]:
    """What stands in backquotes in the first column of a section's tables."""
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


def sections(name: str) -> dict[str, str]:
    """The sections of a page by heading; what stands before the first is under ``""``."""
    parts = re.split(r"^## (.+)\n", page(name), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


# ---- messages.md ----


def slugs() -> set[str]:
    """The names at the end of all errors and warnings in the sources."""
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = re.findall(r'\bslug(?:: ClassVar\[str\])? = "([a-z-]+)"', code)
    written = re.findall(r' \[([a-z]+(?:-[a-z]+)*)\]"', code)
    return {*named, *written} - {"error"}  # the base class, never raised itself


def test_every_message_is_explained_and_nothing_else() -> None:
    assert first_column(sections("messages.md")[""]) == slugs()


def test_every_note_among_the_events_is_explained() -> None:
    assert first_column(sections("messages.md")["Notes among the events"]) == set(text.NOTES_SHOWN)


def test_every_notice_is_explained() -> None:
    assert first_column(sections("messages.md")["Notices in a trace"]) == {
        trouble.value for trouble in Trouble
    }


def test_every_reason_of_the_reader_is_explained() -> None:
    assert first_column(sections("messages.md")["Reasons in `spans`"]) == {
        gpu_time.NO_ANSWER,
        gpu_time.NO_PLACE,
        gpu_time.IMPOSSIBLE,
        gpu_time.IMPOSSIBLE_PLACE,
        gpu_time.BEFORE_CALL,
    }


# ---- lint.md ----


def test_every_rule_for_texts_is_listed_by_code_and_name() -> None:
    rows = re.findall(r"^\| `(GN\d+)` \| ([a-z-]+) \|", page("lint.md"), re.MULTILINE)
    assert rows == [(rule.code, rule.name) for rule in RULES.values()]


def test_the_folders_that_the_linter_leaves_out_are_listed() -> None:
    shown = set(re.findall(r"`([^`]+)`", sections("lint.md")["What is read"]))
    assert set(EXCLUDED) - {".*", "__pypackages__", "buck-out"} <= shown


# ---- format.md ----


def flat(section: str) -> str:
    return " ".join(sections("format.md")[section].split())


def enumerated(names: list[tuple[int, str]]) -> str:
    return ", ".join(f"{number} {name}" for number, name in names)


def test_the_records_of_the_recorder_are_listed_with_their_ids() -> None:
    ids = {value for name, value in vars(fmt).items() if name.startswith("SYS_")}
    listed = re.findall(r"^\| (0x[0-9A-F]+) ", sections("format.md")["Records"], re.MULTILINE)
    assert {int(number, 16) for number in listed} == ids


@pytest.mark.parametrize("kinds", [Kind, Level, Outcome])
def test_the_numbers_of_an_enumeration_are_listed(kinds: type[Kind | Level | Outcome]) -> None:
    words = enumerated([(member.value, member.name.lower()) for member in kinds])
    assert words in flat("Records")


def test_the_tags_are_listed_and_no_others() -> None:
    column = re.findall(
        r"^\| ((?:[0-9A-F]{2} ?)+)\|", sections("format.md")["Values"], re.MULTILINE
    )
    listed = [int(tag, 16) for row in column for tag in row.split()]
    tags = {*fmt._CONSTANTS, *fmt._SCALARS, *fmt._READERS, *fmt._NAMES, fmt._TAG_CUT}
    assert sorted(listed) == sorted(tags)


# ---- the map ----


def named_files(name: str) -> list[str]:
    """The files and folders that a page names in backquotes, as far as they have a path."""
    found = re.findall(r"`([\w./*]+(?:\.py|\.c|\.h|\.toml|/))`", page(name))
    return sorted(set(found))


def exists(name: str) -> bool:
    """Whether a page's short name of a file is one: of the repository, the package, or a room."""
    roots = (ROOT, PACKAGE, PACKAGE / "cuda", PACKAGE / "_core" / "boundary")
    return any(any(root.glob(name.rstrip("/"))) for root in roots)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, file) for name in ("architecture.md", "decisions.md", "gpu-time.md")
     for file in named_files(name)],
)  # fmt: skip
def test_a_file_that_a_page_names_is_there(name: str, file: str) -> None:
    assert exists(file)


def rooms() -> set[str]:
    """The modules and packages directly under the package."""
    return {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }  # fmt: skip


def test_every_room_is_on_the_map() -> None:
    table = sections("architecture.md")["The rooms of the package"]
    listed = {name.partition("/")[0] for name in re.findall(r"`([\w*./]+)`", table)}
    assert rooms() - {"__init__"} <= listed


def test_every_file_about_a_gpu_is_on_the_map() -> None:
    table = sections("architecture.md")["The rooms of the package"]
    shown = re.findall(r"`([\w*]+\.py)`", table)
    files = set((PACKAGE / "cuda").glob("*.py")) - {PACKAGE / "cuda" / "__init__.py"}
    assert files == {path for name in shown for path in (PACKAGE / "cuda").glob(name)}
