"""The picture as one HTML file that needs nothing else and asks nothing of a network."""

from __future__ import annotations

import json
from html import escape

from gpu_narration.views.units import size
from gpu_narration.views.vram_plot import LEFT, PLOT_HEIGHT, RIGHT, WIDTH, Picture
from gpu_narration.views.vram_svg import svg

# The policy lets nothing in from outside, whatever a recorded name tries.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body{{margin:0;padding:12px;background:#fff;font:13px 'DejaVu Sans',Verdana,sans-serif;color:#222}}
#at{{position:fixed;display:none;padding:6px 9px;background:#222;color:#fff;border-radius:4px;
white-space:pre;pointer-events:none;font-size:12px;line-height:1.5}}
svg{{max-width:100%;height:auto}}
</style></head><body>
{svg}
<div id="at"></div>
<script type="application/json" id="data">{data}</script>
<script>
(() => {{
  const data = JSON.parse(document.getElementById("data").textContent);
  const svg = document.querySelector("svg"), at = document.getElementById("at");
  const rule = document.createElementNS(svg.namespaceURI, "line");
  rule.setAttribute("stroke", "#222"); rule.setAttribute("visibility", "hidden");
  rule.setAttribute("y1", data.top); rule.setAttribute("y2", data.bottom);
  rule.style.pointerEvents = "none"; svg.appendChild(rule);
  const last = (points, s) => {{
    let low = 0, high = points.length;
    while (low < high) {{ const mid = (low + high) >> 1; if (points[mid][0] <= s) low = mid + 1; else high = mid; }}
    return low ? points[low - 1][1] : "\\u2013";
  }};
  svg.addEventListener("mousemove", event => {{
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * data.width / box.width;
    const y = (event.clientY - box.top) * data.width / box.width;
    const inside = x >= data.left && x <= data.right && y >= data.top && y <= data.bottom;
    at.style.display = inside ? "block" : "none";
    rule.setAttribute("visibility", inside ? "visible" : "hidden");
    if (!inside) return;
    rule.setAttribute("x1", x); rule.setAttribute("x2", x);
    const s = data.first + (x - data.left) / (data.right - data.left) * (data.last - data.first);
    at.textContent = [s.toFixed(3) + " s", ...data.lines.map(l => l.label + "  " + last(l.points, s))].join("\\n");
    at.style.left = Math.min(event.clientX + 14, innerWidth - at.offsetWidth - 4) + "px";
    at.style.top = event.clientY + 14 + "px";
  }});
  svg.addEventListener("mouseleave", () => {{ at.style.display = "none"; rule.setAttribute("visibility", "hidden"); }});
}})();
</script></body></html>
"""


def html(picture: Picture) -> str:
    """The whole page."""
    data = {
        "width": WIDTH, "left": LEFT, "right": WIDTH - RIGHT,
        "top": picture.plot_top, "bottom": picture.plot_top + PLOT_HEIGHT,
        "first": (picture.begin_ns - picture.origin_ns) / 1e9,
        "last": (picture.end_ns - picture.origin_ns) / 1e9,
        "lines": [
            {
                "label": line.label,
                "points": [
                    [
                        round((time_ns - picture.origin_ns) / 1e9, 9),
                        "unknown" if used is None else size(used),
                    ]
                    for time_ns, used in line.points
                ],
            }
            for line in picture.lines
        ],
    }  # fmt: skip
    # Inside a script element only "</" and "<!--" end it or change how it is read.
    embedded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return _PAGE.format(title=escape(picture.title), svg=svg(picture), data=embedded)
