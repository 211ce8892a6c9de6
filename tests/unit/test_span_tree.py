"""Spans by their nesting: each time counts once on a way, and what is unknown is not 0."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from gpu_narration._types import Outcome
from gpu_narration.nsight.sidecar import SpanWork, joined, written
from gpu_narration.timeline.tree import Node, SpanTree, TreeKey, ordered
from gpu_narration.tracefile import Event
from tests.support.events import Story
from tests.support.vram import GIB


class Told:
    """A tree; nodes by their names from the outermost inwards."""

    def __init__(self, story: Story, events: list[Event] | None = None, **options: Any) -> None:
        order = sorted(events or story.events, key=lambda event: event.monotonic_ns)
        self.tree = SpanTree(story.annotations, **options)
        for event in order:
            self.tree.take(event)
        self.nodes = self.tree.close()

    def __getitem__(self, path: str) -> Node:
        (node,) = [node for node in self.nodes if self.path(node) == path]
        return node

    def paths(self) -> list[str]:
        return [self.path(node) for node in self.nodes]

    def path(self, node: Node) -> str:
        return (self.path(node.parent) + "/" if node.parent else "") + node.name

    def rows(self, key: TreeKey, limit: int = 0) -> list[str]:
        return ["." * depth + node.name for node, depth in ordered(self.nodes, key, limit)]


def test_spans_stand_in_the_span_they_were_made_in() -> None:
    story = Story()
    serve = story.span("a", "serve", 0, 100)
    story.span("a", "load", 10, 30, inside=serve)
    story.span("a", "load", 200, 230)
    told = Told(story)
    assert told.paths() == ["serve", "serve/load", "load"]
    assert [told[path].cpu_ns for path in told.paths()] == [100, 20, 30]


def test_own_time_is_in_no_span_below() -> None:
    """GIVEN two spans inside that overlap THEN what they cover is taken off once."""
    story = Story()
    serve = story.span("a", "serve", 0, 100)
    story.span("a", "left", 10, 50, inside=serve)
    story.span("a", "right", 40, 60, inside=serve)
    told = Told(story)
    assert (told["serve"].own_ns, told["serve/left"].own_ns) == (50, 40)


def test_a_span_that_outlives_the_one_round_it_takes_off_what_it_shares() -> None:
    story = Story()
    serve = story.span("a", "serve", 0, 100)
    story.span("a", "task", 90, 150, inside=serve)
    told = Told(story)
    assert (told["serve"].own_ns, told["serve/task"].cpu_ns) == (100, 60)


def test_recursion_has_one_row_and_its_time_counts_once() -> None:
    story = Story()
    first = story.span("a", "walk", 0, 100)
    step = story.span("a", "step", 10, 90, inside=first)
    second = story.span("a", "walk", 20, 80, inside=step)
    story.span("a", "step", 30, 70, inside=second)
    told = Told(story)
    assert told.paths() == ["walk", "walk/step"]
    assert [(node.calls, node.cpu_ns, node.own_ns) for node in told.nodes] == [
        (2, 100, 40), (2, 80, 60),
    ]  # fmt: skip


def test_very_deep_recursion_is_no_trouble() -> None:
    story = Story()
    inside = None
    for depth in range(5000):
        inside = story.span("a", f"f{depth % 3}", depth, 100_000 - depth, inside=inside)
    assert Told(story).paths() == ["f0", "f0/f1", "f0/f1/f2"]


def test_gpu_busy_is_a_union_and_holds_the_launches_below() -> None:
    story = Story()
    serve = story.span("a", "serve", 0, 1000)
    step = story.span("a", "step", 10, 500, inside=serve)
    story.timed("one", 100, 200, 300, inside=step)
    story.timed("two", 110, 250, 400, inside=step, stream=8)
    story.timed("three", 600, 700, 750, inside=serve)
    told = Told(story)
    assert (told["serve"].busy_ns, told["serve"].launches) == (250, 3)
    assert (told["serve/step"].busy_ns, told["serve/step"].placed) == (200, 2)
    assert told["serve/step/two"].stream_ns == 150


def test_a_launch_without_a_time_counts_and_adds_nothing() -> None:
    story = Story()
    step = story.span("a", "step", 0, 100)
    story.launch("one", 10, inside=step, gpu_reason="not asked")
    node = Told(story)["step"]
    assert (node.launches, node.placed, node.busy_ns, node.lag_ns) == (1, 0, None, None)


def test_lag_is_from_the_calls_of_the_launches_below() -> None:
    story = Story()
    step = story.span("a", "step", 0, 1000)
    for at_ns, lag_ns in ((10, 5), (20, 40), (30, 90)):
        story.timed("k", at_ns, at_ns + lag_ns, at_ns + lag_ns + 1, inside=step)
    told = Told(story)
    assert (told["step"].lag_ns, told["step/k"].lag_ns) == (40, 40)


def test_without_launches_the_lag_of_a_span_is_from_its_beginning() -> None:
    story = Story()
    serve = story.span("a", "serve", 0, 500)
    story.span("a", "step", 100, 200, inside=serve, gpu_ns=50, gpu_start_ns=130, gpu_end_ns=180, gpu_place_error_ns=1)  # fmt: skip
    told = Told(story)
    assert (told["serve/step"].lag_ns, told["serve/step"].stream_ns) == (30, 50)
    assert (told["serve"].lag_ns, told["serve"].stream_timed) == (None, 0)


def test_memory_belongs_to_the_way_and_not_to_the_name() -> None:
    """GIVEN load in two places THEN each has what it took there, and serve what is inside."""
    story = Story()
    edges = {"vram_source": "exact", "vram_device": 0}
    serve = story.span("a", "serve", 0, 100)
    story.span("a", "load", 10, 20, inside=serve, vram_before_bytes=0, vram_after_bytes=GIB, vram_delta_bytes=GIB, **edges)  # fmt: skip
    story.span("a", "load", 200, 210, vram_before_bytes=GIB, vram_after_bytes=3 * GIB, vram_delta_bytes=2 * GIB, **edges)  # fmt: skip
    told = Told(story)
    assert (told["serve/load"].net_bytes, told["load"].net_bytes) == (GIB, 2 * GIB)
    assert told["serve"].net_bytes == GIB


def test_a_correlation_leaves_the_spans_and_launches_of_one_request() -> None:
    story = Story()
    outer = story.span("a", "server", 0, 1000)
    for number in (1, 2):
        step = story.span("a", f"step{number}", number * 100, number * 100 + 50, inside=outer, correlation=f"r{number}")  # fmt: skip
        story.launch("k", number * 100 + 1, inside=step, correlation=f"r{number}")
    assert Told(story, correlation="r2").paths() == ["step2", "step2/k"]


def test_what_an_actor_hides_counts_for_the_span_round_it() -> None:
    story = Story()
    serve = story.span("app", "serve", 0, 1000)
    hidden = story.span("lib", "decode", 10, 500, inside=serve)
    story.span("app", "sample", 20, 120, inside=hidden)
    story.timed("k", 100, 200, 300, inside=hidden)
    told = Told(story, actors=frozenset({"app"}))
    assert told.paths() == ["serve", "serve/sample"]
    assert (told["serve"].busy_ns, told["serve"].own_ns) == (100, 900)


def test_spans_without_an_end_are_open_and_failures_are_counted() -> None:
    story = Story()
    story.span("a", "step", 0, None)
    story.span("a", "step", 10, 20, outcome=Outcome.ERROR)
    node = Told(story)["step"]
    assert (node.calls, node.open, node.failed, node.cpu_ns) == (2, 1, 1, 10)


def test_a_span_whose_outer_span_was_forgotten_stands_at_the_top() -> None:
    story = Story()
    lost = story.span("a", "serve", 0, 100)
    story.span("a", "step", 10, 20, inside=lost)
    told = Told(story, [event for event in story.events if lost not in (event.id, event.span_id)])
    assert (told.paths(), told.tree.adrift) == (["step"], 1)


def test_processes_do_not_mix() -> None:
    story = Story()
    outer = story.span("a", "serve", 0, 100)
    story.span("a", "step", 10, 20, inside=outer, process=1)
    assert Told(story).paths() == ["serve", "step"]


def test_a_join_gives_kernel_time(tmp_path: Path) -> None:
    story = Story()
    step = story.span("a", "step", 0, 100)
    story.span("a", "step", 200, 300)
    with written(tmp_path) as writer:
        writer.spans([SpanWork(0, step, None, 3, 1, 70, 70, 10, 90, 5)])
        writer.finish("t", [(0, "p", 1)], {})
    with joined(tmp_path, "t", ["p"]) as join:
        node = Told(story, joined=join)["step"]
    assert (node.joined, node.kernels, node.kernel_busy_ns) == (1, 3, 70)


def test_the_largest_comes_first_at_each_depth() -> None:
    story = Story()
    small = story.span("a", "small", 0, 50)
    story.span("a", "s1", 1, 2, inside=small)
    story.span("a", "s2", 3, 9, inside=small)
    story.span("a", "large", 100, 300)
    assert Told(story).rows("cpu") == ["large", "small", ".s2", ".s1"]


def test_each_key_has_its_order_and_what_is_unknown_comes_last() -> None:
    story = Story()
    slow = story.span("a", "slow", 0, 5000)
    story.timed("k", 100, 200, 210, inside=slow)
    fast = story.span("a", "fast", 6000, 6100)
    story.timed("k", 6001, 6002, 6092, inside=fast)
    story.span("a", "none", 7000, 9000, vram_before_bytes=0, vram_after_bytes=5, vram_delta_bytes=5)
    told = Told(story)
    first = {key: told.rows(key) for key in ("cpu", "gpu", "lag", "vram")}
    assert [[name for name in rows if name[0] != "."] for rows in first.values()] == [
        ["slow", "none", "fast"], ["fast", "slow", "none"], ["slow", "fast", "none"],
        ["none", "slow", "fast"],
    ]  # fmt: skip


def test_a_limit_leaves_the_largest_with_what_is_round_them() -> None:
    story = Story()
    outer = story.span("a", "outer", 0, 10)
    story.timed("k", 1, 500, 900, inside=outer)
    for number in range(10):
        story.span("a", f"other{number}", 1000 + 20 * number, 1011 + 20 * number)
    assert Told(story).rows("gpu", 2) == ["outer", ".k"]


def _nest(story: Story, chance: random.Random, now_ns: int, inside: int | None, depth: int) -> int:
    """Some span with some others inside; when it ended."""
    begin_ns = now_ns
    number = story.span("a", chance.choice("abc"), begin_ns, None, inside=inside)
    for _ in range(chance.randrange(3) if depth < 6 else 0):
        now_ns = _nest(story, chance, now_ns + chance.randrange(1, 9), number, depth + 1)
    now_ns += chance.randrange(1, 9)
    story.end(number, now_ns)
    return now_ns


def test_own_times_add_up_to_the_time_of_the_outermost_spans() -> None:
    """GIVEN any nesting in one thread THEN no ns is lost and none counts twice."""
    for seed in range(50):
        story, chance = Story(), random.Random(seed)
        now_ns, total_ns = 0, 0
        for _ in range(4):
            begin_ns = now_ns
            now_ns = _nest(story, chance, begin_ns, None, 0)
            total_ns += now_ns - begin_ns
        nodes = Told(story).nodes
        assert sum(node.own_ns for node in nodes) == total_ns
        assert sum(node.cpu_ns for node in nodes if node.parent is None) == total_ns
