"""The picture of memory: what is drawn, where, and that no name can break out of it."""

from __future__ import annotations

import io
import itertools
import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gpu_narration._errors import MissingExtraError
from gpu_narration._types import Level
from gpu_narration.views.vram_html import html
from gpu_narration.views.vram_plot import (
    FELL,
    KEYS,
    LANES,
    LEFT,
    RIGHT,
    ROSE,
    SAME,
    WIDTH,
    Picture,
    picture,
)
from gpu_narration.views.vram_png import write_png
from gpu_narration.views.vram_svg import svg
from tests.support.vram import GIB, MIB, VramStory

S = 1_000_000_000
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>\x1b[31m$x^{$&\"'"


def drawn(story: VramStory, **options: Any) -> Picture:
    told = story.told()
    history = told.history
    window = {"begin_ns": history.begin_ns, "end_ns": history.end_ns, **options}
    return picture("t.gnt", told.devices, told.rows, history.marks, **window)


def growing(**fields: Any) -> VramStory:
    story = VramStory()
    story.move(0, None, GIB, **fields)
    begun = story.begin("load", 2 * S)
    story.move(4 * S, GIB, 3 * GIB, inside=begun, **fields)
    story.end(begun, 6 * S)
    story.narrate(10 * S, "ready")
    return story


def test_memory_holds_until_the_next_reading_and_to_the_end() -> None:
    (line,) = drawn(growing()).lines
    assert line.points == [(0, GIB), (4 * S, 3 * GIB), (10 * S, 3 * GIB)]


def test_a_scope_that_moved_memory_has_a_bar_where_it_ran() -> None:
    made = drawn(growing())
    (lane,) = made.lanes
    (bar,) = lane.bars
    assert (lane.label, bar.begin_ns, bar.end_ns, bar.color) == ("app load", 2 * S, 6 * S, ROSE)
    assert bar.tip == "app load on gpu0: 1 call in 4.00 s, net +2.0 GiB"


def test_bars_say_by_colour_what_was_left_behind() -> None:
    story = VramStory()
    story.move(0, None, 0)
    for number, (first, last) in enumerate(((0, GIB), (GIB, 0), (0, 0))):
        begun = story.begin(f"s{number}", S * 2 * number)
        story.move(S * 2 * number + 1, first, 2 * GIB, inside=begun)
        story.move(S * 2 * number + 2, 2 * GIB, last, inside=begun)
        story.end(begun, S * (2 * number + 1))
    colors = {lane.label: lane.bars[0].color for lane in drawn(story).lanes}
    assert colors == {"app s0": ROSE, "app s1": FELL, "app s2": SAME}


def test_calls_too_near_to_be_told_apart_are_one_bar() -> None:
    story = VramStory()
    story.move(0, None, 0)
    for number in range(50):
        begun = story.begin("step", number * 1000)
        story.move(number * 1000 + 1, number * MIB, (number + 1) * MIB, inside=begun)
        story.end(begun, number * 1000 + 500)
    story.narrate(100 * S, "end")
    (lane,) = drawn(story).lanes
    assert [bar.tip for bar in lane.bars] == [
        "app step on gpu0: 50 calls in 49.5 µs, net +50.0 MiB"
    ]


def test_of_many_scopes_the_small_ones_are_counted_instead() -> None:
    story = VramStory()
    story.move(0, None, 0)
    for number in range(LANES + 6):
        begun = story.begin(f"s{number}", S * number)
        story.move(S * number + 1, 0, (number + 1) * 10 * MIB, inside=begun)
        story.end(begun, S * number + 2)
    made = drawn(story)
    assert len(made.lanes) == LANES
    assert made.lanes[0].label == "app s6"
    assert made.notes == ["6 more scopes moved at most 60.0 MiB each and have no lane."]


def test_a_capacity_in_reach_has_its_line_and_a_far_one_is_said() -> None:
    assert "capacity 4.0 GiB" in svg(drawn(growing(total=4 * GIB)))
    assert "capacity (80.0 GiB: above the picture)" in svg(drawn(growing(total=80 * GIB)))


def test_a_lost_device_leaves_a_hole() -> None:
    story = VramStory()
    story.move(0, None, GIB)
    story.move(S, GIB, None, reason="GpuIsLost")
    story.move(2 * S, None, GIB)
    path = _line_paths(svg(drawn(story)))[0]
    assert path.count("M") == 2


def test_a_peak_between_two_readings_is_drawn_above_them() -> None:
    story = VramStory()
    story.move(0, None, GIB)
    story.move(S, GIB, 2 * GIB, peak_bytes=5 * GIB)
    made = drawn(story)
    assert made.lines[0].spikes == [(S, 2 * GIB, 5 * GIB)]
    assert made.top_bytes > 5 * GIB


@pytest.mark.parametrize(
    ("fields", "title"), [({"simulated": True}, "t.gnt (simulated)"), ({}, "t.gnt")]
)
def test_the_title_says_what_is_simulated(fields: dict[str, Any], title: str) -> None:
    assert drawn(growing(**fields)).title == title


def test_one_reading_alone_has_axes_and_a_dot() -> None:
    story = VramStory()
    story.move(5 * S, None, 3 * GIB)
    made = drawn(story)
    assert [label for _, label in made.memory_ticks()] == ["0", "1", "2", "3"]
    assert len(made.time_ticks()) > 3
    assert svg(made).count("<circle") == 1


def test_memory_that_is_never_used_has_an_axis() -> None:
    story = VramStory()
    story.move(0, None, 0, total=None)
    assert len(drawn(story).memory_ticks()) > 3


def test_a_window_shows_what_held_at_its_edges() -> None:
    made = drawn(growing(), begin_ns=3 * S, end_ns=5 * S, origin_ns=0)
    assert made.lines[0].points == [(3 * S, GIB), (4 * S, 3 * GIB), (5 * S, 3 * GIB)]
    assert (made.lanes[0].bars[0].begin_ns, made.lanes[0].bars[0].end_ns) == (3 * S, 5 * S)
    assert next(label for _, label in made.time_ticks()) == "3.0"


def test_ten_thousand_readings_are_a_few_thousand_points_with_the_peak() -> None:
    story = VramStory()
    story.move(0, None, 0)
    for number in range(10_000):
        used = (number % 7) * MIB if number != 7_777 else 9 * GIB
        story.move(number * S, 0, used)
    (line,) = drawn(story).lines
    assert len(line.points) < 4_000
    assert max(used or 0 for _, used in line.points) == 9 * GIB


def test_narrations_are_flags_and_the_most_important_are_told_in_words() -> None:
    story = growing()
    for number in range(40):
        level = Level.ERROR if number == 20 else Level.INFO
        story.narrate(number * S // 4, f"n{number}", level=level)
    made = drawn(story)
    assert sum(line[:2].strip().isdigit() for line in made.key) == KEYS
    assert any("ERROR app say: n20" in line for line in made.key)
    assert "and 29 more narrations" in made.key[-1]


def test_flags_never_overlap() -> None:
    story = growing()
    for number in range(300):
        story.narrate(number * S // 30, "n")
    made = drawn(story)
    places = [made.x(flag.time_ns) for flag in made.flags]
    assert min(after - before for before, after in itertools.pairwise(places)) > 40


def hostile() -> VramStory:
    story = VramStory()
    story.move(0, None, GIB, uuid=HOSTILE, source=HOSTILE)
    begun = story.begin(HOSTILE, S, actor=HOSTILE)
    story.move(2 * S, GIB, 2 * GIB, inside=begun, uuid=HOSTILE, source=HOSTILE)
    story.end(begun, 3 * S)
    story.narrate(4 * S, HOSTILE, actor=HOSTILE)
    return story


def test_svg_is_well_formed_whatever_the_names_are() -> None:
    root = ET.fromstring(svg(drawn(hostile())))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "title", "style", "rect", "text", "line", "path", "circle"
    } - {"circle"}  # fmt: skip


def test_html_has_no_script_but_its_own_and_asks_nothing_of_a_network() -> None:
    page = html(drawn(hostile()))
    assert re.findall(r"<script[^>]*>", page) == [
        '<script type="application/json" id="data">', "<script>"
    ]  # fmt: skip
    assert "default-src 'none'" in page
    addresses = set(re.findall(r"https?://[^\"' ]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "\x1b" not in page


def test_the_data_in_html_are_the_readings() -> None:
    page = html(drawn(growing()))
    (data,) = re.findall(r'id="data">(.*?)</script>', page)
    (line,) = json.loads(data)["lines"]
    assert line["points"] == [[0.0, "1.0 GiB"], [4.0, "3.0 GiB"], [10.0, "3.0 GiB"]]
    assert unescape(line["label"]) == "gpu0"


def test_png_is_drawn_twice_as_large_as_the_picture(tmp_path: Path) -> None:
    made = drawn(growing())
    write_png(made, tmp_path / "a.png")
    head = (tmp_path / "a.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    assert size == (2 * WIDTH, 2 * made.height)


def test_png_has_the_line_where_the_readings_are(tmp_path: Path) -> None:
    """GIVEN 1 GiB and then 3 GiB THEN the pixels there have the line's colour."""
    import matplotlib.image

    made = drawn(growing())
    write_png(made, tmp_path / "a.png")
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    for time_ns, used in ((S, GIB), (8 * S, 3 * GIB)):
        x, y = round(2 * made.x(time_ns)), round(2 * made.y(used))
        column = pixels[y - 3 : y + 4, x, :3]
        assert column[:, 0].min() < 0.2  # #0072B2 has no red
        assert column[:, 2].min() > 0.6


def test_png_takes_names_that_look_like_formulas_or_lack_a_glyph(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    story = hostile()
    story.narrate(5 * S, "\u65e5\u672c $\\frac{$")
    write_png(drawn(story), tmp_path / "a.png")
    assert [str(warning.message) for warning in recwarn] == []


def test_png_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"gpu-narration\[report\].*\[missing-extra\]"):
        write_png(drawn(growing()), tmp_path / "a.png")


def test_everything_lies_within_the_sheet() -> None:
    """GIVEN a picture with all it can have THEN no mark lies outside of it."""
    made = drawn(hostile())
    root = ET.parse(io.StringIO(svg(made))).getroot()
    for element in root.iter():
        for name in ("x", "x1", "x2"):
            assert 0 <= float(element.get(name, 0)) <= WIDTH
        for name in ("y", "y1", "y2"):
            assert 0 <= float(element.get(name, 0)) <= made.height
    assert LEFT < made.x(made.end_ns) <= WIDTH - RIGHT


def _line_paths(text: str) -> list[str]:
    root = ET.fromstring(text)
    return [
        path.get("d", "")
        for path in root.iter(f"{SVG}path")
        if path.get("stroke-linejoin") == "round"
    ]
