"""The page's colours, light and dark: the strategies' are those of the other figures, moved until they can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.figures.style import looks

LIGHT: Mapping[str, str] = {
    "background": "#ffffff",
    "surface": "#f6f7f8",
    "text": "#1b1f24",
    "muted": "#59616b",
    "rule": "#dde1e6",
    "shade": "#00000026",
    "accent": "#0a58a8",
    "warning": "#8a4b00",
    "warning-surface": "#fff6e6",
}
DARK: Mapping[str, str] = {
    "background": "#13161b",
    "surface": "#1c2027",
    "text": "#e8eaed",
    "muted": "#a4acb7",
    "rule": "#363c46",
    "shade": "#00000099",
    "accent": "#82b8ff",
    "warning": "#ffc46b",
    "warning-surface": "#2b2313",
}
HEAT_STEPS = 7
PHASES: Mapping[str, tuple[str, str]] = {
    "pretrain": ("#5b7fa6", "#6f97c2"),
    "search": ("#c2703a", "#d98b57"),
    "retrain": ("#4f8f6b", "#68ad87"),
    "other": ("#8b929b", "#767e89"),
}

_LEAST_CONTRAST = 3.0  # WCAG 2.2, 1.4.11: what a graphic is read by
_LEAST_CONTRAST_DARK = 4.0  # thin lines look thinner on black
_MOST_HEAT = 0.52  # of the accent; with more, the text on it would not be read


def colour_rules(strategies: Sequence[str]) -> str:
    """CSS: every colour as a custom property, light by default and on paper, dark where the reader has it so.

    Args:
        strategies: The study's strategies in the order of the tables; the class ``s0`` is the first one's.
    """
    light, dark = (_properties(theme, strategies, dark=theme is DARK) for theme in (LIGHT, DARK))
    classes = [f".s{index}{{color:var(--s{index})}}" for index in range(len(strategies))]
    classes += [f".h{index}{{background:var(--h{index})}}" for index in range(HEAT_STEPS)]
    classes += [f".{phase}{{fill:var(--{phase});background:var(--{phase})}}" for phase in PHASES]
    return "\n".join(
        (
            f":root{{color-scheme:light;{light}}}",
            "@media screen and (prefers-color-scheme:dark)"
            f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
            f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}",
            *classes,
        )
    )


def strategy_colours(strategies: Sequence[str], *, dark: bool) -> list[str]:
    """Each strategy's colour; what would not stand out from the background is darkened, or in the dark lightened."""
    background = (DARK if dark else LIGHT)["background"]
    return [_readable(color, background, dark=dark) for color, _ in looks(strategies).values()]


def heat_colours(*, dark: bool) -> list[str]:
    """Backgrounds of cells, from little to much; the theme's text can be read on each."""
    theme = DARK if dark else LIGHT
    shares = [0.04 + (_MOST_HEAT - 0.04) * step / (HEAT_STEPS - 1) for step in range(HEAT_STEPS)]
    return [_mixed(theme["background"], "#2f6fb5" if dark else "#3f8fd8", share) for share in shares]


def contrast(first: str, second: str) -> float:
    """The contrast of two colours as WCAG defines it, from 1 to 21."""
    dim, bright = sorted((_luminance(first), _luminance(second)))
    return (bright + 0.05) / (dim + 0.05)


def _properties(theme: Mapping[str, str], strategies: Sequence[str], *, dark: bool) -> str:
    values = dict(theme)
    values |= {f"s{index}": color for index, color in enumerate(strategy_colours(strategies, dark=dark))}
    values |= {f"h{index}": color for index, color in enumerate(heat_colours(dark=dark))}
    values |= {phase: colors[dark] for phase, colors in PHASES.items()}
    return ";".join(f"--{name}:{value}" for name, value in values.items())


def _readable(color: str, background: str, *, dark: bool) -> str:
    red, green, blue = _channels(color)
    if dark and red == green == blue:  # black ink is white chalk
        color = _hex(255 - red, 255 - green, 255 - blue)
    towards = "#ffffff" if dark else "#000000"
    for percent in range(0, 101, 2):
        moved = _mixed(color, towards, percent / 100)
        if contrast(moved, background) >= (_LEAST_CONTRAST_DARK if dark else _LEAST_CONTRAST):
            return moved
    return towards


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _hex(red: float, green: float, blue: float) -> str:
    return f"#{round(red):02x}{round(green):02x}{round(blue):02x}"


def _mixed(color: str, other: str, share: float) -> str:
    red, green, blue = (a + (b - a) * share for a, b in zip(_channels(color), _channels(other), strict=True))
    return _hex(red, green, blue)


def _luminance(color: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
