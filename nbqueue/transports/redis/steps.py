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
from nbqueue.core.workflow import consequence, depends_on_others
from nbqueue.states import FAILURE
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.moves import Move, decide, interruption, kill_timer, killing

#: steps that wait which are looked at to see what becomes of one
_FAR: Final = 1000
#: steps that are looked at in one turn
_A_FEW: Final = 64


def attend(desk: Desk) -> None:
    """Look at some of the steps of which scripts have said that somebody has to."""
    for _ in range(min(_A_FEW, len(desk.to_look))):
        look_at(desk, desk.to_look.popleft())


def look_at(desk: Desk, id: str) -> bool:
    """Deal with a step of which one before it has ended: end it, if that is what follows.  False if there is
    none that waits."""
    if decide(desk, id, None, partial(_decision, desk, ahead=True)):
        return True
    record = _records(desk, [id]).get(id)
    return record is not None and record.place == WAITING


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
        outcome = consequence(step, record, found, desk.now)
        if outcome is None:
            continue
        if record.outcome is not None and record.outcome.origin and len(step.predecessors) > 1:
            found |= _records(desk, step.predecessors)
            if ahead and depends_on_others(step, record, found):
                _let_others_end(desk, step)
                found |= _records(desk, step.predecessors)
            outcome = consequence(step, record, found, desk.now) or outcome
        return move.settle(outcome, release=False)
    return bool(desk.run("confirm", step.task.id)) or None


def _let_others_end(desk: Desk, step: Record) -> None:
    """Of those before a step, and before these, some may be about to end for the same task: it waits for
    what follows from that."""
    seen: dict[str, None] = {}
    level = list(step.predecessors)
    while level and len(seen) < _FAR:
        waiting = [each for each in _records(desk, level).values() if each.place == WAITING]
        seen |= dict.fromkeys(each.task.id for each in waiting)
        level = [id for each in waiting for id in each.predecessors if id not in seen]
    decision = partial(_decision, desk, ahead=False)
    ended = True
    while ended:
        left = [id for id in reversed(seen) if not decide(desk, id, None, decision)]
        ended = len(left) < len(seen)
        seen = dict.fromkeys(reversed(left))


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
