"""The colours of our pages, light and dark, each pair at WCAG AA contrast on its own background.

Charts are drawn in the light colours; style sheet and script swap them for the variables of the same name, so that
one drawing serves both themes.
"""

from __future__ import annotations

# name -> (light, dark). Text colours reach 4.5:1 on page and surface, series colours 3:1 (measured in the tests).
PALETTE: dict[str, tuple[str, str]] = {
    "page": ("#fbfbfa", "#131619"),
    "surface": ("#ffffff", "#1a1e22"),
    "raised": ("#f2f3f1", "#22272c"),
    "ink": ("#1b1f24", "#e7eaee"),
    "muted": ("#59626d", "#a2acb8"),
    "line": ("#dfe2e5", "#343b43"),
    "link": ("#1d4fb8", "#8db4ff"),
    "good": ("#176e41", "#69cf99"),
    "bad": ("#b02732", "#ff9a9f"),
    "warn": ("#8a5200", "#eeb35f"),
    "keyword": ("#7b2fa8", "#cda6f7"),
    "string": ("#1b6b3a", "#8fd0a4"),
    "number": ("#9a4a00", "#eab37c"),
    "comment": ("#626b76", "#9aa5b1"),
    "function": ("#1d53a6", "#93bdfb"),
    "s0": ("#2860cf", "#7ba7fa"),
    "s1": ("#b85a05", "#efa262"),
    "s2": ("#1a8050", "#60c793"),
    "s3": ("#7c42c4", "#b99af4"),
    "s4": ("#c1343f", "#f18c92"),
    "s5": ("#0c7b8e", "#59c0d2"),
    "s6": ("#b13c88", "#e790c7"),
    "s7": ("#716e07", "#cac45d"),
    "s8": ("#7e573b", "#ca9d7b"),
    "s9": ("#4e5d6e", "#a4b3c5"),
    "tint": ("#b9cdf2", "#274a80"),
    "pool": ("#a9b1ba", "#5a646f"),
}
N_SERIES = 10


def light(name: str) -> str:
    """The light value of a named colour, as charts are drawn with."""
    return PALETTE[name][0]


def series_colour(index: int) -> str:
    """The light value of the series colour of the index-th run; repeats after ten."""
    return light(f"s{index % N_SERIES}")


def palette_css() -> str:
    """Style rules: the variables of both themes, and the chart colours bound to them."""
    light_values = "".join(f"--{name}:{pair[0]};" for name, pair in PALETTE.items())
    dark_values = "".join(f"--{name}:{pair[1]};" for name, pair in PALETTE.items())
    bound = "".join(
        f'.drawing [fill="{pair[0]}"]{{fill:var(--{name})}}.drawing [stroke="{pair[0]}"]{{stroke:var(--{name})}}'
        for name, pair in PALETTE.items()
    )
    return (
        f":root{{color-scheme:light dark;{light_values}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark_values}}}}}{bound}"
    )
