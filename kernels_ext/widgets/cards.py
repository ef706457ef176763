"""What a page shows of one task: its card, and of its output what is new."""

from typing import TYPE_CHECKING

from kernels_ext.details import Details
from kernels_ext.text import elapsed, reason
from kernels_ext.widgets.messages import Card, Kind, Row, TaskMessage
from nbqueue.states import FAILURE, PENDING, RETRY, REVOKED, SUCCESS

if TYPE_CHECKING:
    from nbqueue.client.records import View

_KINDS: dict[str, Kind] = {
    PENDING: "waiting", RETRY: "retrying", SUCCESS: "done", FAILURE: "failed", REVOKED: "cancelled"
}  # fmt: skip
#: characters of output that a page is given when it opens
MAX_OUTPUT = 100_000
MAX_ROW_TEXT = 200
#: this much of the end of the known output is looked for when its beginning or middle was dropped
_ANCHOR = 400


def kind_of(view: "View") -> Kind:
    """What the view's state means to the person who looks on."""
    kind = _KINDS.get(view.state, "running")
    return "sending" if kind == "waiting" and not view.accepted else kind


def age(view: "View", now: float) -> float | None:
    """Seconds since the task started, or since it was submitted if it has not; None when not known."""
    running = elapsed(view, now)
    if running is not None or view.submitted_at is None:
        return running
    return max(0.0, (now if view.finished_at is None else view.finished_at) - view.submitted_at)


def card_of(view: "View", now: float, details: Details) -> Card:
    """All of a task but its output, at Unix time ``now``."""
    return Card(
        id=view.id,
        name=view.name,
        state=view.state,
        kind=kind_of(view),
        worker=view.worker,
        queue=view.queue,
        retries=view.retries,
        elapsed=age(view, now),
        current=view.current,
        total=view.total,
        description=view.description,
        value=details.value,
        error=reason(view),
        traceback=details.traceback,
    )


def row_of(index: int, view: "View", now: float) -> Row:
    """One line about a task of a grid."""
    return Row(
        index=index,
        id=view.id,
        state=view.state,
        kind=kind_of(view),
        worker=view.worker,
        elapsed=age(view, now),
        text=(reason(view) or view.description or _last_line(view.output))[:MAX_ROW_TEXT],
    )


class CardFeed:
    """The messages about one task: each has the whole card, and of the output what the last one had not."""

    def __init__(self, index: int | None = None) -> None:
        self._index = index
        #: the output as it was, and how many characters of it the page was given
        self._seen = ""
        self._given = 0

    def everything(self, view: "View", now: float, details: Details) -> TaskMessage:
        """For a page that knows nothing."""
        self._seen, self._given = "", 0
        return self.news(view, now, details)

    def news(self, view: "View", now: float, details: Details) -> TaskMessage:
        """For a page that had all messages so far."""
        start, text = self._new_output(view.output)
        self._seen, self._given = view.output, start + len(text)
        card = card_of(view, now, details)
        return TaskMessage(type="task", index=self._index, card=card, start=start, text=text)

    def _new_output(self, output: str) -> tuple[int, str]:
        if self._given and output.startswith(self._seen):
            return self._given, output[len(self._seen) :]
        if self._given and (known := output.rfind(self._seen[-_ANCHOR:])) >= 0:
            return self._given, output[known + min(_ANCHOR, len(self._seen)) :]
        return 0, output[-MAX_OUTPUT:]


def _last_line(output: str) -> str:
    lines = output[-2 * MAX_ROW_TEXT :].replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
