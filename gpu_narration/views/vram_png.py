"""The picture as PNG, through matplotlib: the extra ``report``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from gpu_narration._errors import MissingExtraError
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
from gpu_narration.views.vram_svg import capacity_text

#: Pixels of the picture an inch: text then has the size it has in the SVG.
_DPI = 100
_POINT = 72 / _DPI


def write_png(picture: Picture, path: Path) -> None:
    """Writes the file at twice the picture's size.

    Raises :class:`~gpu_narration.MissingExtraError` without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            f"a PNG needs matplotlib: {error}",
            next_step="pip install 'gpu-narration[report]', or give a name that ends in "
            ".html or .svg, which need nothing",
        ) from error
    figure = Figure(figsize=(WIDTH / _DPI, picture.height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    # One pair of axes over the whole sheet, in the picture's own pixels, y downwards.
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(picture.height, 0)
    axes.axis("off")
    _Sheet(picture, axes).draw()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no news.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, format="png", dpi=2 * _DPI)


class _Sheet:
    def __init__(self, picture: Picture, axes: Any) -> None:
        self._picture = picture
        self._axes = axes

    def draw(self) -> None:
        self._text(LEFT, 20, self._picture.title, points=16, weight="bold")
        self._legend()
        self._grid()
        self._lanes()
        self._flags()
        self._lines()
        for index, text in enumerate([*self._picture.key, *self._picture.notes]):
            self._text(LEFT - 24, self._picture.key_top + KEY_ROW * index, text)

    def _legend(self) -> None:
        picture = self._picture
        column = (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS
        for index, line in enumerate(picture.lines):
            x = LEFT + column * (index % LEGEND_COLUMNS)
            y = LEGEND_TOP + LEGEND_ROW * (index // LEGEND_COLUMNS)
            self._line([x, x + 22], [y, y], line.color, 3, _dash(line.dash))
            self._text(x + 28, y, line.legend)
        y, x = LEGEND_TOP + LEGEND_ROW * picture.legend_rows, float(LEFT)
        for color, text, wide in (
            (ROSE, "scope, net rise", 130), (FELL, "scope, net fall", 128), (SAME, "scope, no net change", 170),
        ):  # fmt: skip
            self._box(x, y - 5, 22, 10, color)
            self._text(x + 28, y, text)
            x += wide
        self._line([x, x + 22], [y, y], "#777777", 1, (0, (7, 4)))
        self._text(x + 28, y, capacity_text(picture))

    def _grid(self) -> None:
        picture = self._picture
        right, bottom = WIDTH - RIGHT, picture.plot_top + PLOT_HEIGHT
        for used, label in picture.memory_ticks():
            y = picture.y(used)
            self._line([LEFT, right], [y, y], "#e4e4e4", 1)
            self._text(LEFT - 8, y, label, anchor="right")
        self._text(
            LEFT - 62, picture.plot_top + PLOT_HEIGHT / 2, "used, GiB",
            anchor="center", color="#555555", turned=90,
        )  # fmt: skip
        for time_ns, label in picture.time_ticks():
            x = picture.x(time_ns)
            self._line([x, x], [picture.plot_top, picture.axis_y], "#e4e4e4", 1)
            self._text(x, picture.axis_y + 14, label, anchor="center")
        self._line([LEFT, right], [bottom, bottom], "#444444", 1)
        self._line([LEFT, right], [picture.axis_y] * 2, "#444444", 1)
        self._line([LEFT, LEFT], [picture.plot_top, picture.axis_y], "#444444", 1)
        self._text(
            (LEFT + right) / 2, picture.axis_y + 34, "s since the trace began",
            anchor="center", color="#555555",
        )  # fmt: skip
        drawn = {line.capacity for line in picture.lines if line.capacity}
        for capacity in sorted(count for count in drawn if count <= picture.top_bytes):
            y = picture.y(capacity)
            self._line([LEFT, right], [y, y], "#777777", 1, (0, (7, 4)))
            self._text(
                right - 4, y - 8, f"capacity {size(capacity)}", anchor="right", color="#555555"
            )

    def _lanes(self) -> None:
        for index, lane in enumerate(self._picture.lanes):
            top = self._picture.lanes_top + LANE * index
            self._text(LEFT - 8, top + LANE / 2, lane.label, anchor="right")
            for bar in lane.bars:
                x = self._picture.x(bar.begin_ns)
                width = max(2.0, self._picture.x(bar.end_ns) - x)
                self._box(x, top + 3, width, LANE - 6, bar.color)

    def _flags(self) -> None:
        picture = self._picture
        for flag in picture.flags:
            x = picture.x(flag.time_ns)
            if flag.label:
                self._line([x, x], [picture.plot_top, picture.axis_y], "#888888", 1, (0, (1, 3)))
            self._axes.fill(
                [x, x - 4, x + 4], [picture.plot_top, picture.plot_top - 7, picture.plot_top - 7],
                color="#666666", linewidth=0,
            )  # fmt: skip
            self._text(x, picture.plot_top - 14, flag.label, anchor="center", color="#555555")

    def _lines(self) -> None:
        picture = self._picture
        for line in picture.lines:
            xs = [picture.x(time_ns) for time_ns, _ in line.points]
            ys = [float("nan") if used is None else picture.y(used) for _, used in line.points]
            self._axes.step(
                xs, ys, where="post", color=line.color, linewidth=2 * _POINT,
                linestyle=_dash(line.dash),
                marker="o" if len(xs) <= 2 else None, markersize=5, markevery=[0], zorder=4,
            )  # fmt: skip
            for time_ns, level, peak in line.spikes:
                x, low, high = picture.x(time_ns), picture.y(level), picture.y(peak)
                self._line([x, x], [low, high], line.color, 1, (0, (2, 2)))
                self._line([x - 3, x + 3], [high, high], line.color, 1)

    def _line(
        self, xs: list[float], ys: list[float], color: str, width: float, style: Any = "-"
    ) -> None:
        self._axes.plot(xs, ys, color=color, linewidth=width * _POINT, linestyle=style, zorder=1)

    def _box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        from matplotlib.patches import Rectangle

        self._axes.add_patch(
            Rectangle((x, y), width, height, facecolor=color, linewidth=0, zorder=2)
        )

    def _text(
        self, x: float, y: float, text: str, *, anchor: str = "left", points: int = 12,
        weight: str = "normal", color: str = "#222222", turned: int = 0,
    ) -> None:  # fmt: skip
        # A dollar sign in a name is no formula.
        self._axes.text(
            x, y, text, ha=anchor, va="center", fontsize=points * _POINT, weight=weight,
            color=color, rotation=turned, parse_math=False,
        )  # fmt: skip


def _dash(dash: int) -> Any:
    """As matplotlib has it: in multiples of the line's width, which is 2 pixels."""
    return (0, tuple(part / 2 for part in DASHES[dash])) if DASHES[dash] else "-"
