"""What a call is sent as: a ``messages.Task``, and the blobs that the broker must have before it.

Most of that is the same for all calls of a task that say nothing of their own, and to fill in thirty fields
costs more than all else that a call does.  So it is done once, in a *template*::

    plan, function, options of the call ─▶ template
    template, id, arguments, captured globals, group, parent ─▶ Task
"""

import datetime
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from nbqueue import current
from nbqueue import messages as m
from nbqueue.client.client import Client
from nbqueue.client.ids import new_id
from nbqueue.client.options import CallOptions, seconds_from_now
from nbqueue.client.plan import Plan
from nbqueue.client.weaving import Call
from nbqueue.exceptions import ConnectionLostError
from nbqueue.wire import payload
from nbqueue.wire.payload import Blob, Shipment

#: workers of the local cluster serve the environment that they were started from
_ENV: Final = sys.prefix
#: of a task that workers have to have
_NO_FUNCTION: Final = Shipment(Blob("", b""), b"", None, "")


class Envelope(NamedTuple):
    """A task that can be sent, once these blobs were."""

    task: m.Task
    blobs: tuple[Blob, ...]


class _Template(msgspec.Struct, frozen=True, gc=False):
    """What calls without options of their own have in common, and what it depends on, beside their plan."""

    task: m.Task
    #: each fits into what the broker takes
    blobs: tuple[Blob, ...]
    shipment: Shipment
    origin: str
    limit: int

    def holds(self, shipment: Shipment, client: Client) -> bool:
        """Whether nothing of that has changed."""
        return (
            self.shipment.definition is shipment.definition
            and self.shipment.captured_blob is shipment.captured_blob
            and self.origin == client.origin
            and self.limit == client.max_payload_bytes
        )


class Envelopes:
    """Those of one task, as long as its plan holds."""

    def __init__(self, name: str, plan: Plan) -> None:
        self._name = name
        self._plan = plan
        #: of calls that say nothing of their own
        self._kept: _Template | None = None

    def envelope(
        self,
        client: Client,
        call: CallOptions,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        group: str = "",
        step: Call | None = None,
    ) -> Envelope:
        """A call with these options.

        Raises
        ------
        SerializationError
            An argument, or something that the function uses, cannot be sent.
        ConnectionLostError
            The broker is away, and the call is not to wait for it.
        """
        __tracebackhide__ = True
        if call.get("retry") is False:
            _check_connected(client)
        definer = self._plan.definer
        shipment = _NO_FUNCTION if definer is None else definer.shipment()
        template = self._template(call, shipment, client)
        task = msgspec.structs.replace(
            template.task,
            id=step.id if step is not None else call.get("task_id") or new_id(),
            payload=payload.dumps_arguments(
                args, kwargs, self._name, template.limit, call.get("serializer", "")
            ),
            captured=shipment.captured,
            group=group,
        )
        run = current.run.get()
        if run is not None:
            task = _child_of(run.task, task, inherits=self._plan.inherits_priority and "priority" not in call)
        if step is not None:
            task = _step_of(task, step, self._plan)
        return Envelope(task, template.blobs)

    def _template(self, call: CallOptions, shipment: Shipment, client: Client) -> _Template:
        """What is the same for all calls with these options."""
        is_usual = call is self._plan.call
        kept = self._kept
        if is_usual and kept is not None and kept.holds(shipment, client):
            return kept
        large, limit = shipment.captured_blob, client.max_payload_bytes
        blobs = (shipment.definition,) if large is None else (shipment.definition, large)
        for blob in blobs:
            blob.check(limit)
        task = self._filled_in(call, shipment, client.origin)
        made = _Template(task, blobs if task.definition else (), shipment, client.origin, limit)
        if is_usual and not isinstance(call.get("expires"), datetime.datetime):  # that comes nearer
            self._kept = made
        return made

    def _filled_in(self, call: CallOptions, shipment: Shipment, origin: str) -> m.Task:
        """All but what differs from call to call."""
        plan, definition, large = self._plan, shipment.definition.key, shipment.captured_blob
        said: dict[str, Any] = {**call}
        serializer, expires = said.get("serializer", ""), said.get("expires")
        return m.Task(
            id="",
            name=self._name,
            definition=definition,
            payload=b"",
            captured_key="" if large is None else large.key,
            queue=said.get("queue") or plan.queue,
            priority=said.get("priority", plan.priority),
            python=shipment.python,
            env=_ENV if definition else "",
            countdown=seconds_from_now(said.get("eta", said.get("countdown", 0.0))),
            expires=None if expires is None else seconds_from_now(expires),
            time_limit=said.get("time_limit"),
            soft_time_limit=said.get("soft_time_limit"),
            demand=_demand(said),
            rate=said.get("rate_limit", 0.0),
            ignore_result=said.get("ignore_result", False) or plan.keeps_nothing,
            acks_late=said.get("acks_late", True),
            serializer="" if serializer == "cloudpickle" else serializer,
            result_serializer=plan.result_serializer,
            backend=plan.backend_url,
            origin=origin,
            headers=said.get("headers"),
        )


def _child_of(parent: m.Task, task: m.Task, *, inherits: bool) -> m.Task:
    """The task as one that another submits while it runs."""
    return msgspec.structs.replace(
        task,
        parent_id=parent.id,
        root_id=parent.root_id or parent.id,
        priority=parent.priority if inherits else task.priority,
    )


def _step_of(task: m.Task, step: Call, plan: Plan) -> m.Task:
    """The task as a step of a workflow.  If others take its value there has to be one; ``whole``: with the
    broker, whatever the backend is."""
    if step.taken and (task.ignore_result or step.whole):
        backend = "rpc://" if step.whole or plan.keeps_nothing else task.backend
        return msgspec.structs.replace(task, step=step.step, ignore_result=False, backend=backend)
    return msgspec.structs.replace(task, step=step.step)


def _demand(said: Mapping[str, Any]) -> m.Demand | None:
    tags, resources = list(said.get("tags") or ()), dict(said.get("resources") or {})
    return m.Demand(tags, resources) if tags or resources else None


def _check_connected(client: Client) -> None:
    if not client.connected:
        raise client.trouble or ConnectionLostError(f"the broker at {client.url} is away")
