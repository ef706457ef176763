"""What a page and the kernel say to each other about a widget, over its comm.

The page speaks first: what the kernel sent before the page was there is lost, so on every render it says
``hello`` and the kernel answers with everything.  Later messages carry what changed, and a number or a
position by which the page sees that one is missing; then it says ``hello`` again.
"""

from typing import Literal, TypeAlias, TypedDict

#: What a state means to the person who looks on.  Custom states are running ones.
Kind: TypeAlias = Literal["sending", "waiting", "running", "done", "failed", "cancelled", "retrying"]

#: Kinds as bytes of a grid's buffers (the same list stands in static/kinds.js).
KINDS: tuple[Kind, ...] = ("sending", "waiting", "running", "done", "failed", "cancelled", "retrying")


# ── page → kernel ────────────────────────────────────────────────────────────────────────────────


class Hello(TypedDict):
    """A page shows the widget and knows nothing yet."""

    type: Literal["hello"]
    #: it can bring frozen html to life (see static/islands.js), so that the notebook need only hold html
    islands: bool


class Cancel(TypedDict):
    """The button: cancel the task, or of a grid the one at ``index``, or all (None)."""

    type: Literal["cancel"]
    index: int | None


class Inspect(TypedDict):
    """A grid's page wants the card of one task, and what becomes of it; None: no more."""

    type: Literal["inspect"]
    index: int | None


class AskRows(TypedDict):
    """A grid's page lists these tasks and wants a line about each."""

    type: Literal["rows"]
    indices: list[int]


class AskWhy(TypedDict):
    """A task has been waiting for a while, and the page wants to say why; ``index`` as in Cancel."""

    type: Literal["why"]
    index: int | None


PageMessage: TypeAlias = Hello | Cancel | Inspect | AskRows | AskWhy


# ── kernel → page ────────────────────────────────────────────────────────────────────────────────


class Card(TypedDict):
    """One task, without its output."""

    id: str
    name: str
    state: str
    kind: Kind
    worker: str
    queue: str
    retries: int
    #: seconds since it started (or, not started, since it was submitted), as the message left the kernel
    elapsed: float | None
    current: float | None
    total: float | None
    description: str
    #: preview of the value
    value: str
    #: one line about the failure
    error: str
    #: as IPython prints it, with its colour codes
    traceback: str


class TaskMessage(TypedDict):
    """A task's card, and the output that belongs at position ``start`` (0: from the beginning)."""

    type: Literal["task"]
    #: which task of a grid; None in a widget of one result
    index: int | None
    card: Card
    start: int
    text: str


class GridMessage(TypedDict):
    """All tasks of a grid.  Buffers: kinds, progress (one byte a task, 255 is all of it)."""

    type: Literal["grid"]
    name: str
    count: int
    #: number of this message; each delta has the next one
    revision: int
    #: seconds since the first start
    elapsed: float | None


class DeltaMessage(TypedDict):
    """What changed in a grid.  Buffers: indices (32 bit, little endian), kinds, progress."""

    type: Literal["delta"]
    revision: int
    elapsed: float | None


class Row(TypedDict):
    """A line of a grid's list."""

    index: int
    id: str
    state: str
    kind: Kind
    worker: str
    elapsed: float | None
    #: what is worth knowing: the error, the description of the progress, the last line of output
    text: str


class RowsMessage(TypedDict):
    type: Literal["rows"]
    rows: list[Row]


class WhyMessage(TypedDict):
    """Why a task is not done yet, in one sentence."""

    type: Literal["why"]
    index: int | None
    text: str


KernelMessage: TypeAlias = TaskMessage | GridMessage | DeltaMessage | RowsMessage | WhyMessage
