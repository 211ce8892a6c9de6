"""Which scope moved how much: nothing counts twice, and what is not known is not 0."""

from __future__ import annotations

import random

from gpu_narration.timeline.vram import NEWER, SEVERAL
from gpu_narration.timeline.vram_scopes import OTHERS
from tests.support.vram import GIB, MIB, Told, VramStory


def figures(told: Told, name: str | None) -> tuple[int, int, int, int]:
    """(rose, fell, net, own) of a scope in MiB."""
    row = told.row(name)
    return row.rose // MIB, row.fell // MIB, row.net // MIB, row.own // MIB


def test_a_move_belongs_to_its_scope_and_to_those_round_it() -> None:
    """GIVEN a move in load inside serve THEN both have it, and serve has nothing of its own."""
    story = VramStory()
    outer = story.begin("serve", 0)
    inner = story.begin("load", 1, inside=outer)
    story.move(2, 0, 3 * GIB, inside=inner)
    story.end(inner, 3)
    story.end(outer, 4)
    told = story.told()
    assert figures(told, "load") == (3072, 0, 3072, 3072)
    assert figures(told, "serve") == (3072, 0, 3072, 0)


def test_edges_tell_what_is_too_small_to_be_told_as_a_move() -> None:
    story = VramStory()
    begun = story.edged("small", 0, GIB, GIB + 4096)
    story.end(begun, 1)
    row = story.told().row("small")
    assert (row.net, row.peak, row.sources) == (4096, GIB + 4096, {"exact"})


def test_edges_and_the_moves_between_them_are_counted_once() -> None:
    story = VramStory()
    begun = story.edged("load", 0, 0, 2 * GIB)
    story.move(1, 0, GIB, inside=begun, source="exact")
    story.move(2, GIB, 2 * GIB, inside=begun, source="exact")
    story.end(begun, 3)
    assert figures(story.told(), "load") == (2048, 0, 2048, 2048)


def test_nested_edges_are_taken_out_of_the_scope_round_them() -> None:
    story = VramStory()
    outer = story.edged("serve", 0, 0, 3 * GIB)
    for at_ns in (1, 3):
        inner = story.edged("load", at_ns, 0, GIB, inside=outer)
        story.end(inner, at_ns + 1)
    story.end(outer, 5)
    told = story.told()
    assert figures(told, "load") == (2048, 0, 2048, 2048)
    assert figures(told, "serve") == (3072, 0, 3072, 1024)


def test_memory_that_comes_and_goes_within_a_scope_rises_and_falls() -> None:
    story = VramStory()
    begun = story.edged("work", 0, GIB, GIB)
    story.move(1, GIB, 3 * GIB, inside=begun)
    story.move(2, 3 * GIB, GIB, inside=begun)
    story.end(begun, 3)
    told = story.told()
    assert figures(told, "work") == (2048, 2048, 0, 0)
    assert told.row("work").largest_rise == 2 * GIB
    assert told.row("work").peak == 3 * GIB


def test_a_move_that_was_found_at_the_first_edge_belongs_to_the_scope_round_it() -> None:
    """GIVEN outer took memory, and only the edge of inner noticed THEN it is outer's."""
    story = VramStory()
    outer = story.begin("outer", 0)
    inner = story.edged("inner", 1, GIB, GIB, inside=outer)
    story.move(2, 0, GIB, inside=inner)
    story.end(inner, 3)
    story.end(outer, 4)
    told = story.told()
    assert figures(told, "inner") == (0, 0, 0, 0)
    assert figures(told, "outer") == (1024, 0, 1024, 1024)


def test_a_move_that_was_found_at_the_first_edge_of_an_outermost_scope_is_outside() -> None:
    story = VramStory()
    begun = story.edged("first", 1, GIB, GIB)
    story.move(2, 0, GIB, inside=begun)
    story.end(begun, 3)
    told = story.told()
    assert figures(told, "first") == (0, 0, 0, 0)
    assert figures(told, None) == (1024, 0, 1024, 1024)


def test_a_late_reading_of_what_edges_saw_is_not_counted_again() -> None:
    """GIVEN load took 1 GiB by its edges and NVML tells it while next runs THEN next took none."""
    story = VramStory()
    first = story.edged("load", 0, 0, GIB)
    story.end(first, 10)
    following = story.begin("next", 11)
    story.move(12, 0, GIB + 4 * MIB, inside=following, window_ns=20)
    story.end(following, 13)
    told = story.told()
    assert figures(told, "load") == (1024, 0, 1024, 1024)
    assert figures(told, "next") == (4, 0, 4, 4)


def test_a_move_whose_window_began_after_the_edge_is_a_new_one() -> None:
    story = VramStory()
    first = story.edged("load", 0, 0, GIB)
    story.end(first, 10)
    story.move(100, 0, GIB, window_ns=50)
    assert figures(story.told(), None) == (1024, 0, 1024, 1024)


def test_edges_that_overlap_cannot_be_told_apart_and_count_by_their_moves() -> None:
    """GIVEN two threads' scopes that overlap, each seeing 2 GiB come THEN 2 GiB came, not 4."""
    story = VramStory()
    one = story.edged("one", 0, 0, 2 * GIB)
    two = story.edged("two", 1, 0, 2 * GIB)
    story.move(2, 0, GIB, inside=one)
    story.move(3, GIB, 2 * GIB, inside=two)
    story.end(one, 4)
    story.end(two, 5)
    told = story.told()
    assert figures(told, "one") == figures(told, "two") == (1024, 0, 1024, 1024)
    assert told.row("one").shared == {"overlapped app two": 1}
    assert told.row("two").shared == {"overlapped app one": 1}


def test_scopes_that_overlap_and_no_moves_are_unknown() -> None:
    story = VramStory()
    one, two = story.edged("one", 0, 0, GIB), story.edged("two", 1, 0, GIB)
    story.end(one, 2)
    story.end(two, 3)
    assert [row.known for row in story.told().rows] == [0, 0]


def test_what_the_recorder_calls_shared_is_shared() -> None:
    story = VramStory()
    begun = story.edged("one", 0, 0, GIB, vram_shared="another stream freed meanwhile")
    story.end(begun, 1)
    row = story.told().row("one")
    assert (row.shared, row.known) == ({"another stream freed meanwhile": 1}, 0)


def test_edges_that_could_not_be_read_have_their_reason() -> None:
    story = VramStory()
    begun = story.begin("load", 0, vram_delta_bytes=None, vram_reason="no NVML")
    story.end(begun, 1)
    row = story.told().row("load")
    assert (row.unknown, row.known, row.calls) == ({"no NVML": 1}, 0, 1)


def test_recursion_counts_once() -> None:
    story = VramStory()
    outer = story.edged("visit", 0, 0, 2 * GIB)
    inner = story.edged("visit", 1, 0, GIB, inside=outer)
    story.end(inner, 2)
    story.end(outer, 3)
    told = story.told()
    assert figures(told, "visit") == (2048, 0, 2048, 2048)
    assert told.row("visit").calls == 2


def test_a_move_outside_all_scopes_has_its_row() -> None:
    story = VramStory()
    story.move(0, 0, GIB)
    assert figures(story.told(), None) == (1024, 0, 1024, 1024)


def test_a_move_of_another_process_is_no_scopes() -> None:
    story = VramStory()
    begun = story.begin("load", 0)
    story.move(1, 0, GIB, inside=begun, learned={"by_others": True})
    story.end(begun, 2)
    assert [row.scope for row in story.told().rows] == [OTHERS]


def test_a_scope_whose_beginning_was_lost_has_its_name_at_least() -> None:
    story = VramStory()
    story.move(1, 0, GIB, in_span=99, in_scope="lost")
    assert [row.scope for row in story.told().rows] == [("?", "lost")]


def test_a_move_that_is_told_after_its_scope_ended_still_belongs_to_it() -> None:
    story = VramStory()
    outer = story.begin("outer", 0)
    inner = story.begin("inner", 1, inside=outer)
    story.end(inner, 2)
    story.move(3, 0, GIB, inside=inner)
    story.end(outer, 4)
    told = story.told()
    assert figures(told, "inner") == (1024, 0, 1024, 1024)
    assert figures(told, "outer") == (1024, 0, 1024, 0)


def test_doubts_of_the_recorder_are_counted() -> None:
    story = VramStory()
    begun = story.begin("load", 0)
    story.move(1, 0, GIB, inside=begun, scope_is_newer=True)
    story.move(2, GIB, 2 * GIB, inside=begun, open_scopes=3)
    story.end(begun, 3)
    assert story.told().row("load").unsure == {NEWER: 1, SEVERAL: 1}


def test_a_scope_that_never_ended_counts_by_its_moves() -> None:
    story = VramStory()
    begun = story.begin("load", 0)
    story.move(1, 0, GIB, inside=begun)
    told = story.told()
    assert figures(told, "load") == (1024, 0, 1024, 1024)
    assert told.row("load").open == 1


def test_a_request_has_only_its_own() -> None:
    story = VramStory()
    for number, correlation in enumerate(("a", "b")):
        begun = story.begin("step", 10 * number, correlation=correlation)
        story.move(10 * number + 1, 0, (number + 1) * GIB, inside=begun)
        story.end(begun, 10 * number + 2)
    assert figures(story.told(correlation="b"), "step") == (2048, 0, 2048, 2048)
    assert len(story.told().row("step").requests) == 2


def test_pools_keep_live_and_cached_bytes_apart() -> None:
    story = VramStory()
    begun = story.edged(
        "step", 0, 0, GIB, vram_live_delta_bytes=GIB // 4, vram_cached_delta_bytes=3 * GIB // 4
    )
    story.end(begun, 1)
    row = story.told().row("step")
    assert (row.live, row.cached) == (GIB // 4, 3 * GIB // 4)


def test_devices_are_kept_apart() -> None:
    story = VramStory()
    begun = story.begin("load", 0)
    story.move(1, 0, GIB, inside=begun, device=0)
    story.move(2, 0, 2 * GIB, inside=begun, device=1)
    story.end(begun, 3)
    assert sorted((row.device.index, row.net) for row in story.told().rows) == [
        (0, GIB), (1, 2 * GIB)
    ]  # fmt: skip


def test_own_figures_add_up_to_what_the_device_did() -> None:
    """GIVEN any tree of scopes with moves anywhere THEN the own figures sum to the device's."""
    chance = random.Random(3)
    for _ in range(50):
        story, used = VramStory(), 0
        stack: list[tuple[object, int, bool]] = []
        for at_ns in range(1, 61):
            match chance.randrange(3):
                case 0:
                    inside = stack[-1][0] if stack else None
                    begun = story.begin(f"s{len(stack)}", at_ns, inside=inside)  # type: ignore[arg-type]
                    stack.append((begun, used, chance.random() < 0.5))
                case 1 if stack:
                    begun, before, edged = stack.pop()
                    if edged:
                        story.learned[0, begun.id] = {  # type: ignore[attr-defined]
                            "vram_before_bytes": before, "vram_after_bytes": used,
                            "vram_delta_bytes": used - before, "vram_source": "exact",
                        }  # fmt: skip
                    story.end(begun, at_ns)  # type: ignore[arg-type]
                case _:
                    new = chance.randrange(64) * 64 * MIB
                    inside = stack[-1][0] if stack else None
                    story.move(at_ns, used, new, inside=inside, source="exact")  # type: ignore[arg-type]
                    used = new
        assert sum(row.own for row in story.told().rows) == used
