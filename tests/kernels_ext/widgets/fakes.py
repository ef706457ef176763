"""Results whose state a test sets, with what the widgets use of the client."""

from collections.abc import Sequence
from typing import Any

from nbqueue.client.records import View
from nbqueue.messages import Failure
from nbqueue.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS

EMPTY = View(
    id="",
    name="train",
    state=PENDING,
    worker="",
    queue="default",
    retries=0,
    submitted_at=None,
    started_at=None,
    finished_at=None,
    current=None,
    total=None,
    description="",
    output="",
    failure=None,
    accepted=True,
    has_value=False,
)


class FakeClient:
    """Tells subscriptions of changes when a test says so."""

    def __init__(self) -> None:
        self.subscriptions: list[Any] = []
        self.cancelled: list[str] = []

    def subscribe(self, record: "FakeResult", subscription: Any, index: int) -> None:
        record.subscribers.append((subscription, index))
        if subscription not in self.subscriptions:
            self.subscriptions.append(subscription)

    def tell(self) -> None:
        """What the I/O thread does: call the subscriptions that have something to tell."""
        for subscription in self.subscriptions:
            if subscription.due is not None:
                subscription.call()


class FakeResult:
    """One result."""

    def __init__(self, client: FakeClient, id: str, **known: Any) -> None:
        self.client = client
        self.id = id
        self.result: Any = None
        self.subscribers: list[tuple[Any, int]] = []
        self._view = EMPTY._replace(id=id, **known)

    @property
    def record(self) -> "FakeResult":
        return self

    def peek(self) -> View:
        return self._view

    def cancel(self) -> None:
        self.client.cancelled.append(self.id)

    def becomes(self, **known: Any) -> None:
        """Change what is known."""
        self._view = self._view._replace(**known)
        for subscription, index in self.subscribers:
            subscription.note(index)

    def starts(self, at: float = 1000.0) -> None:
        self.becomes(state=STARTED, worker="w1", submitted_at=at, started_at=at)

    def succeeds(self, value: Any = None, at: float = 1002.0) -> None:
        self.result = value
        self.becomes(state=SUCCESS, finished_at=at, has_value=True)

    def fails(self, error: Exception, at: float = 1002.0) -> None:
        self.result = error
        kind = type(error)
        text = f"Traceback (most recent call last):\n{kind.__name__}: {error}"
        failure = Failure(type=kind.__name__, module=kind.__module__, message=str(error), traceback=text)
        self.becomes(state=FAILURE, finished_at=at, failure=failure)

    def is_revoked(self, at: float = 1002.0) -> None:
        self.becomes(state=REVOKED, finished_at=at)


class FakeGroup(Sequence[FakeResult]):
    """The results of a map."""

    def __init__(self, client: FakeClient, count: int, name: str = "train") -> None:
        self.id = f"group {id(self)}"
        self.name = name
        self.children = [FakeResult(client, f"{index:08x}", name=name) for index in range(count)]

    @property
    def tasks(self):
        return self.children

    def __len__(self) -> int:
        return len(self.children)

    def __getitem__(self, index: Any) -> Any:
        return self.children[index]

    def cancel(self) -> None:
        for result in self.children:
            result.cancel()


def shown(widget: Any) -> Any:
    """The widget, after it was shown: it follows its results from then on."""
    widget.show()
    return widget
