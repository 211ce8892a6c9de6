"""The picture as SVG, by hand: no library, no network, all text escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from gpu_narration.timeline.decimate import Point
from gpu_narration.views.units import size
from gpu_narration.views.vram_plot import (
    DASHES,
    FELL,
    KEY_ROW,
    LANE,
    LEFT,
    LEGEND_COLUMNS,
    LEGEND_ROW,
    LEGEND_TOP,
    PLOT_HEIGHT,
    RIGHT,
    ROSE,
    SAME,
    WIDTH,
    Picture,
)

_STYLE = (
    "text{font:12px 'DejaVu Sans',Verdana,sans-serif;fill:#222}.t{font-size:16px;font-weight:600}"
    ".g{stroke:#e4e4e4}.a{stroke:#444}.m{fill:#555}"
)


def svg(picture: Picture) -> str:
    """A whole SVG document, also good inside HTML."""
    extent = f'width="{WIDTH}" height="{picture.height}"'
    box = f'viewBox="0 0 {WIDTH} {picture.height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} {extent} role="img">',
            f"<title>{escape(picture.title)}</title><style>{_STYLE}</style>",
            f'<rect {extent} fill="#fff"/>',
            _text(LEFT, 26, picture.title, css="t"),
            *_legend(picture),
            *_grid(picture),
            *_lanes(picture),
            *_flags(picture),
            *_lines(picture),
            *_key(picture),
            "</svg>",
        ]
    )


def _legend(picture: Picture) -> Iterator[str]:
    column = (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS
    for index, line in enumerate(picture.lines):
        x = LEFT + column * (index % LEGEND_COLUMNS)
        y = LEGEND_TOP + LEGEND_ROW * (index // LEGEND_COLUMNS)
        yield (
            f'<line x1="{x:.0f}" x2="{x + 22:.0f}" y1="{y}" y2="{y}" stroke="{line.color}" '
            f'stroke-width="3"{_dash(line.dash)}/>'
        )
        yield _text(x + 28, y + 4, line.legend)
    y = LEGEND_TOP + LEGEND_ROW * picture.legend_rows
    x = float(LEFT)
    for color, text, wide in (
        (ROSE, "scope, net rise", 130), (FELL, "scope, net fall", 128), (SAME, "scope, no net change", 170),
    ):  # fmt: skip
        yield f'<rect x="{x:.0f}" y="{y - 5}" width="22" height="10" rx="2" fill="{color}"/>'
        yield _text(x + 28, y + 4, text)
        x += wide
    yield (
        f'<line x1="{x:.0f}" x2="{x + 22:.0f}" y1="{y}" y2="{y}" stroke="#777" '
        'stroke-dasharray="7 4"/>'
    )
    yield _text(x + 28, y + 4, capacity_text(picture))


def capacity_text(picture: Picture) -> str:
    """What the legend says of the dashed line."""
    beyond = sorted({line.capacity for line in picture.lines if line.capacity} - _drawn(picture))
    if not beyond:
        return "capacity"
    return f"capacity ({', '.join(size(count) for count in beyond[:3])}: above the picture)"


def _drawn(picture: Picture) -> set[int]:
    return {
        line.capacity
        for line in picture.lines
        if line.capacity and line.capacity <= picture.top_bytes
    }


def _grid(picture: Picture) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, picture.plot_top + PLOT_HEIGHT
    for used, label in picture.memory_ticks():
        y = picture.y(used)
        yield f'<line class="g" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, label, anchor="end")
    middle = picture.plot_top + PLOT_HEIGHT / 2
    yield (
        f'<text class="m" text-anchor="middle" transform="translate({LEFT - 58} {middle:.0f}) '
        f'rotate(-90)">used, GiB</text>'
    )
    for time_ns, label in picture.time_ticks():
        x = picture.x(time_ns)
        yield f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{picture.plot_top}" y2="{picture.axis_y}"/>'
        yield _text(x, picture.axis_y + 18, label, anchor="middle")
    yield f'<line class="a" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
    yield f'<line class="a" x1="{LEFT}" x2="{right}" y1="{picture.axis_y}" y2="{picture.axis_y}"/>'
    yield f'<line class="a" x1="{LEFT}" x2="{LEFT}" y1="{picture.plot_top}" y2="{picture.axis_y}"/>'
    yield _text(
        (LEFT + right) / 2, picture.axis_y + 38, "s since the trace began", anchor="middle", css="m"
    )
    for capacity in sorted(_drawn(picture)):
        y = picture.y(capacity)
        yield (
            f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#777" '
            'stroke-dasharray="7 4"/>'
        )
        yield _text(right - 4, y - 4, f"capacity {size(capacity)}", anchor="end", css="m")


def _lanes(picture: Picture) -> Iterator[str]:
    for index, lane in enumerate(picture.lanes):
        top = picture.lanes_top + LANE * index
        yield _text(LEFT - 8, top + 14, lane.label, anchor="end")
        for bar in lane.bars:
            x = picture.x(bar.begin_ns)
            width = max(2.0, picture.x(bar.end_ns) - x)
            yield (
                f'<rect x="{x:.1f}" y="{top + 3}" width="{width:.1f}" height="{LANE - 6}" rx="2" '
                f'fill="{bar.color}"><title>{escape(bar.tip)}</title></rect>'
            )


def _flags(picture: Picture) -> Iterator[str]:
    for flag in picture.flags:
        x = picture.x(flag.time_ns)
        yield (
            f'<path d="M{x:.1f} {picture.plot_top}l-4 -7h8z" fill="#666">'
            f"<title>{escape(flag.tip)}</title></path>"
        )
        if flag.label:
            yield (
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{picture.plot_top}" y2="{picture.axis_y}" '
                'stroke="#888" stroke-dasharray="1 3"/>'
            )
            yield _text(x, picture.plot_top - 10, flag.label, anchor="middle", css="m")


def _lines(picture: Picture) -> Iterator[str]:
    for line in picture.lines:
        yield (
            f'<path d="{_steps(picture, line.points)}" fill="none" stroke="{line.color}" '
            f'stroke-width="2" stroke-linejoin="round"{_dash(line.dash)}>'
            f"<title>{escape(line.legend)}</title></path>"
        )
        if len(line.points) <= 2:  # one reading: a line alone is easily overlooked
            for time_ns, used in line.points[:1]:
                yield (
                    f'<circle cx="{picture.x(time_ns):.1f}" cy="{picture.y(used or 0):.1f}" '
                    f'r="3.5" fill="{line.color}"/>'
                )
        for time_ns, level, peak in line.spikes:
            x, low, high = picture.x(time_ns), picture.y(level), picture.y(peak)
            yield (
                f'<g stroke="{line.color}"><title>peak {size(peak)} between two readings</title>'
                f'<path d="M{x:.1f} {low:.1f}V{high:.1f}m-3 0h6" fill="none" stroke-dasharray="2 2"/></g>'
            )


def _steps(picture: Picture, points: list[Point]) -> str:
    """A path that holds each value until the next reading, with a hole where it is unknown."""
    path: list[str] = []
    down = False
    for time_ns, used in points:
        x = f"{picture.x(time_ns):.1f}"
        if down:
            path.append(f"H{x}")
        if used is None:
            down = False
            continue
        y = f"{picture.y(used):.1f}"
        path.append(f"V{y}" if down else f"M{x} {y}")
        down = True
    return "".join(path)


def _key(picture: Picture) -> Iterator[str]:
    for index, text in enumerate([*picture.key, *picture.notes]):
        yield _text(LEFT - 24, picture.key_top + KEY_ROW * index + 4, text, keep=True)


def _dash(dash: int) -> str:
    pattern = " ".join(map(str, DASHES[dash]))
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", css: str = "", keep: bool = False
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}"{f" text-anchor={anchor!r}" if anchor != "start" else ""}'
        f"{f' class={css!r}' if css else ''}{' xml:space=' + repr('preserve') if keep else ''}>"
        f"{escape(text)}</text>"
    )
