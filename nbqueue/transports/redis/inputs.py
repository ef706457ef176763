"""What steps take from those before them, on its way from Redis to their executor: see ``core.inputs``.

What is small is read before the step is assigned, together with the call that an errback is to be told of; of
the rest the executor asks for portions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from nbqueue import messages as m
from nbqueue.core import inputs
from nbqueue.states import FAILURE
from nbqueue.transports.redis.desk import Desk

#: results that are asked for in one call
_MOST: Final = 4096


def assign(desk: Desk, made: list[m.Assignment], then: Callable[[], object]) -> None:
    """Put into assignments, all together, what their steps take from others, and then go on."""
    steps = [i for i, one in enumerate(made) if one.task.step is not None and _takes_now(one.task)]
    if not steps:
        then()
        return
    for i in steps:
        task = made[i].task
        assert task.step is not None
        after = task.step.after if _may_come_along(task) else []
        on_reply = partial(_add, desk, made, i, then if i == steps[-1] else None)
        desk.tell("inputs", inputs.MAX_ALONG, _about(task), *after, then=on_reply)


def _takes_now(task: m.Task) -> bool:
    return bool(_about(task)) or _may_come_along(task)


def _may_come_along(task: m.Task) -> bool:
    step = task.step
    if step is None or step.takes is None:
        return False
    return len(step.after) * inputs.OUTCOME_BYTES <= inputs.MAX_ALONG


def _about(task: m.Task) -> str:
    """Whose failure a step is about, "" if it is about none."""
    step = task.step
    if step is None or step.on != FAILURE or step.takes is None or not step.after:
        return ""
    return step.after[0]


def _add(
    desk: Desk,
    made: list[m.Assignment],
    i: int,
    then: Callable[[], object] | None,
    reply: Any,
) -> None:
    if not isinstance(reply, list):
        raise desk.fault(reply)
    plain = made[i]
    step = plain.task.step
    assert step is not None
    envelope, results = reply
    along = _outcomes(desk, step.after, results)
    if len(along) < len(step.after) or sum(map(inputs.size_of, along)) > inputs.MAX_ALONG:
        along = []
    about = desk.read(step.after[0], envelope, None) if envelope else None
    if about is None and results and _about(plain.task):  # with what it was called nobody knows any more
        about = desk.ended(step.after[0], results[0])
    failed = about.record.task if about is not None else None
    made[i] = m.Assignment(
        plain.task, plain.token, plain.retries, plain.attempt, along, at=plain.at, about=failed
    )
    if then is not None:
        then()


def _outcomes(desk: Desk, ids: Sequence[str], results: Sequence[bytes]) -> list[m.Outcome]:
    """Those of the first tasks, up to one that is not ours."""
    outcomes: list[m.Outcome] = []
    for id, result in zip(ids, results, strict=False):
        found = desk.ended(id, result)
        if found is None or found.record.outcome is None:
            break
        outcomes.append(found.record.outcome)
    return outcomes


def portion(desk: Desk, key: str, step: m.Step | None, start: int) -> None:
    """An executor asks for what a step takes, from that number on; answered by Define."""
    after = step.after[start : start + _MOST] if step is not None else []
    if not after:
        desk.deliver(m.Define(key, b""))
        return
    desk.tell("inputs", inputs.PORTION_BYTES, "", *after, then=partial(_define, desk, key, after))


def _define(desk: Desk, key: str, after: Sequence[str], reply: Any) -> None:
    if not isinstance(reply, list):
        raise desk.fault(reply)
    desk.deliver(m.Define(key, inputs.pack(_outcomes(desk, after, reply[1]))))
