"""Inline SVG: elements, markers, axes. Pure functions of numbers; the standard library does the escaping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree.ElementTree import Element, tostring

from reports.figures.chart import Axis

WIDTH, HEIGHT = 440, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 52


def element(tag: str, *children: Element | str, **attributes: object) -> Element:
    """An element; ``class_`` is class, ``font_size`` is font-size, a number has two decimals at most."""
    made = Element(tag)
    for name, value in attributes.items():
        made.set(name.rstrip("_").replace("_", "-"), number(value) if isinstance(value, float) else str(value))
    for child in children:
        if isinstance(child, str):
            made.text = (made.text or "") + child
        else:
            made.append(child)
    return made


def markup(drawn: Element) -> str:
    """The element as text."""
    return tostring(drawn, encoding="unicode")


def number(value: float) -> str:
    """A coordinate without needless digits."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _polygon(corners: int, turn: float = 0.0, inner: float = 1.0) -> tuple[tuple[float, float], ...]:
    """Corners on the unit circle from the top, every other one at ``inner``."""
    angles = [2 * math.pi * (index / corners + turn) for index in range(corners)]
    radii = [inner if index % 2 else 1.0 for index in range(corners)]
    return tuple((r * math.sin(angle), -r * math.cos(angle)) for r, angle in zip(radii, angles, strict=True))


def _plus(turn: float) -> tuple[tuple[float, float], ...]:
    a, b = 0.36, 1.0
    points = (
        (-a, -b),
        (a, -b),
        (a, -a),
        (b, -a),
        (b, a),
        (a, a),
        (a, b),
        (-a, b),
        (-a, a),
        (-b, a),
        (-b, -a),
        (-a, -a),
    )
    sin, cos = math.sin(turn), math.cos(turn)
    return tuple((x * cos - y * sin, x * sin + y * cos) for x, y in points)


# As matplotlib names them, so that a strategy has the same one in every figure.
_MARKERS: dict[str, tuple[tuple[float, float], ...]] = {
    "s": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "D": _polygon(4),
    "d": ((0, -1.15), (0.65, 0), (0, 1.15), (-0.65, 0)),
    "^": _polygon(3),
    "v": _polygon(3, 1 / 2),
    ">": _polygon(3, 1 / 4),
    "<": _polygon(3, 3 / 4),
    "P": _plus(0.0),
    "X": _plus(math.pi / 4),
    "*": _polygon(10, inner=0.42),
    "p": _polygon(5),
    "h": _polygon(6),
    "H": _polygon(6, 1 / 12),
    "8": _polygon(8, 1 / 16),
}


def mark(marker: str, x: float, y: float, radius: float, **attributes: object) -> Element:
    """A marker with its middle at (x, y)."""
    if marker not in _MARKERS:
        return element("circle", cx=x, cy=y, r=0.9 * radius, **attributes)
    scale = 1.15 * radius
    points = " ".join(f"{number(x + scale * dx)},{number(y + scale * dy)}" for dx, dy in _MARKERS[marker])
    return element("polygon", points=points, **attributes)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the numbers of a chart's axes lie in the drawing."""

    horizontal: Axis
    vertical: Axis

    def x(self, value: float) -> float:
        """Where a value lies, from the left."""
        axis = self.horizontal
        low, high, at = (math.log(v) if axis.log else v for v in (axis.low, axis.high, value))
        return LEFT + (at - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies, from the top."""
        axis = self.vertical
        low, high, at = (math.log(v) if axis.log else v for v in (axis.low, axis.high, value))
        return HEIGHT - BOTTOM - (at - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> list[Element]:
        """Grid, ticks and titles of both axes."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        drawn = []
        for value, label in self.vertical.ticks:
            at = self.y(value)
            drawn.append(element("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid"))
            drawn.append(element("text", label, x=LEFT - 7, y=at + 4, class_="end"))
        for value, label in self.horizontal.ticks:
            at = self.x(value)
            drawn.append(element("line", x1=at, x2=at, y1=TOP, y2=bottom, class_="grid"))
            drawn.append(element("text", label, x=at, y=bottom + 18, class_="middle"))
        drawn.append(element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
        middle = (LEFT + right) / 2
        drawn.append(element("text", self.horizontal.label, x=middle, y=HEIGHT - 10, class_="middle title"))
        drawn.append(element("text", self.vertical.label, x=4, y=14, class_="title"))
        return drawn
