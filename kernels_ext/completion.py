"""Tab in the line of ``%%task`` and ``%%submit``: what may stand there, and nothing else.

These are the options; after ``%%task`` also the functions of the cell, after ``-i`` and ``-o`` the names
of the notebook.
"""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from kernels_ext.magics_submit import SubmitMagics
from kernels_ext.magics_task import TaskMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_PARSERS: dict[str, argparse.ArgumentParser] = {
    "%%task": TaskMagics.task.parser,
    "%%submit": SubmitMagics.submit.parser,
}
_DEFINITION = re.compile(r"^(?:async +)?def +(\w+)", re.MULTILINE)

Matcher = Callable[[CompletionContext], dict[str, Any]]


def matcher(shell: "InteractiveShell") -> Matcher:
    """What to append to ``shell.Completer.custom_matchers``."""

    @context_matcher()
    def nbqueue_matcher(context: CompletionContext) -> dict[str, Any]:
        found = [text for text in _candidates(shell, context) if text.startswith(context.token)]
        completions = [SimpleCompletion(text) for text in found]
        return {"completions": completions, "suppress": bool(found), "ordered": True}

    matched: Matcher = nbqueue_matcher
    return matched


def _candidates(shell: "InteractiveShell", context: CompletionContext) -> Iterable[str]:
    magic, _, before = context.text_until_cursor.removesuffix(context.token).partition(" ")
    if context.cursor_line != 0 or magic not in _PARSERS:
        return []
    words = before.split()
    actions = {flag: action for action in _PARSERS[magic]._actions for flag in action.option_strings}
    option = next((word for word in reversed(words) if word in actions), None)
    if option is not None and actions[option].nargs == "+":
        return [*_names(shell), *actions]
    if option is not None and option == words[-1] and actions[option].nargs != 0:
        return []  # a value that only its writer knows
    return [*(_DEFINITION.findall(context.full_text) if magic == "%%task" else []), *actions]


def _names(shell: "InteractiveShell") -> list[str]:
    own = shell.user_ns.keys() - shell.user_ns_hidden.keys()
    return sorted(name for name in own if not name.startswith("_"))
