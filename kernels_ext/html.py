"""Frozen html: what a saved notebook shows of its tasks, where no widget can be.

Styles stand inline, for nothing else survives in a saved output, and are few, for JupyterLab takes most
others out of notebooks that it does not trust.  Colours are legible on white and on black.  Whatever comes
from a task is escaped.
"""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from kernels_ext.ansi import to_html
from kernels_ext.details import Details
from kernels_ext.text import duration, elapsed, mark, reason
from nbqueue.states import FAILURE, PENDING, READY_STATES, RETRY, REVOKED, STARTED, SUCCESS

if TYPE_CHECKING:
    from nbqueue.client.records import View

_COLORS = {SUCCESS: "#2e8b57", FAILURE: "#d1454a", REVOKED: "#b7791f", RETRY: "#b7791f", PENDING: "#808080"}
_RUNNING_COLOR = "#2b7de0"
#: from left to right in a bar; running ones stand between
_ORDER = {SUCCESS: 0, FAILURE: 1, REVOKED: 2, RETRY: 4, PENDING: 5}
_RUNNING_ORDER = 3
#: characters of output that the notebook keeps: the last ones
_MAX_OUTPUT = 10_000

_BOX = "border:1px solid #8886;border-radius:6px;padding:8px 12px;max-width:900px"
_BLOCK = "margin:6px 0 0;padding:6px 8px;background:#8881;border-radius:4px;overflow:auto;max-height:320px"
_DIM = "opacity:.7"
_TRACK = "display:flex;height:6px;margin:8px 0 4px;background:#8883;border-radius:3px;overflow:hidden"


def island(key: str, frozen: str) -> str:
    """Frozen html that comes to life in a page that has the widget of that key (static/islands.js)."""
    return f'<nbqueue-island data-key="{escape(key)}" style="display:block">{frozen}</nbqueue-island>'


def frozen_task(view: "View", found: Details, now: float) -> str:
    """One task as it stands: a heading, its progress, output, and value or traceback."""
    parts = [_heading(view.state, view.name, _task_notes(view, now)), _task_bar(view)]
    if view.output:
        parts.append(_block(view.output[-_MAX_OUTPUT:]))
    if found.value:
        parts.append(_block(found.value))
    if found.traceback:
        parts.append(_block(found.traceback, wrap=False))
    elif text := reason(view):
        parts.append(_block(text))
    return _box(parts)


def frozen_grid(
    name: str,
    counts: Mapping[str, int],
    failures: Sequence[tuple[int, str]],
    seconds: float | None,
    now: float,
) -> str:
    """A map or group as it stands: how many tasks are in which state, and its first failures.

    ``counts`` is by state; ``failures`` are indices and what they say; ``seconds`` have passed since the
    first start.
    """
    total = sum(counts.values())
    done = sum(number for state, number in counts.items() if state in READY_STATES)
    state = _state_of_all(counts, done == total)
    notes = [f"{done:,} of {total:,} done", "" if seconds is None else duration(seconds), _as_of(state, now)]
    parts = [_heading(state, f"{name} ×{total:,}", notes), _bar(counts), _legend(counts)]
    if failures:
        parts.append(_block("\n".join(f"#{index}  {text}" for index, text in failures)))
    return _box(parts)


def _box(parts: Sequence[str]) -> str:
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def _heading(state: str, name: str, notes: Sequence[str]) -> str:
    shown = " · ".join(note for note in notes if note)
    return (
        f'<div><b style="color:{_color(state)}">{mark(state)} {escape(state)}</b> &nbsp;<b>{escape(name)}</b>'
        f' &nbsp;<span style="{_DIM}">{escape(shown)}</span></div>'
    )


def _block(text: str, wrap: bool = True) -> str:
    space = "pre-wrap" if wrap else "pre;word-break:normal"
    return f'<pre style="{_BLOCK};white-space:{space}">{to_html(text)}</pre>'


def _bar(shares: Mapping[str, float]) -> str:
    """One bar of the shares that states have; what is not begun is left empty."""
    whole = sum(shares.values()) or 1
    pieces = "".join(
        f'<div style="width:{100 * share / whole:.2f}%;background:{_color(state)}"></div>'
        for state, share in sorted(shares.items(), key=lambda item: _ORDER.get(item[0], _RUNNING_ORDER))
        if state != PENDING
    )
    return f'<div style="{_TRACK}">{pieces}</div>'


def _legend(counts: Mapping[str, int]) -> str:
    entries = (
        f'<span style="color:{_color(state)}">{mark(state)}</span> {number:,} {escape(state)}'
        for state, number in counts.items()
    )
    return f'<div style="{_DIM}">{" &nbsp; ".join(entries)}</div>'


def _task_notes(view: "View", now: float) -> list[str]:
    seconds = elapsed(view, now)
    retries = f"{view.retries} retries" if view.retries > 1 else "1 retry" if view.retries else ""
    return [
        _short(view.id),
        view.worker,
        "" if seconds is None else duration(seconds),
        _progress(view),
        retries,
        _as_of(view.state, now),
    ]


def _short(id: str) -> str:
    # an id begins with its client's name and ends with a count: both tell tasks apart
    return f"{id[:4]}…{id[-4:]}" if len(id) > 9 else id


def _progress(view: "View") -> str:
    if view.current is None:
        return ""
    count = f"{view.current:g}/{view.total:g}" if view.total else f"{view.current:g}"
    return f"{view.description} {count}".strip()


def _task_bar(view: "View") -> str:
    if view.state in READY_STATES or not view.current or not view.total:
        return ""
    return _bar({view.state: view.current, PENDING: max(0.0, view.total - view.current)})


def _as_of(state: str, now: float) -> str:
    return "" if state in READY_STATES else time.strftime("as of %H:%M:%S", time.localtime(now))


def _state_of_all(counts: Mapping[str, int], finished: bool) -> str:
    if not finished:
        return PENDING if counts.get(PENDING, 0) == sum(counts.values()) else STARTED
    return next((state for state in (FAILURE, REVOKED) if counts.get(state)), SUCCESS)


def _color(state: str) -> str:
    return _COLORS.get(state, _RUNNING_COLOR)
