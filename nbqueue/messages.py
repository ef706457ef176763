"""Everything that clients, brokers and workers say to each other: one schema, for every transport.

The life of a task, in messages::

    client                       broker                        executor (main | control link)
      │ Define(blob)  ────────────▶ │                               │
      │ Submit([task]) ───────────▶ │ ── Assign([task, token]) ───▶ │ main
      │ ◀────────── Accepted([id])  │ ◀── Need(key) ──────────────  │ main   first time only
      │                             │ ─── Define(blob) ───────────▶ │ main
      │ ◀───────────────── Started  │ ◀── Started ────────────────  │ main   if it takes longer than 25 ms
      │ ◀──────── Progress, Output  │ ◀── Progress, Output ───────  │ main
      │ ◀────────────────── Settle  │ ◀── Settle([outcome]) ──────  │ main
      │                             │ ─── Acknowledge([token]) ───▶ │ main

Lists inside of messages are the batches: whatever was waiting when a peer came round to send.
``Submit``, ``Assign`` and ``Settle`` carry at most ``MAX_BATCH`` items.

A *lease token* is one integer, ``boot number << 32 | count``: tokens grow, none is issued twice, and
whatever carries an older token than the task's current lease is refused.

Broker times (fields named ``at``) are seconds on the broker's monotonic clock; ``Welcome.epoch``
added to one gives Unix time.  All other times are durations in seconds.
"""

from typing import Any, TypeAlias

import msgspec

from nbqueue.states import SUCCESS

#: in place of a state in ``Step.on``: the task is not run, its payload is its value at once
SAVED = "SAVED"

#: Peers of another protocol number are refused in words that every version understands (wire.codec).
PROTOCOL = 1
MAX_BATCH = 256

# Roles of a peer
CLIENT = "client"
WORKER = "worker"  # a worker's supervisor: heartbeats, deaths
EXECUTOR = "executor"  # the process that runs tasks: its main link
CONTROL = "control"  # the same process: its control thread's link


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a message."""


class Step(Value):
    """A task's place in a workflow: what it waits for, and what it takes from there."""

    #: ids of the tasks that have to end first
    after: list[str]
    #: how: SUCCESS, or FAILURE for what is to be done about an error
    on: str = SUCCESS
    #: what its first argument is made of: an index into ``after``, or a list of such and of such lists;
    #: None when it takes nothing
    takes: Any = None
    #: a callback: when what it waits for does not end so, it is revoked, and does not count as a failure
    optional: bool = False


class Demand(Value):
    """What a task needs of its worker."""

    #: tags that the worker must have been given
    tags: list[str] = []
    #: name → how much of it the task occupies while it runs: ``{"gpu": 1, "memory": 2e9}``
    resources: dict[str, float] = {}


class Task(Value):
    """What the client submits: immutable, passed on by the broker unread."""

    id: str
    #: ``tasks.add``, or the plain function name for a notebook's function
    name: str
    #: key of the definition that the function travels by; "" when only a worker that registered the name
    #: can run it
    definition: str
    #: pickled (args, kwargs)
    payload: bytes
    #: what the function reads from its notebook, pickled; or b"" and the key of a blob sent by Define
    captured: bytes = b""
    captured_key: str = ""
    queue: str = "default"
    #: 0 to 9, 9 first
    priority: int = 0
    #: "3.11" when the definition needs that Python, "" for any
    python: str = ""
    #: ``sys.prefix`` of the submitting environment, "" for any: workers of the local cluster serve their own
    env: str = ""
    #: wait so long before the first run
    countdown: float = 0.0
    #: REVOKED if not started within so long
    expires: float | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    #: the map or group that it was submitted with
    group: str = ""
    #: the task that submitted it, and the first of that line
    parent_id: str = ""
    root_id: str = ""
    #: drop the value when done: only the state is kept
    ignore_result: bool = False
    #: None when it waits for no other task
    step: Step | None = None
    #: None when any worker of its queue will do
    demand: Demand | None = None
    #: starts a second of tasks of this name, over all workers; 0 for as many as there can be
    rate: float = 0.0
    #: False: it is never started a second time, even if its worker dies of it
    acks_late: bool = True
    #: how the payload, and then the value, is written: "" for pickled, "json", "msgpack"
    serializer: str = ""
    result_serializer: str = ""
    #: who made the call, as ``self.request.origin`` says
    origin: str = ""
    #: what else its sender says of it, for the task to read: plain values by name
    headers: dict[str, Any] | None = None
    #: what keeps the value: "" for the broker, else the URL of a result backend
    backend: str = ""
    #: the blob that the payload is, where the broker keeps it apart since it is large; "" if it is not
    payload_key: str = ""


class Timetable(Value):
    """When a periodic task fires: every so many seconds, or when a clock on the wall shows certain times."""

    #: seconds between two firings; 0: by the other fields
    every: float = 0.0
    #: count them from a whole second, minute, hour or day of the clock, not from the registration
    relative: bool = False
    #: 0 to 59
    minute: tuple[int, ...] = ()
    #: 0 to 23
    hour: tuple[int, ...] = ()
    #: 0 to 6, 0 is Sunday
    day_of_week: tuple[int, ...] = ()
    #: 1 to 31
    day_of_month: tuple[int, ...] = ()
    #: 1 to 12
    month_of_year: tuple[int, ...] = ()
    #: of that clock: an IANA name, or an offset such as "UTC+05:30"
    zone: str = "UTC"
    #: the same in words, for a person
    text: str = ""


class Periodic(Value):
    """An entry of an application's schedule."""

    name: str
    timetable: Timetable
    #: submitted at each firing, under an id of its own
    task: Task
    #: what is made up for of firings that fell into a time without a broker: "once", "skip", "all"
    missed: str = "once"
    #: do not fire while the task of the last firing has not ended
    skip_if_running: bool = False


class Assignment(Value):
    """A task with the lease under which one executor may run it."""

    task: Task
    token: int
    #: runs that ended in RETRY so far
    retries: int = 0
    #: 1 for the first lease, whatever ended the earlier ones
    attempt: int = 1
    #: how the tasks of ``task.step.after`` ended, in that order; empty if it takes nothing of them, or so
    #: much that the executor is to fetch it: see ``core.inputs``
    inputs: list["Outcome"] = []
    #: when the task was accepted, in Unix time; 0 unless its countdown or expiry counts from there
    at: float = 0.0
    #: the task whose failure this one is about
    about: Task | None = None


class Frame(Value):
    """One line of a traceback, enough to draw it as IPython would."""

    filename: str
    lineno: int
    name: str
    qualname: str
    firstlineno: int
    line: str


class Failure(Value):
    """An exception on its way: readable by everyone, and pickled for those who have its class."""

    type: str
    module: str
    message: str
    #: the formatted traceback
    traceback: str
    frames: list[Frame] = []
    #: pickled exception without traceback; b"" when it could not be pickled
    exception: bytes = b""
    #: filename → (source, name to show), of cells that appear in the frames
    sources: dict[str, tuple[str, str]] = {}


class Outcome(Value):
    """How a run ended.  The broker accepts one outcome of a task."""

    id: str
    token: int
    #: SUCCESS, FAILURE or REVOKED
    state: str
    #: pickled return value
    value: bytes = b""
    failure: Failure | None = None
    #: seconds that the function ran
    runtime: float = 0.0
    #: name of the worker
    worker: str = ""
    at: float = 0.0
    retries: int = 0
    #: what keeps the value in place of ``value``: the URL of a result backend, without its password
    stored: str = ""
    #: the task for whose end this one was not run, "" if it ended by itself
    origin: str = ""


class Changes(Value):
    """What is to be different in the next run of a task; None: as it was."""

    payload: bytes | None = None
    queue: str | None = None
    priority: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    headers: dict[str, Any] | None = None


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What travels: a batch on the wire is a list of these."""


# ── session: anybody ↔ broker ────────────────────────────────────────────────────────────────────


class Hello(Message, tag=1):
    """First words of a peer on every new connection, and again when the broker says Unknown."""

    role: str
    #: the peer's own name for itself, kept over reconnections; a control link has its executor's
    id: str
    protocol: int = PROTOCOL
    version: str = ""
    host: str = ""
    pid: int = 0
    #: id of the worker that an executor belongs to
    worker: str = ""
    #: shown name of the worker
    name: str = ""
    python: str = ""
    #: see Task.env
    env: str = ""
    queues: list[str] = []
    #: names of tasks that the worker imported (-A)
    registered: list[str] = []
    #: leases that an executor still holds: (task id, token)
    held: list[tuple[str, int]] = []
    #: part of the local cluster: ends with its broker
    local: bool = False
    #: the notebook whose kernel a client is, "" for other processes
    notebook: str = ""
    #: tasks that an executor runs at once
    slots: int = 1
    #: what a worker was given, and how much of each resource its executors share (``memory`` in bytes)
    tags: list[str] = []
    resources: dict[str, float] = {}
    #: its hard and soft time limit for tasks that have none, or nothing
    limits: list[float | None] = []


class Welcome(Message, tag=2):
    boot: int
    version: str
    #: seconds between heartbeats, and after how many without one a peer counts as lost
    heartbeat: float
    lease: float
    epoch: float
    host: str = ""
    pid: int = 0
    #: bytes of the largest payload that the broker takes: of arguments, functions and values; 0 if not said
    max_payload_bytes: int = 0
    #: characters that it keeps of a task's output
    max_output_bytes: int = 2**20
    #: bytes of the largest meta and item that it passes on; 0: as of a payload
    max_event_bytes: int = 0


class Refused(Message, tag=3):
    """The broker will not talk to this peer; the reason is for a person to read.

    Whoever hears it ends: what is only not allowed is Rejected, Denied, or an Answer with an error.
    """

    reason: str


class Unknown(Message, tag=4):
    """The broker does not know the sender: say Hello again, then whatever was not acknowledged."""


class Ping(Message, tag=5):
    """A client's sign of life."""


class Pong(Message, tag=6):
    boot: int


class Goodbye(Message, tag=7):
    """A peer leaves; or the broker does, and the worker stays for the next one."""

    #: the connection is gone, the peer may come back: said by the broker's driver, or by a worker that stays
    unreachable: bool = False
    #: why the broker leaves
    reason: str = ""


class Shutdown(Message, tag=8):
    """Broker to worker: end yourself; to a client: the broker ends."""

    reason: str = ""


# ── client → broker ──────────────────────────────────────────────────────────────────────────────


class Define(Message, tag=10):
    """A blob named by its hash: a definition, or captured globals.  Also broker → executor."""

    key: str
    blob: bytes


class Submit(Message, tag=11):
    tasks: list[Task]


class Cancel(Message, tag=12):
    """Revoke: what waits never runs; what runs is interrupted if ``terminate``."""

    ids: list[str]
    terminate: bool = True


class Watch(Message, tag=13):
    """Tell me all about these, from the beginning; answered by Known or NotFound and the events so far."""

    ids: list[str]


class Forget(Message, tag=14):
    """Delete these records (finished ones), or stop telling me about them (unfinished ones)."""

    ids: list[str]


class Ask(Message, tag=15):
    """A question that is answered by one Answer of the same number; topics stand in core.inspect."""

    number: int
    topic: str
    args: dict[str, Any] = {}


class Schedule(Message, tag=100):
    """Keep these entries of an application's schedule, each in place of the one of its name; answered by
    Noted, or by an Answer with an error."""

    number: int
    app: str
    entries: list[Periodic]
    #: these are all: others of the application go
    complete: bool = False


class Unschedule(Message, tag=101):
    """Drop entries of an application's schedule; answered like Schedule."""

    number: int
    app: str
    names: list[str]


# ── broker → client ──────────────────────────────────────────────────────────────────────────────


class Accepted(Message, tag=20):
    """These tasks are kept from now on, whatever happens to the client."""

    ids: list[str]


class Rejected(Message, tag=21):
    """This task was not accepted and never will be."""

    id: str
    reason: str


class Missing(Message, tag=22):
    """The broker lacks a blob for these submissions: Define it and submit them again."""

    key: str
    ids: list[str]


class Known(Message, tag=23):
    """The head of a record: what it is, before its events."""

    id: str
    name: str
    state: str
    queue: str
    group: str
    #: when it was accepted
    at: float


class NotFound(Message, tag=24):
    ids: list[str]


class Answer(Message, tag=25):
    number: int
    data: Any = None
    #: what was wrong with the question, "" if nothing
    error: str = ""


class Noted(Message, tag=29):
    """In place of an Answer, to an order, or to a question about ``noted``: what was said before has been
    dealt with, and stays so whatever becomes of the broker."""

    number: int


class Retrying(Message, tag=26):
    """The task waits for its next run."""

    id: str
    retries: int
    failure: Failure | None
    #: when it is due
    at: float


class Requeued(Message, tag=27):
    """Its worker was lost; the task waits for another one."""

    id: str
    reason: str


class Denied(Message, tag=28):
    """What the client said is not done, by its key's role; whatever else it says goes on as before."""

    #: the name of the message
    word: str
    reason: str


# ── events of a running task: executor → broker → clients that watch ─────────────────────────────


class Started(Message, tag=30):
    id: str
    token: int
    #: filled in by the broker
    worker: str = ""
    at: float = 0.0
    #: of the process that runs it; 0 where that is not known
    pid: int = 0


class Progress(Message, tag=31):
    id: str
    token: int
    current: float
    total: float | None = None
    description: str = ""


class Update(Message, tag=32):
    """A custom state with its pickled meta."""

    id: str
    token: int
    state: str
    meta: bytes


class Output(Message, tag=33):
    """A piece of what the task printed; pieces of one run are numbered from 0."""

    id: str
    token: int
    seq: int
    #: "stdout" or "stderr"
    stream: str
    text: str


class Settle(Message, tag=34):
    """Runs that ended: executor → broker; accepted outcomes: broker → clients that watch."""

    outcomes: list[Outcome]


class Retry(Message, tag=35):
    """The run asks for another one (retry is left)."""

    id: str
    token: int
    countdown: float
    failure: Failure | None = None
    runtime: float = 0.0
    changes: Changes | None = None


class Replaced(Message, tag=70):
    """In place of an outcome: the task ends as another one will, which has been accepted."""

    id: str
    token: int
    by: str


# ── broker ↔ worker ──────────────────────────────────────────────────────────────────────────────


class Assign(Message, tag=40):
    assignments: list[Assignment]


class Need(Message, tag=41):
    """An executor lacks a blob, or what a step takes from others (``core.inputs``); answered by Define (with
    an empty blob if nobody has it any more)."""

    key: str


class Acknowledge(Message, tag=42):
    """Outcomes and retries with these tokens were dealt with (accepted or refused): forget them."""

    tokens: list[int]


class Recall(Message, tag=43):
    """To a control link: give back up to ``count`` tasks that were not started, the last ones first."""

    count: int


class Returned(Message, tag=44):
    """Leases given back, never started; or ``rejected`` by their tasks, which go to the end of the line."""

    tokens: list[int]
    rejected: bool = False


class Held(Message, tag=45):
    """A control link's report, each heartbeat: the leases its executor holds or has not had acknowledged."""

    tokens: list[int]
    #: the highest token that has arrived so far
    latest: int = 0


class Interrupt(Message, tag=46):
    """To a control link: stop this run. ``reason`` is "cancel" or "soft_time_limit"."""

    id: str
    token: int
    reason: str


class Drop(Message, tag=47):
    """To a control link: these leases were revoked before their start; do not run them."""

    tokens: list[int]


class Heartbeat(Message, tag=48):
    """A worker is alive, with these executors."""

    executors: list[str]
    #: of its machine: processes that run or want to, over the last 1, 5 and 15 minutes
    load: list[float] = []


class Kill(Message, tag=49):
    """To a worker: end this executor's process (SIGTERM, then SIGKILL) if it still runs this lease."""

    executor: str
    token: int
    reason: str


class ExecutorLost(Message, tag=50):
    """A worker saw an executor die, and what it was running (token 0: nothing)."""

    executor: str
    token: int
    #: exit code, or minus the signal's number
    exit_code: int
    #: bytes
    peak_memory: int = 0
    #: last lines
    stderr: str = ""
    #: what else it ran, if it ran several tasks at once: any of them may be to blame
    others: list[int] = []


class Consume(Message, tag=80):
    """An executor serves these queues from now on; what it holds of others it still runs."""

    queues: list[str]


# ── remote control, and events of everything ─────────────────────────────────────────────────────


class Order(Message, tag=90):
    """Broker to worker: do this, or tell that; answered by one Reply of the same number."""

    number: int
    command: str
    args: dict[str, Any] = {}


class Reply(Message, tag=91):
    """A worker's answer to an Order."""

    number: int
    data: Any = None
    #: why not, "" if it was done
    error: str = ""


class Listen(Message, tag=92):
    """Client to broker: tell me of events from now on; ``types`` are those of Celery."""

    #: None: all; an empty list: no more
    types: list[str] | None = None


class Events(Message, tag=93):
    """What happened, in order: each a dict with ``type`` and ``timestamp``."""

    events: list[dict[str, Any]]
    #: so many before these were dropped, since the client did not read them in time
    lost: int = 0


# ── items of generator tasks: see core.streams ───────────────────────────────────────────────────


class Stream(Message, tag=81):
    """Client to broker: I read the items of this task, have all before number ``position``, and can take
    those before ``upto`` (below 0: no more of them)."""

    id: str
    position: int
    upto: int
    #: some were sent and did not arrive
    again: bool = False


class Pull(Message, tag=82):
    """To a control link: the same, of all clients that read the items of that run."""

    id: str
    token: int
    start: int
    upto: int
    again: bool = False


class Item(Message, tag=83):
    """Executor to broker to clients: item number ``position``, pickled; those before ``base`` are gone."""

    id: str
    token: int
    position: int
    value: bytes
    base: int = 0


AnyMessage: TypeAlias = (
    Hello | Welcome | Refused | Unknown | Ping | Pong | Goodbye | Shutdown
    | Define | Submit | Cancel | Watch | Forget | Ask | Schedule | Unschedule
    | Accepted | Rejected | Missing | Known | NotFound | Answer | Noted | Retrying | Requeued | Denied
    | Started | Progress | Update | Output | Settle | Retry | Replaced
    | Assign | Need | Acknowledge | Recall | Returned | Held | Interrupt | Drop
    | Heartbeat | Kill | ExecutorLost | Consume
    | Order | Reply | Listen | Events
    | Stream | Pull | Item
)  # fmt: skip
