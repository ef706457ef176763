"""What became of a finished task: a preview of its value, or its traceback as IPython prints it."""

from typing import TYPE_CHECKING, NamedTuple

from IPython.core.getipython import get_ipython
from IPython.core.ultratb import AutoFormattedTB
from IPython.lib.pretty import pretty

from nbqueue.exceptions import NBQueueError
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.wire.failure import remote_traceback

if TYPE_CHECKING:
    from nbqueue.client.records import View
    from nbqueue.client.result import AsyncResult

MAX_VALUE = 2_000
#: the page wraps lines, a line an element would be long
_ANY_WIDTH = 1_000_000
MAX_VALUE_LINES = 20
MAX_TRACEBACK = 50_000


class Details(NamedTuple):
    """Both may be empty; neither is safe html."""

    value: str = ""
    #: with ANSI colour codes
    traceback: str = ""


def details(result: "AsyncResult", view: "View") -> Details:
    """Read a finished task's value or exception.

    Unpickles, and calls the value's ``repr``: it may take its time, and runs other people's code.
    """
    if view.state == SUCCESS and view.has_value:
        return Details(value=preview(result))
    if view.state == FAILURE:
        return Details(traceback=_traceback(result, view))
    return Details()


def why(result: "AsyncResult") -> str:
    """Why a task is not done yet, in one sentence.  Asks the broker, so it may take a moment."""
    try:
        return result.why()
    except NBQueueError as error:
        return str(error)


def preview(result: "AsyncResult") -> str:
    """The beginning of the value's repr; "" for None; what went wrong if it cannot be read."""
    try:
        value = result.result
        return "" if value is None else _shortened(pretty(value, max_width=_ANY_WIDTH, max_seq_length=100))
    except Exception as error:
        return f"(the value cannot be shown: {type(error).__name__}: {error})"


def render_traceback(error: BaseException) -> str:
    """The worker's part of a traceback as the running IPython would print it, with its colour codes."""
    if render := getattr(error, "_render_traceback_", None):
        return "\n".join(render())
    lines = _formatter().structured_traceback(type(error), error, remote_traceback(error))
    return "\n".join(lines)


def _traceback(result: "AsyncResult", view: "View") -> str:
    try:
        error = result.result
        text = render_traceback(error) if isinstance(error, BaseException) else ""
    except Exception:
        text = view.failure.traceback if view.failure else ""
    return text[-MAX_TRACEBACK:]


def _formatter() -> AutoFormattedTB:
    """One of our own: the shell's keeps the last traceback, and cells use it at the same time."""
    shell = get_ipython()
    if shell is None:
        return AutoFormattedTB(mode="Context", theme_name="nocolor")
    return AutoFormattedTB(mode=shell.InteractiveTB.mode, theme_name=shell.colors)


def _shortened(text: str) -> str:
    lines = text.splitlines()
    short = "\n".join(lines[:MAX_VALUE_LINES])[:MAX_VALUE]
    return short if short == text else short + " …"
