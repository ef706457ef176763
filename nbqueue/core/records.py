"""What the broker knows of one task, from its acceptance until the record expires."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from nbqueue.core.output import OutputLog
from nbqueue.messages import Failure, Outcome, Progress, Task, Update
from nbqueue.states import PENDING

# Where a record stands
WAITING: Final = "waiting"  # waits for other tasks: see core.workflow
SCHEDULED: Final = "scheduled"  # waits for its time
READY: Final = "ready"  # waits for an executor
LEASED: Final = "leased"  # with an executor
DONE: Final = "done"

#: bytes of arguments that are not kept with a finished record
LARGE: Final = 1024
#: bytes that a task costs beside its arguments: measured, with its record and its place in a queue
TASK_BYTES: Final = 1000
#: bytes that each task costs that another one waits for: its id, and who waits for it
STEP_BYTES: Final = 200


def task_size(task: Task) -> int:
    """Bytes that keeping an unfinished task costs, about."""
    size = len(task.payload) + len(task.captured) + TASK_BYTES
    return size if task.step is None else size + STEP_BYTES * len(task.step.after)


class Sender(NamedTuple):
    """Who submitted a task; one for all that a client submits."""

    #: id of the client
    client: str
    #: name of the worker's key that it came by, "" for clients' keys: see core.permissions
    owner: str = ""
    #: the notebook that it was sent from, or that the task was which sent it; "" for others
    notebook: str = ""


class Record(msgspec.Struct, gc=False):
    """One task.  A million of these may wait, so it holds no collections until it needs them."""

    task: Task
    #: when it was accepted, on the broker's clock
    at: float
    #: order of acceptance: first come, first served within a priority
    order: int
    sender: Sender
    place: str = READY
    state: str = PENDING
    #: the current lease, 0 for none; whatever comes with another one is refused
    token: int = 0
    executor: str = ""
    #: shown name of the worker, from its start on
    worker: str = ""
    #: of the process that runs it; not in the journal: an executor that comes back says it anew
    pid: int = 0
    #: leases so far
    attempt: int = 0
    retries: int = 0
    deaths: int = 0
    losses: int = 0
    #: seconds of work that the executor was charged for it
    estimate: float = 0.0
    leased_at: float = 0.0
    started_at: float | None = None
    done_at: float = 0.0
    #: when a scheduled record is due
    due: float = 0.0
    #: revoked without terminate: runs to its end, but never again
    revoked: bool = False
    #: ids of the clients that are told of its events
    watchers: tuple[str, ...] = ()
    progress: Progress | None = None
    update: Update | None = None
    output: OutputLog | None = None
    #: of the last run that ended in RETRY
    failure: Failure | None = None
    outcome: Outcome | None = None
    #: id of the task that it was replaced by, and ends as
    by: str = ""
    #: to be deleted when no step needs it any more
    unwanted: bool = False
    #: ``task_size`` of its task, as it counts among the unfinished ones
    counted: int = 0

    @property
    def predecessors(self) -> Sequence[str]:
        """Ids of the tasks that it waits for, or has waited for."""
        if self.by:
            return (self.by,)
        return self.task.step.after if self.task.step is not None else ()

    def is_held_by(self, token: int) -> bool:
        """Whether a token is that of its current lease; older ones are refused."""
        return self.token == token and self.place == LEASED

    def forget_run(self) -> None:
        """The run is over, and another one will report anew."""
        self.started_at = None
        self.executor = self.worker = ""
        self.pid = 0
        self.update = self.progress = None

    def drop_arguments(self) -> None:
        """It will not run again: large arguments must not fill the room that results have."""
        if len(self.task.payload) + len(self.task.captured) > LARGE:
            self.task = msgspec.structs.replace(self.task, payload=b"", captured=b"")

    @property
    def size(self) -> int:
        """Bytes that keeping it costs, about."""
        size = task_size(self.task)
        if self.outcome is not None:
            size += len(self.outcome.value)
            if self.outcome.failure is not None:
                failure = self.outcome.failure
                size += len(failure.traceback) + len(failure.exception) + 300 * len(failure.frames)
                size += sum(len(source) for source, _ in failure.sources.values())
        return size + (self.output.size if self.output is not None else 0)
