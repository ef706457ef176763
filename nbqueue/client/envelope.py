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


class _Source(NamedTuple):
    """What a template depends on, beside the plan and the options of a call."""

    definition: Blob
    captured: Blob | None
    origin: str


class Envelopes:
    """Those of one task, as long as its plan holds."""

    def __init__(self, name: str, plan: Plan) -> None:
        self._name = name
        self._plan = plan
        #: of calls that say nothing of their own, with what it was made from: one value, for any thread
        self._kept: tuple[_Source, m.Task] | None = None

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
        plan, limit = self._plan, client.max_payload_bytes
        shipment = _NO_FUNCTION if plan.definer is None else plan.definer.shipment()
        blobs = _blobs(shipment, limit)
        source = _Source(shipment.definition, shipment.captured_blob, client.origin)
        template = self._template(call, source, shipment.python)
        run = current.run.get()
        parent = run.task if run is not None else None
        priority = template.priority
        if parent is not None and plan.inherits_priority and "priority" not in call:
            priority = parent.priority
        task = msgspec.structs.replace(
            template,
            id=step.id if step is not None else call.get("task_id") or new_id(),
            payload=payload.dumps_arguments(args, kwargs, self._name, limit, call.get("serializer", "")),
            captured=shipment.captured,
            priority=priority,
            group=group,
            parent_id=parent.id if parent is not None else "",
            root_id=(parent.root_id or parent.id) if parent is not None else "",
        )
        return Envelope(task if step is None else _step_of(task, step, plan), blobs)

    def _template(self, call: CallOptions, source: _Source, python: str) -> m.Task:
        if call is not self._plan.call:
            return self._filled_in(call, source, python)
        kept = self._kept
        if kept is not None and kept[0] == source:
            return kept[1]
        template = self._filled_in(call, source, python)
        if not isinstance(call.get("expires"), datetime.datetime):  # until then it is less each time
            self._kept = (source, template)
        return template

    def _filled_in(self, call: CallOptions, source: _Source, python: str) -> m.Task:
        """All but what differs from call to call."""
        plan, definition = self._plan, source.definition.key
        said: dict[str, Any] = {**call}
        serializer, expires = said.get("serializer", ""), said.get("expires")
        return m.Task(
            id="",
            name=self._name,
            definition=definition,
            payload=b"",
            captured_key=source.captured.key if source.captured is not None else "",
            queue=said.get("queue") or plan.queue,
            priority=said.get("priority", plan.priority),
            python=python,
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
            origin=source.origin,
            headers=said.get("headers"),
        )


def _blobs(shipment: Shipment, limit: int) -> tuple[Blob, ...]:
    """What the broker must have of the function; each fits."""
    if shipment is _NO_FUNCTION:
        return ()
    large = shipment.captured_blob
    blobs = (shipment.definition,) if large is None else (shipment.definition, large)
    for blob in blobs:
        blob.check(limit)
    return blobs


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
