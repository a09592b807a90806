"""Charts as SVG text: axes, lines and points, nothing else. The same data give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

PALETTE = (
    *("#1f6f8b", "#c8553d", "#5b8e3e", "#7d5ba6", "#d19c1d", "#2a9d8f"),
    *("#a4375b", "#4f6d9c", "#8c6a4f", "#3f3f46", "#b56576", "#6b8f71"),
)
"""Colours of methods, in their order; controls are grey."""

GREY = "#9a9a96"
_INK, _RULE = "#202124", "#d6d6d2"


class Chart:
    """A plane with two linear axes.

    Parameters
    ----------
    x, y : (float, float)
        Ends of the axes.
    labels : (str, str)
        What they show.
    size : (int, int)
        Width and height [pixels].
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], labels: tuple[str, str], size: tuple[int, int] = (460, 340)) -> None:
        self._x, self._y = _wide(x), _wide(y)
        self._size = size
        self._left, self._top, self._right, self._bottom = 62, 14, size[0] - 14, size[1] - 46
        self._parts: list[str] = []
        for value in ticks(*self._x):
            at = self._at(value, self._y[0])[0]
            self._line((at, self._top), (at, self._bottom), _RULE, 1)
            self.words((at, self._bottom + 16), f"{value:g}", "middle")
        for value in ticks(*self._y):
            at = self._at(self._x[0], value)[1]
            self._line((self._left, at), (self._right, at), _RULE, 1)
            self.words((self._left - 6, at + 4), f"{value:g}", "end")
        self.words(((self._left + self._right) / 2, self._bottom + 36), labels[0], "middle")
        middle = f"{(self._top + self._bottom) / 2:.1f}"
        turned = f'x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})" font-size="12"'
        self._parts.append(f"<text {turned}>{escape(labels[1])}</text>")

    def line(self, x: Sequence[float], y: Sequence[float], colour: str, width: float = 1.6, dashed: bool = False) -> None:
        """A line through the points that are finite."""
        known = [self._at(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in known)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dots(self, x: Sequence[float], y: Sequence[float], colour: str, radius: float = 3.2, title: str = "", ring: bool = False) -> None:
        """Points, or rings around them; the title shows when a mouse stands on one."""
        shape = f'fill="none" stroke="{colour}" stroke-width="2"' if ring else f'fill="{colour}" stroke="white" stroke-width="0.7"'
        for a, b in zip(x, y, strict=True):
            if math.isfinite(a) and math.isfinite(b):
                at = self._at(a, b)
                said = f"<title>{escape(title)}</title>" if title else ""
                self._parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" {shape}>{said}</circle>')

    def words(self, at: tuple[float, float], text: str, anchor: str = "start", size: int = 12) -> None:
        """Text at a place of the picture [pixels]."""
        self._parts.append(f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>')

    def svg(self) -> str:
        return frame(self._size, self._parts)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return self._left + across * (self._right - self._left), self._bottom - up * (self._bottom - self._top)

    def _line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> None:
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )


def frame(size: tuple[int, int], parts: Sequence[str]) -> str:
    """A picture of some SVG elements."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" '
        f'font-family="system-ui, sans-serif" fill="{_INK}">{"".join(parts)}</svg>'
    )


def legend(names: Sequence[tuple[str, str]], columns: int = 4) -> str:
    """Names beside their colours."""
    width, height = 150, 18
    parts = []
    for number, (name, colour) in enumerate(names):
        x, y = number % columns * width + 8, number // columns * height + 12
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10}" y="{y + 4}" font-size="12">{escape(name)}</text>')
    return frame((columns * width, (len(names) + columns - 1) // columns * height + 8), parts)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values between two ends, about so many.

    Examples
    --------
    >>> ticks(0.0, 0.047)
    [0.0, 0.01, 0.02, 0.03, 0.04]
    """
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(part * power for part in (1, 2, 5, 10) if part * power >= rough * 0.999)
    return [round(number * step, 10) for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _wide(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    return (low, high) if high > low else (low - 0.5, low + 0.5)
