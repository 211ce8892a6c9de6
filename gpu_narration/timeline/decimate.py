"""Fewer points that draw the same picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Time in ns and a value; the value is None where it is unknown from here on.
Point = tuple[int, int | None]


def decimate(points: Iterable[Point], begin_ns: int, end_ns: int, columns: int) -> list[Point]:
    """At most four points and the gaps for each of ``columns`` equal stretches of time.

    Of a stretch the first, the lowest, the highest and the last point are kept, in the
    order of time: a line drawn through them covers the same pixels (M4 aggregation,
    U. Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation",
    VLDB 2014).  So no peak is lost however many points there are.
    """
    width_ns = max(1, end_ns - begin_ns)
    kept: list[Point] = []
    column: int | None = None
    stretch: list[Point] = []
    for point in points:
        at = min(columns - 1, (point[0] - begin_ns) * columns // width_ns)
        if at != column:
            kept += _extremes(stretch)
            column, stretch = at, []
        stretch.append(point)
        if len(stretch) >= 64:  # a stretch can hold millions: only its extremes are carried on
            stretch = list(_extremes(stretch))
    kept += _extremes(stretch)
    return kept


def _extremes(stretch: list[Point]) -> Iterator[Point]:
    known = [(value, index) for index, (_, value) in enumerate(stretch) if value is not None]
    chosen = {0, len(stretch) - 1} if stretch else set()
    if known:
        chosen |= {min(known)[1], max(known)[1]}
    gap = next((index for index, (_, value) in enumerate(stretch) if value is None), None)
    if gap is not None:
        chosen.add(gap)
    yield from (stretch[index] for index in sorted(chosen))
