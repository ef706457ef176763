"""Workflows that run here instead of being sent: ``signature.apply()``, and all with ``task_always_eager``.

Task by task, in an order in which each one comes after those that it takes from; callbacks right after their
task.  What follows a failure is not run, and ends as it does on workers.
"""

import inspect
from typing import Any

from nbqueue.client import eager
from nbqueue.client.result import AsyncResult
from nbqueue.client.weaving import Call, Loom, Thread
from nbqueue.exceptions import ChordError, TaskRevokedError
from nbqueue.messages import Step
from nbqueue.states import FAILURE, REVOKED, SUCCESS


def run(loom: Loom, thread: Thread, *, throw: bool | None = None) -> Any:
    """Run all that is laid out; returns the result of a thread.  ``throw``: raise what a task raises, see
    ``Task.apply``."""
    __tracebackhide__ = True
    done: dict[str, eager.EagerResult] = {}
    for id, call in loom.calls.items():
        done[id] = _perform(call, done, throw)
    return loom.results(done, thread)


def _perform(call: Call, done: dict[str, eager.EagerResult], throw: bool | None) -> eager.EagerResult:
    __tracebackhide__ = True
    step = call.step
    if step is not None and (ended := _not_run(call, step, done)) is not None:
        return ended
    args = call.args if step is None else (*_taken(call, step, done), *call.args)
    options = {name: value for name, value in call.options.items() if name not in _TIMES}
    options["task_id"] = call.id
    result: eager.EagerResult = call.task.apply(args, call.kwargs, throw=throw, **options)
    return result


#: when there is only now
_TIMES = ("countdown", "eta", "expires")


def _not_run(call: Call, step: Step, done: dict[str, eager.EagerResult]) -> eager.EagerResult | None:
    """How a step ends for the sake of those before it, None if it is to be run: as core.workflow has it."""
    for id in step.after:
        before = done[id]
        state, content = before.record.state, before.record.loaded
        if step.on == FAILURE:
            if state == FAILURE and not _was_handed_down(before):
                continue
        elif state == SUCCESS:
            continue
        if step.on == FAILURE or step.optional or state == REVOKED:
            text = f"not called for: {before.record.name}[{id}] ended in {state}"
            return eager.settled(call.id, call.task.name, REVOKED, TaskRevokedError(text), origin=id)
        origin = before.record.outcome.origin if before.record.outcome is not None else ""
        same = all(_origin(done[other]) == origin for other in step.after)
        if (not isinstance(step.takes, list) and len(step.after) == 1) or (origin and same):
            return eager.settled(call.id, call.task.name, FAILURE, content, origin=origin or id)
        text = f"{before.record.name}[{id}] failed: {type(content).__name__}: {content}"
        return eager.settled(call.id, call.task.name, FAILURE, ChordError(text))
    return None


def _origin(result: AsyncResult[Any]) -> str:
    return result.record.outcome.origin if result.record.outcome is not None else ""


def _was_handed_down(result: AsyncResult[Any]) -> bool:
    return bool(_origin(result))


def _taken(call: Call, step: Step, done: dict[str, eager.EagerResult]) -> tuple[Any, ...]:
    if step.takes is None:
        return ()
    if step.on != FAILURE:
        return (_value(step.takes, [done[id] for id in step.after]),)
    failed = done[step.after[0]]
    told = (failed.request_of_run, failed.record.loaded, failed.traceback or "")
    first = (None,) if call.task.options.bind else ()
    try:
        inspect.signature(call.task.function).bind(*first, *told, *call.args, **call.kwargs)
    except TypeError:
        return (failed.id,)
    except ValueError:  # it has no signature: Celery's newer way
        pass
    return told


def _value(takes: Any, before: list[eager.EagerResult]) -> Any:
    if isinstance(takes, list):
        return [_value(item, before) for item in takes]
    return before[takes].record.loaded
