"""``python -m tests.chaos.client OPTIONS``: submits tasks, and writes down what it knows of them.

It submits until there are no more, or there is a file ``enough``.  A task goes into the file
``acknowledged`` when this process knows that the broker keeps it, and not before; an outcome into
``seen`` when it has come.  The process may be killed at any moment.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from nbqueue import App, chord
from nbqueue.client.result import AsyncResult
from tests.chaos import workload
from tests.chaos.ledger import append
from tests.chaos.outcomes import Outcome

#: seconds between two looks at what has changed
_LOOK = 0.01


class Call(msgspec.Struct, frozen=True):
    """A task to submit; or a chord whose body it is."""

    task: str
    args: list[Any]
    options: dict[str, Any] = {}
    #: the task of the chord's header, and the arguments of each of its members
    member: str = ""
    members: list[list[Any]] = []


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    #: where the files go
    folder: str
    calls: list[Call]
    #: tasks that may be unfinished at a time
    window: int = 1000
    #: stay until all that were submitted have their outcomes; else until all are acknowledged
    stay: bool = True
    #: revoke all that were acknowledged before leaving
    revoke: bool = False


class Submitter:
    """Submits the calls in order and keeps the two files."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._app = App(broker=options.url)
        workload.register(self._app)
        self._unacknowledged: list[AsyncResult] = []
        self._unfinished: list[AsyncResult] = []
        self._acknowledged: list[str] = []

    def run(self) -> None:
        assert self._app.client.usable
        append(f"{self._options.folder}/connected", str(os.getpid()))
        calls = list(reversed(self._options.calls))
        while calls or self._busy:
            if Path(self._options.folder, "enough").exists():
                calls.clear()
            while calls and len(self._unfinished) < self._options.window:
                self._submit(calls.pop())
            self._note_acknowledged()
            self._note_outcomes()
            time.sleep(_LOOK)
        if self._options.revoke:
            self._app.client.cancel(self._acknowledged, True)
            self._app.client.ask("status")  # answered after the revocations
        self._app.close()

    @property
    def _busy(self) -> bool:
        return bool(self._unacknowledged or (self._options.stay and self._unfinished))

    def _submit(self, call: Call) -> None:
        task = self._app.tasks[call.task]
        if call.member:
            member = self._app.tasks[call.member]
            result = chord([member.s(*args) for args in call.members], task.s(*call.args)).delay()
            results = [*result.parent, result]
        else:
            results = [task.apply_async(tuple(call.args), **call.options)]
        self._unacknowledged += results
        self._unfinished += results

    def _note_acknowledged(self) -> None:
        known = [result.id for result in self._unacknowledged if result.accepted]
        if known:
            append(f"{self._options.folder}/acknowledged", *known)
            self._acknowledged += known
        gone = set(known).union(r.id for r in self._unacknowledged if r.record.refusal is not None)
        self._unacknowledged = [result for result in self._unacknowledged if result.id not in gone]

    def _note_outcomes(self) -> None:
        ended = [result for result in self._unfinished if result.record.settled]
        if ended:
            lines = (f"{result.id} {Outcome.of(result, 0).line}" for result in ended)
            append(f"{self._options.folder}/seen", *lines)
            noted = {result.id for result in ended}
            self._unfinished = [result for result in self._unfinished if result.id not in noted]


if __name__ == "__main__":
    Submitter(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ClientOptions)).run()
