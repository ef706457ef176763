"""Terminal colours as html, for text that IPython or a task coloured with ANSI escape codes."""

import re
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

#: colour codes (group 1), then all else that would move a cursor or ring a bell
_CODES = re.compile(r"\x1b\[([0-9;]{0,64})m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b.|[\x00-\x08\x0b-\x1f\x7f]")
#: the eight colours, legible on white and on black (also in static/terminal.js)
PALETTE = ("#767676", "#d1454a", "#1f8f4d", "#a3700f", "#2b7de0", "#b04fae", "#16858b", "#8a8a8a")


class Style(NamedTuple):
    """How a piece of text looks; "" is the colour of the text around it."""

    color: str = ""
    bold: bool = False


def to_html(text: str) -> str:
    """Text with colour codes as html spans; the text itself is escaped."""
    return "".join(_span(piece, style) for piece, style in segments(text))


def segments(text: str) -> Iterator[tuple[str, Style]]:
    """Pieces of text and their looks; codes that are not about colour are left out."""
    style, position = Style(), 0
    for match in _CODES.finditer(text):
        if match.start() > position:
            yield text[position : match.start()], style
        position = match.end()
        if match[1] is not None:
            style = _restyled(style, [int(code or 0) for code in match[1].split(";")])
    if position < len(text):
        yield text[position:], style


def _span(text: str, style: Style) -> str:
    # mixed with the colour around it, dark colours stay legible on dark pages and light ones on light pages
    color = f"color:color-mix(in srgb,{style.color} 80%,currentColor)" if style.color else ""
    css = ";".join(part for part in (color, "font-weight:bold" if style.bold else "") if part)
    return f'<span style="{css}">{escape(text)}</span>' if css else escape(text)


def _restyled(style: Style, codes: list[int]) -> Style:
    rest = iter(codes)
    for code in rest:
        match code:
            case 0:
                style = Style()
            case 1 | 22:
                style = style._replace(bold=code == 1)
            case 38:
                style = style._replace(color=_extended(rest))
            case 39:
                style = style._replace(color="")
            case 48:  # of the background, which stays as it is
                _extended(rest)
            case _ if code // 10 in (3, 9) and code % 10 < len(PALETTE):
                style = style._replace(color=PALETTE[code % 10])
    return style


def _extended(codes: Iterator[int]) -> str:
    """The colour of a ``38;5;n`` or ``38;2;r;g;b`` code, after the 38."""
    mode = next(codes, 0)
    if mode == 2:
        return _hex(*(next(codes, 0) for _ in range(3)))
    number = next(codes, 0)
    if number < 16:
        return PALETTE[number % 8]
    if number < 232:
        cube = number - 16
        return _hex(*(level and 55 + 40 * level for level in (cube // 36, cube // 6 % 6, cube % 6)))
    return _hex(*[8 + 10 * (number - 232)] * 3)


def _hex(red: int, green: int, blue: int) -> str:
    return f"#{red & 255:02x}{green & 255:02x}{blue & 255:02x}"
