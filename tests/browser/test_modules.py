"""The parts of the widgets that need a browser but no notebook."""

import pytest

from kernels_ext.widgets.assets import module, style

PARTS = ("Terminal", "Pace", "duration", "shortId", "moveIn", "make")


@pytest.fixture(scope="module")
def parts(browser):
    """An empty page in which the widgets' parts are global names."""
    page = browser.new_page()
    names = ", ".join(PARTS)
    source = module("grid.js").replace("export default", "const widget =")
    page.add_script_tag(
        type="module", content=f"{source}\nObject.assign(globalThis, {{ {names} }}); globalThis.ready = 1;"
    )
    page.add_style_tag(content=style())
    page.wait_for_function("() => globalThis.ready")
    yield page
    page.close()


def printed(parts, *pieces):
    """What a terminal shows after these pieces of output."""
    return parts.evaluate(
        """pieces => {
            const element = document.createElement("div");
            document.body.append(element);
            const terminal = new Terminal(element);
            for (const piece of pieces) terminal.write(piece);
            terminal.paint();
            return [...element.children].map(line => line.textContent).join("\\n");
        }""",
        pieces,
    )


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["one\ntwo\n"], "one\ntwo\n"),
        (["10%\r", "20%\r", "30%"], "30%"),
        (["longer\rshort"], "shortr"),
        (["longer\r\x1b[Kshort"], "short"),
        (["longer\x1b[2K\rx"], "x"),
        (["outer\ninner 1\r\x1b[Aouter 2\n", "inner 2"], "outer 2\ninner 2"),
        (["\x1b[3", "1mred\x1b[", "0m plain"], "red plain"),
        (["a\x07b\x1b[?25lc"], "abc"),
        (["a\x1b[>4;1mb\x1b[2 qc\x1b[=", "1$", "pd"], "abcd"),
        (["<img src=x onerror=alert(1)>"], "<img src=x onerror=alert(1)>"),
        (["漢字 🎉\n"], "漢字 🎉\n"),
    ],
)
def test_output_is_shown_as_a_terminal_shows_it(parts, pieces, shown):
    assert printed(parts, *pieces) == shown


def test_a_long_output_keeps_its_last_lines(parts):
    lines = printed(parts, "".join(f"{number}\n" for number in range(5000))).split("\n")
    assert len(lines) == 2000
    assert lines[-2] == "4999"


def test_a_line_that_is_too_long_ends_in_a_mark(parts):
    assert printed(parts, "x" * 2000) == "x" * 2000
    assert printed(parts, "x" * 2001) == "x" * 1999 + "…"
    assert printed(parts, "x" * 2000, "\x1b[2Ky") == " " * 1999 + "…"


def test_colours_are_spans_and_text_stays_text(parts):
    html = parts.evaluate(
        """() => {
            const element = document.createElement("div");
            const terminal = new Terminal(element);
            terminal.write("\\x1b[1;31m<b>\\x1b[0m");
            terminal.paint();
            return element.innerHTML;
        }"""
    )
    assert "font-weight: bold" in html
    assert "&lt;b&gt;" in html


def paces(parts, notes, now, finished=False):
    """What a pace says at ``now`` after notes of (done, total, now, elapsed)."""
    return parts.evaluate(
        """([notes, now, finished]) => {
            const pace = new Pace();
            for (const note of notes) pace.note(...note);
            return pace.text(now, finished);
        }""",
        [notes, now, finished],
    )


@pytest.mark.parametrize(
    ("notes", "now", "text"),
    [
        ([[0, 100, 0, 0]], 0, "0/100"),
        ([[10, 100, 0, 5]], 0, "10/100 · 2/s · 45 s left"),
        ([[0, 100, 0, 0], [40, 100, 4, 4]], 4, "40/100 · 10/s · 6 s left"),
        ([[0, 100, 0, 0], [40, 100, 4, 4]], 7, "40/100 · 10/s · 3 s left"),
        ([[0, 100, 0, 0], [99, 100, 99, 99]], 101, "99/100 · 1/s · about to end"),
        ([[0, None, 0, 0], [30, None, 3, 3]], 3, "30 · 10/s"),
        ([[0, 10, 0, 0], [1, 10, 5, 5]], 5, "1/10 · 5.0 s each · 45 s left"),
        ([[90, 100, 0, 9], [5, 100, 1, 1]], 1, "5/100 · 5/s · 19 s left"),
    ],
)
def test_rate_and_time_left_are_told_from_what_was_seen(parts, notes, now, text):
    assert paces(parts, notes, now) == text


def test_what_is_finished_has_no_time_left(parts):
    assert paces(parts, [[0, 100, 0, 0], [40, 100, 4, 4]], 4, finished=True) == "40/100 · 10/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.004, "4 ms"),
        (0.25, "0.25 s"),
        (2, "2.0 s"),
        (9.96, "10 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_written_for_people(parts, seconds, text):
    assert parts.evaluate("seconds => duration(seconds)", seconds) == text


def test_an_island_lives_while_it_has_a_tenant_and_then_freezes_again(parts):
    shown = parts.evaluate(
        """() => {
            const shown = [];
            const island = document.createElement("nbqueue-island");
            island.dataset.key = "k";
            island.append("frozen");
            document.body.append(island);
            shown.push(island.textContent);
            const tenant = new AbortController();
            const mount = element => (element.append("live"), () => element.replaceChildren());
            moveIn("k", mount, tenant.signal);
            shown.push(island.textContent);
            island.remove();
            shown.push(island.textContent);
            document.body.append(island);
            shown.push(island.textContent);
            island.remove();
            tenant.abort();
            document.body.append(island);
            shown.push(island.textContent);
            return shown;
        }"""
    )
    assert shown == ["frozen", "live", "frozen", "live", "frozen"]
