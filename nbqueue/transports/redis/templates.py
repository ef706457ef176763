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
from typing import Any, Final

import msgspec

from nbqueue.messages import Task
from nbqueue.transports.redis.names import lane_of, tag_of
from nbqueue.transports.redis.records import Envelope, Sealed, blobs_of
from nbqueue.wire.signing import ForgedError

#: what each call has of its own
_OWN: Final = ("id", "payload", "captured", "group", "parent_id", "root_id")
#: of these, what is not usual makes it a task that is written as a whole
_RARE: Final = ("countdown", "expires", "step", "demand", "headers")
_common: Final[Callable[[Task], tuple[Any, ...]]] = attrgetter(
    *(field for field in Task.__struct_fields__ if field not in (*_OWN, *_RARE))
)
#: templates that are remembered
_MOST: Final = 1000
#: bytes of a hash that names one
_SIZE: Final = 12


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How the calls of one template are submitted."""

    key: bytes
    #: of the blob
    name: str
    template: bytes
    queue: str
    lane: str
    priority: str
    tag: str
    blobs: tuple[str, ...]


class Plans:
    """Of what one client submits."""

    def __init__(self, sealed: Sealed, client: str, notebook: str) -> None:
        self._sealed = sealed
        self._client = client
        self._notebook = notebook
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def of(self, task: Task) -> Plan | None:
        """The plan of a task; None if it is to be written as a whole."""
        if (
            task.countdown
            or task.expires is not None
            or task.step is not None
            or task.demand is not None
            or task.headers is not None
        ):
            return None
        common = _common(task)
        plan = self._plans.get(common)
        if plan is None:
            if len(self._plans) >= _MOST:
                self._plans.clear()
            plan = self._plans[common] = self._made(task)
        return plan

    def _made(self, task: Task) -> Plan:
        bare = msgspec.structs.replace(
            task, id="", payload=b"", captured=b"", group="", parent_id="", root_id=""
        )
        written = Envelope(bare, self._client, self._notebook, 0.0)
        key = hashlib.blake2b(msgspec.msgpack.encode(written), digest_size=_SIZE).digest()
        name = name_of(key)
        return Plan(
            key, name, self._sealed.template(name, written), task.queue, lane_of(task), str(task.priority),
            tag_of(task), (*blobs_of(task), name),
        )  # fmt: skip


class Templates:
    """Those that were read; ``fetch`` gets a blob by its name."""

    def __init__(self, sealed: Sealed, fetch: Callable[[str], bytes | None]) -> None:
        self._sealed = sealed
        self._fetch = fetch
        self._known: dict[bytes, tuple[Envelope, tuple[str, ...]]] = {}

    def open(self, id: str, sealed: bytes) -> tuple[Envelope, tuple[str, ...]]:
        """A task as it was submitted, and the blobs that it needs as long as it has not ended.

        Raises
        ------
        ForgedError
            It was not signed by us, or for another id, or its template is not there.
        """
        if not self._sealed.is_call(sealed):
            envelope = self._sealed.open_envelope(id, sealed)
            return envelope, tuple(blobs_of(envelope.task))
        call = self._sealed.open_call(id, sealed)
        template, blobs = self._known.get(call.template) or self._read(call.template)
        task = msgspec.structs.replace(
            template.task, id=id, payload=call.payload, captured=call.captured, group=call.group,
            parent_id=call.parent_id, root_id=call.root_id,
        )  # fmt: skip
        return Envelope(task, template.client, template.notebook, call.at), blobs

    def _read(self, key: bytes) -> tuple[Envelope, tuple[str, ...]]:
        name = name_of(key)
        blob = self._fetch(name)
        if blob is None:
            raise ForgedError(f"a task whose template {name} is not there")
        template = self._sealed.open_template(name, blob)
        if len(self._known) >= _MOST:
            self._known.clear()
        found = self._known[key] = (template, (*blobs_of(template.task), name))
        return found


def name_of(key: bytes) -> str:
    """Of the blob that a template is; no function's blob is called so."""
    return f"t.{key.hex()}"
