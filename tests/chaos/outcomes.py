"""Outcomes as somebody saw them; ``python -m tests.chaos.outcomes QUESTION`` asks for them by id, in a
process that knows nothing but the ids."""

import sys
import time
from pathlib import Path

import msgspec

from nbqueue import App
from nbqueue.client.result import AsyncResult
from nbqueue.exceptions import NBQueueError, ResultNotFoundError

#: what is no state of a task: the broker has no record of it; it has one, and no outcome in time
MISSING, UNFINISHED = "MISSING", "UNFINISHED"


class Outcome(msgspec.Struct, frozen=True):
    """How a task ended."""

    #: SUCCESS, FAILURE, REVOKED, MISSING or UNFINISHED
    state: str
    #: which run of the task ended so; 0 where none did
    attempt: int = 0
    pid: int = 0
    #: type and text of what went wrong
    error: str = ""

    @classmethod
    def of(cls, result: AsyncResult, timeout: float) -> "Outcome":
        """The outcome of a result, waited for so many seconds."""
        try:
            content = result.get(timeout, propagate=False)
        except NBQueueError as error:  # not in time, or the broker is gone
            return cls(UNFINISHED, error=f"{type(error).__name__}: {error}")
        if isinstance(content, ResultNotFoundError):
            return cls(MISSING, error=str(content))
        if isinstance(content, BaseException):
            return cls(result.record.state, error=f"{type(content).__name__}: {content}")
        attempt, pid = content
        return cls(result.record.state, attempt, pid)

    @property
    def line(self) -> str:
        return msgspec.json.encode(self).decode()


class Question(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    ids: list[str]
    #: seconds for all of them together
    timeout: float


def ask(question: Question) -> dict[str, Outcome]:
    """The outcome of every id, waited for."""
    app = App(broker=question.url)
    deadline = time.monotonic() + question.timeout
    outcomes = {
        id: Outcome.of(app.AsyncResult(id), max(0.1, deadline - time.monotonic())) for id in question.ids
    }
    app.close()
    return outcomes


if __name__ == "__main__":
    asked = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(ask(asked)))
