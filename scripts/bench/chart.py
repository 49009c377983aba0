"""Charts as SVG: small, without an embedded font, readable on white and on black."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")

from section import Chart

INK = "#7d8590"  # of axes and text: enough contrast on both
MAX_TICKS = 10  # on the x axis, one for each measured value
LINES = ("#2f81f7", "#e8710a", "#2da44e", "#bf5af2", "#d1242f", "#0f9d9d", "#9a6700", "#8c959f")


def draw(chart: Chart, title: str, file: Path) -> None:
    """Write an SVG file."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    settings = {"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10, "font.family": "sans-serif"}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        ends = []
        for (name, points), colour in zip(chart.lines.items(), LINES * 9, strict=False):
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker="o", markersize=4, linewidth=1.5, color=colour, label=name)
            ends += xs
        if chart.log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0)
        if len(set(ends)) <= MAX_TICKS:
            axes.set_xticks(sorted(set(ends)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.set_title(title, color=INK, fontsize=11)
        axes.set_xlabel(chart.x, color=INK)
        axes.set_ylabel(chart.y, color=INK)
        axes.tick_params(which="both", colors=INK)
        axes.grid(which="major", color=INK, alpha=0.25, linewidth=0.5)
        for side, spine in axes.spines.items():
            spine.set_color(INK)
            spine.set_visible(side in ("left", "bottom"))
        if len(chart.lines) > 1:
            axes.legend(frameon=False, labelcolor=INK)
        figure.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(figure)
