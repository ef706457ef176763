"""Terminal colours as html."""

import pytest

from kernels_ext.ansi import PALETTE, Style, segments, to_html


def test_text_without_codes_is_only_escaped():
    assert to_html("a < b & 'c'\n") == "a &lt; b &amp; &#x27;c&#x27;\n"


def test_coloured_text_is_escaped_too():
    assert "<img" not in to_html("\x1b[31m<img src=x>\x1b[0m")


@pytest.mark.parametrize(
    ("code", "style"),
    [
        ("31", Style(PALETTE[1])),
        ("91", Style(PALETTE[1])),
        ("1", Style(bold=True)),
        ("1;32", Style(PALETTE[2], bold=True)),
        ("38;5;28;01", Style("#008700", bold=True)),
        ("38;5;9", Style(PALETTE[1])),
        ("38;5;244", Style("#808080")),
        ("38;2;1;2;3", Style("#010203")),
        ("48;5;28;31", Style(PALETTE[1])),
        ("31;39", Style()),
        ("31;0", Style()),
        ("", Style()),
        ("38", Style(PALETTE[0])),
    ],
)
def test_codes_become_styles(code, style):
    assert list(segments(f"\x1b[{code}mtext")) == [("text", style)]


def test_a_colour_code_that_is_no_number_of_sane_length_is_left_out():
    assert to_html(f"a\x1b[{'1' * 5000}mb") == "ab"


def test_other_codes_and_control_characters_are_left_out():
    assert to_html("a\x1b[2Kb\x1b]c\x07d\te") == "abcd\te"
