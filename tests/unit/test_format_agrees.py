"""The numbers of the trace format are the same in C and in Python."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from gpu_narration import _core
from gpu_narration._options import CHUNK_BYTES
from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.redaction import Rule
from gpu_narration.tracefile import format as fmt

CORE = Path(__file__).parents[2] / "gpu_narration" / "_core"
RECORD = (CORE / "record.h").read_text(encoding="utf-8")
BOUNDARY = (CORE / "boundary" / "boundary.h").read_text(encoding="utf-8")


def enumerators(text: str, prefix: str) -> dict[str, int]:
    """The enumerators with a prefix, under their names without it."""
    found = re.findall(rf"\b{prefix}(\w+) = (0x[0-9a-f]+|\d+)\b", text)
    return {name: int(number, 0) for name, number in found}


@pytest.mark.parametrize(
    ("python", "text", "prefix"),
    [
        (Kind, RECORD, "GN_KIND_"),
        (Level, RECORD, "GN_LEVEL_"),
        (Outcome, RECORD, "GN_OUTCOME_"),
        (Rule, BOUNDARY, "PARAMETER_"),
    ],
)
def test_an_enumeration_has_the_same_numbers(python: type[IntEnum], text: str, prefix: str) -> None:
    assert {member.name: member.value for member in python} == enumerators(text, prefix)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GN_RING_MAGIC", fmt.RING_MAGIC.decode()),
        ("GN_SEGMENT_MAGIC", fmt.SEGMENT_MAGIC.decode()),
        ("GN_CHUNK_MAGIC", fmt.CHUNK_MAGIC),
        ("GN_CLOCK_MAGIC", fmt.CLOCK_MAGIC),
        ("GN_FORMAT_VERSION", fmt.VERSION),
        ("GN_PAGE", fmt.PAGE),
        ("GN_SITE_EXIT", fmt.SITE_EXIT),
        ("GN_RECORD_HEAD", fmt.RECORD_HEAD.size),
    ],
)
def test_a_constant_is_the_same(name: str, value: int | str) -> None:
    (written,) = re.findall(rf"^#define {name} (\S+)", RECORD, re.MULTILINE)
    assert (written.strip('"') if isinstance(value, str) else int(written.rstrip("u"), 0)) == value


def test_the_records_of_the_recorder_have_the_same_ids() -> None:
    python = {name[4:]: value for name, value in vars(fmt).items() if name.startswith("SYS_")}
    assert python == enumerators(RECORD, "GN_SYS_")


def test_the_structures_have_the_sizes_that_the_core_asserts() -> None:
    sizes = dict(re.findall(r"sizeof\(struct (\w+)\) == (\d+)", RECORD))
    assert {name: int(size) for name, size in sizes.items()} == {
        "gn_chunk_header": fmt.CHUNK_HEADER.size,
        "gn_clock_point": fmt.CLOCK_POINT.size,
        "gn_file_header": fmt.FILE_HEADER.size,
    }


def test_every_tag_of_the_core_is_read() -> None:
    (block,) = re.findall(r"enum gn_tag \{(.*?)\};", RECORD, re.DOTALL)
    readers = {*fmt._CONSTANTS, *fmt._SCALARS, *fmt._READERS, *fmt._NAMES, fmt._TAG_CUT}
    assert set(enumerators(block, "GN_").values()) == readers


def test_the_core_that_was_built_writes_the_version_that_is_read() -> None:
    assert fmt.VERSION == _core.FORMAT_VERSION


def test_the_recorder_counts_in_the_chunks_of_the_core() -> None:
    assert re.findall(r"#define GN_CHUNK_SIZE \((\d+)u \* 1024u\)", RECORD) == [
        str(CHUNK_BYTES // 1024)
    ]
