"""What many tasks have in common is kept once: a *template*; a task is then a *call* that refers to it.

::

    Task ─▶ Plans.of(task) ─▶ Plan   template, lane, tag, blobs: found by all that its calls have in common
                               │
            blob:NAME ◀────────┴──▶ tasks[id] = MAC + (template, when, payload, …)

A template is a blob that unfinished tasks refer to, as their function is, and is named by its content.  What
is rare (a countdown, headers, a step of a workflow) is written as a whole envelope instead.
"""

import hashlib
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from nbqueue.core.validation import flaw
from nbqueue.messages import Task
from nbqueue.transports.redis.names import lane_of, tag_of, unfit
from nbqueue.transports.redis.records import Envelope, Origin, Sealed, blobs_of
from nbqueue.wire.signing import ForgedError

#: what each call has of its own
_OWN: Final = ("id", "payload", "captured", "group", "parent_id", "root_id")
#: what many have in common
_COMMON: Final = (
    "name", "definition", "captured_key", "queue", "priority", "python", "env", "time_limit",
    "soft_time_limit", "ignore_result", "rate", "acks_late", "serializer", "result_serializer", "origin",
    "backend",
)  # fmt: skip
#: a task that has any other is written as a whole
_RARE: Final = tuple(field for field in Task.__struct_fields__ if field not in (*_OWN, *_COMMON))
_common: Final[Callable[[Task], tuple[Any, ...]]] = attrgetter(*_COMMON)
_rare: Final[Callable[[Task], tuple[Any, ...]]] = attrgetter(*_RARE)
_NONE: Final = _rare(Task("", "", "", b""))
#: templates that are remembered
_MOST: Final = 1000
#: bytes of a hash that names one
_SIZE: Final = 12


class Shape(NamedTuple):
    """What many tasks have in common when they are submitted; the fields are those of ``submit.lua``."""

    queue: str
    lane: str
    priority: str
    blobs: tuple[str, ...]
    delay: float = 0.0
    expires: float = -1.0


class Plan(msgspec.Struct, frozen=True, eq=False, gc=False):
    """How the calls of one template are submitted."""

    key: bytes
    #: of the blob
    name: str
    template: bytes
    shape: Shape
    tag: str
    #: what is wrong with them, "" for nothing
    flaw: str


class Plans:
    """Of what one client submits."""

    def __init__(self, sealed: Sealed, client: str, notebook: str) -> None:
        self._sealed = sealed
        self._client = client
        self._notebook = notebook
        self._plans: dict[tuple[Any, ...], Plan] = {}
        #: the one that was asked for last, mostly that of the next task, too
        self._last: tuple[Any, ...] = ()
        self._plan: Plan | None = None

    def of(self, task: Task) -> Plan | None:
        """The plan of a task; None if it is to be written as a whole."""
        if _rare(task) != _NONE:
            return None
        common = _common(task)
        if common == self._last:
            return self._plan
        plan = self._plans.get(common)
        if plan is None:
            if len(self._plans) >= _MOST:
                self._plans.clear()
            plan = self._plans[common] = self._made(task)
        self._last, self._plan = common, plan
        return plan

    def _made(self, task: Task) -> Plan:
        bare = msgspec.structs.replace(
            task, id="", payload=b"", captured=b"", group="", parent_id="", root_id=""
        )
        written = Envelope(bare, self._client, self._notebook, 0.0)
        key = hashlib.blake2b(msgspec.msgpack.encode(written), digest_size=_SIZE).digest()
        name = name_of(key)
        shape = Shape(task.queue, lane_of(task), str(task.priority), (*blobs_of(task), name))
        wrong = flaw(task) or unfit(task)
        return Plan(key, name, self._sealed.template(name, written), shape, tag_of(task), wrong)


class Templates:
    """Those that were read; ``fetch`` gets a blob by its name."""

    def __init__(self, sealed: Sealed, fetch: Callable[[str], bytes | None]) -> None:
        self._sealed = sealed
        self._fetch = fetch
        self._known: dict[bytes, tuple[Task, Origin]] = {}

    def open(self, id: str, sealed: bytes) -> tuple[Task, float, Origin]:
        """A task as it was submitted, when, and by whom.  Calls of one template share their origin.

        Raises
        ------
        ForgedError
            It was not signed by us, or for another id, or its template is not there.
        """
        if not self._sealed.is_call(sealed):
            whole = self._sealed.open_envelope(id, sealed)
            return whole.task, whole.at, Origin(whole.client, whole.notebook, tuple(blobs_of(whole.task)))
        call = self._sealed.open_call(id, sealed)
        template, origin = self._known.get(call.template) or self._read(call.template)
        task = msgspec.structs.replace(
            template, id=id, payload=call.payload, captured=call.captured, group=call.group,
            parent_id=call.parent_id, root_id=call.root_id,
        )  # fmt: skip
        return task, call.at, origin

    def _read(self, key: bytes) -> tuple[Task, Origin]:
        name = name_of(key)
        blob = self._fetch(name)
        if blob is None:
            raise ForgedError(f"a task whose template {name} is not there")
        template = self._sealed.open_template(name, blob)
        if len(self._known) >= _MOST:
            self._known.clear()
        origin = Origin(template.client, template.notebook, (*blobs_of(template.task), name))
        found = self._known[key] = (template.task, origin)
        return found


def name_of(key: bytes) -> str:
    """Of the blob that a template is; no function's blob is called so."""
    return f"t.{key.hex()}"
