"""Steps of workflows: what scripts cannot decide of them, since it is decided by the core, and signed.

::

    a task ends ─ settle.lua, change.lua ─▶ counts off ─▶ 0 left: the step lines up, by the same script
                                       └──▶ it ended otherwise: a timer, and the id for whoever called
                                                                    │
                   ends as core.workflow says ◀── look_at ◀─────────┴── attend, or some link's chores

So nothing waits for a process that may die: what only has to be counted is moved by the script that keeps the
outcome, and what has to be decided is decided by somebody else a second later if whoever called is gone.  One
end may cause ten thousand others: they are dealt with a few at a time.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final

from nbqueue import messages as m
from nbqueue.core import lifecycle, verdicts
from nbqueue.core.records import DONE, LEASED, WAITING, Record
from nbqueue.core.workflow import consequence
from nbqueue.states import FAILURE
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.moves import Move, decide, interruption, kill_timer, killing

#: steps that are looked at in one turn
_A_FEW: Final = 64


def attend(desk: Desk) -> None:
    """Look at some of the steps of which scripts have said that somebody has to."""
    for _ in range(min(_A_FEW, len(desk.to_look))):
        look_at(desk, desk.to_look.popleft())


def look_at(desk: Desk, id: str) -> bool:
    """Deal with a step of which one before it has ended: end it, if that is what follows.  False if there is
    none that waits."""
    return decide(desk, id, None, partial(_decision, desk, ahead=True))


def _decision(desk: Desk, move: Move, *, ahead: bool) -> bool | None:
    step = move.record
    if step.place != WAITING:
        return None
    bad = move.turn.bad if move.turn is not None else ""
    before = [bad] if bad in step.predecessors else list(dict.fromkeys(step.predecessors))
    found = _records(desk, before)
    if unknown := next((id for id in before if id not in found), ""):
        return move.end(_never(step, unknown), release=False)
    for record in list(found.values()):
        if record.place != DONE:
            continue
        if ahead and not step.by and record.outcome is not None and record.outcome.origin:
            _let_others_end(desk, step)
            found |= _records(desk, step.predecessors)
        outcome = consequence(step, record, found, desk.now)
        if outcome is not None:
            return move.settle(outcome, release=False)
    desk.run("confirm", step.task.id)
    return True


def _let_others_end(desk: Desk, step: Record) -> None:
    """Of those before it, some may have to end for the same task: whether all do makes a difference to how it
    ends itself."""
    if len(step.predecessors) > 1:
        for id in step.predecessors:
            decide(desk, id, None, partial(_decision, desk, ahead=False))


def _records(desk: Desk, ids: Iterable[str]) -> dict[str, Record]:
    return {id: found.record for id, found in desk.look(list(ids)) if found is not None}


def _never(step: Record, unknown: str) -> verdicts.Ending:
    if step.by:
        text = f"it was replaced by task {step.by}, of which there is no record, or which waits for it"
    else:
        text = f"it waits for task {unknown}, of which there is no record: it expired or was forgotten"
    return verdicts.Ending(FAILURE, "ResultNotFoundError", text)


# ── replaced and revoked ─────────────────────────────────────────────────────────────────────────


def replace(desk: Desk, message: m.Replaced) -> bool:
    """A run ended, and the task is to end as another one will."""
    return decide(desk, message.id, message.token, partial(_replacement, desk, message.by))


def _replacement(desk: Desk, by: str, move: Move) -> bool:
    record = move.record
    if record.revoked:
        cancel(desk, by, terminate=False)
        return move.end(verdicts.CANCELLED, release=True)
    other = _records(desk, [by]).get(by)
    if other is None or record.task.id in (by, *other.predecessors):
        record.by = by
        return move.end(_never(record, by), release=True)
    record.forget_run()
    record.state = lifecycle.follow(record.state, lifecycle.REPLACE, record)
    record.place = WAITING
    return move.replace(by)


def cancel(desk: Desk, id: str, *, terminate: bool, at_once: bool = False) -> None:
    """What waits never runs; what runs is interrupted if ``terminate``, else left to end; ``at_once``: its
    process is killed without time to clean up.  Of one that was replaced, the last of those by which it was,
    too; the others end as that one does."""
    replaced: list[str] = []
    decide(desk, id, None, partial(_cancel, desk, replaced, terminate=terminate, at_once=at_once))
    seen = {id}
    while replaced and replaced[-1] not in seen:
        last = replaced.pop()
        seen.add(last)
        record = _records(desk, [last]).get(last)
        if record is not None and record.by and record.place != DONE:
            replaced.append(record.by)
        else:
            decide(desk, last, None, partial(_cancel, desk, [], terminate=terminate))


def _cancel(
    desk: Desk, replaced: list[str], move: Move, *, terminate: bool, at_once: bool = False
) -> bool | None:
    record = move.record
    if record.place != LEASED:
        if record.by:
            replaced.append(record.by)
        return move.end(verdicts.CANCELLED, release=False)
    if terminate:
        timer = (desk.now + desk.settings.cancel_grace, kill_timer(move))
        orders = interruption(move, "cancel")
        if at_once:
            orders.append(killing(move.executor, move.token))
        return move.end(verdicts.CANCELLED, release=False, timers=[timer], orders=orders)
    record.revoked = True
    return move.stay(orders=[(f"k:{move.executor}", m.Drop([move.token]))])
