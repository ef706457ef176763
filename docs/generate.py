"""Writes the pages of ``docs/reference`` that are drawn from the code: states, messages, settings, commands.

``make docs`` runs it; a test says when a page and its source have come apart.
"""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import click

from nbqueue import messages
from nbqueue.celery_settings import FAMILIES, WITHOUT_EFFECT
from nbqueue.cli.main import COMMANDS, cli
from nbqueue.core.lifecycle import TRANSITIONS
from nbqueue.settings import SETTINGS
from nbqueue.states import PENDING

FOLDER = Path(__file__).with_name("reference")
NOTE = "<!-- Written by docs/generate.py from {source}: change that, then run `make docs`. -->"


def pages() -> Mapping[str, str]:
    """File name → what is to stand in it."""
    return {
        "states.svg": states_drawing(),
        "states.md": page("nbqueue/core/lifecycle.py", "States of a task", states()),
        "messages.md": page("nbqueue/messages.py", "Messages", message_tables(messages)),
        "settings.md": page("nbqueue/settings.py", "Settings", settings()),
        "command-line.md": page("nbqueue/cli", "Command line", commands()),
    }


def page(source: str, title: str, parts: Iterator[str]) -> str:
    return "\n\n".join([NOTE.format(source=source), f"# {title}", *parts]) + "\n"


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    ruled = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in ruled)


# ── states ───────────────────────────────────────────────────────────────────────────────────────


def states() -> Iterator[str]:
    yield "![Every step from state to state](states.svg)"
    yield (
        "The names are Celery's. PENDING is also what an id shows that nobody knows: `result.exists()` tells "
        "them apart. PROGRESS stands for every state that a task gives itself with `update_state`."
    )
    events = dict.fromkeys(event for steps in TRANSITIONS.values() for event in steps)
    rows = (
        (f"**{state}**", *(steps.get(event, "") for event in events)) for state, steps in TRANSITIONS.items()
    )
    yield table(("", *events), rows)


def states_drawing() -> str:
    """Unfinished states in one frame, for each of them the events that lead there; then how it ends."""
    unfinished = [state for state, steps in TRANSITIONS.items() if steps]
    final = [state for state, steps in TRANSITIONS.items() if not steps]
    height = 60 * len(unfinished) + 30
    parts = [f'<rect x="20" y="20" width="300" height="{height - 10}" rx="14" class="frame"/>']
    for i, state in enumerate(unfinished):
        parts += state_box(170, 40 + 60 * i, state, "open")
        parts += arrow(36, 170, 60 + 60 * i, leading_to(state) or "submit")
    gap = height / len(final)
    for i, state in enumerate(final):
        top = 20 + gap * (i + 0.5) - 25
        parts += state_box(440, top, state, state.lower())
        parts += arrow(320, 440, top + 20, leading_to(state))
    return SVG.format(width=600, height=height + 30, parts="\n".join(parts))


SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>
text {{ font: 13px system-ui, sans-serif; fill: #24292f }}
.event {{ font-size: 12px; fill: #57606a }}
.page {{ fill: #ffffff }}
.frame {{ fill: #f6f8fa; stroke: #d0d7de }}
.open {{ fill: #ddf4ff; stroke: #54aeff }}
.success {{ fill: #dafbe1; stroke: #4ac26b }}
.failure {{ fill: #ffebe9; stroke: #ff8182 }}
.revoked {{ fill: #eaeef2; stroke: #8c959f }}
line {{ stroke: #8c959f; stroke-width: 1.5 }}
path {{ fill: #8c959f }}
</style>
<rect width="100%" height="100%" rx="14" class="page"/>
{parts}
</svg>
"""


def state_box(left: float, top: float, state: str, kind: str) -> list[str]:
    return [
        f'<rect x="{left}" y="{top:g}" width="130" height="40" rx="8" class="{kind}"/>',
        f'<text x="{left + 65}" y="{top + 25:g}" text-anchor="middle">{state}</text>',
    ]


def arrow(left: float, right: float, y: float, event: str) -> list[str]:
    middle = (left + right) / 2 - 4
    return [
        f'<line x1="{left}" y1="{y:g}" x2="{right - 8}" y2="{y:g}"/>',
        f'<path d="M{right} {y:g} l-9 -4.5 v9 z"/>',
        f'<text x="{middle:g}" y="{y - 6:g}" text-anchor="middle" class="event">{event}</text>',
    ]


def leading_to(state: str) -> str:
    """The events that lead to a state; a new task is in PENDING."""
    events = dict.fromkeys(
        event for steps in TRANSITIONS.values() for event, to in steps.items() if to == state
    )
    return ", ".join((["submit"] if state == PENDING else []) + list(events))


# ── messages ─────────────────────────────────────────────────────────────────────────────────────

HEADING = re.compile(r"^# ── (.+?) ─+$", re.MULTILINE)


def message_tables(module: ModuleType) -> Iterator[str]:
    """One table for each headed part of the module, and before them what its docstring says."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    yield (module.__doc__ or "").replace("::\n", ":\n").replace("``", "`").strip()
    headings = [(source.count("\n", 0, found.start()), found[1]) for found in HEADING.finditer(source)]
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    ends = [line for line, _ in headings[1:]] + [math.inf]
    for (start, heading), end in zip(headings, ends, strict=True):
        yield f"## {heading[0].upper()}{heading[1:]}"
        rows = (message_row(node) for node in classes if start < node.lineno < end)
        yield table(("number", "message", "fields", "what it says"), rows)


def message_row(node: ast.ClassDef) -> tuple[str, ...]:
    tag = next(ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "tag")
    fields = (
        f"`{part.target.id}`"
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    )
    said = " ".join((ast.get_docstring(node) or "").replace("``", "`").split())
    return tag, f"**{node.name}**", ", ".join(fields), said


# ── settings and commands ────────────────────────────────────────────────────────────────────────


def settings() -> Iterator[str]:
    yield (
        "`app.conf.x = …` sets one in code; the environment variable `NBQUEUE_X` wins over that, and code "
        "over the module of `app.config_from_object`. Celery's old names in capitals mean the same: "
        "`CELERY_TASK_SERIALIZER`. `nbqueue conf` shows each value and where it comes from, `nbqueue conf "
        "check` looks for mistakes."
    )
    rows = (
        (" or ".join(f"`{name}`" for name in (row.name, *row.other_names)), f"`{row.default!r}`", row.doc)
        for row in SETTINGS.values()
    )
    yield table(("setting", "default", ""), rows)
    aliases = ", ".join(f"`{alias}` for `{row.name}`" for row in SETTINGS.values() for alias in row.aliases)
    yield f"Celery's own variables are read too: {aliases}."
    yield "## Without effect"
    yield (
        "These are settings of Celery's that mean nothing here. Setting one is allowed, and warns once, with "
        "the reason."
    )
    yield table(
        ("setting", "why"),
        ((f"`{name}`", why) for name, why in WITHOUT_EFFECT.items() if name not in SETTINGS),
    )
    yield table(("settings", "why"), ((f"`{name}…`", why) for name, why in FAMILIES.items()))


def commands() -> Iterator[str]:
    context = click.Context(cli, info_name="nbqueue", terminal_width=90, **cli.context_settings)
    yield f"```\n{cli.get_help(context)}\n```"
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=90)
        yield f"## nbqueue {name}"
        yield f"```\n{command.get_help(inner)}\n```"
        for sub in command.commands.values() if isinstance(command, click.Group) else ():
            innermost = click.Context(sub, info_name=sub.name, parent=inner, terminal_width=90)
            yield f"### nbqueue {name} {sub.name}"
            yield f"```\n{sub.get_help(innermost)}\n```"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
