"""Executors and workers that are gone: what they held goes back, and whatever died of its task is charged."""

from nbqueue import messages as m
from nbqueue.core import verdicts
from nbqueue.core.deaths import manner_of_death
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.moves import Move, decide, put_back


def seat(worker: str, executor: str) -> str:
    """How an executor is named in Redis: so that its worker can be told of it."""
    return f"{worker}/{executor}"


def held(desk: Desk, executor: str) -> dict[int, str]:
    """Token → task id, "" for a lease that is void."""
    return tokens(desk.command(b"HGETALL", f"held:{executor}"))


def tokens(reply: object) -> dict[int, str]:
    """The same, from what a script returned."""
    if isinstance(reply, dict):
        return {int(token): id.decode(errors="surrogateescape") for token, id in reply.items()}
    assert isinstance(reply, list)
    return {int(reply[i]): reply[i + 1].decode(errors="surrogateescape") for i in range(0, len(reply), 2)}


def give_back(desk: Desk, executor: str, token: int, id: str, *, last: bool = False) -> None:
    """An executor does not have this lease any more, and never started it; or the task itself wants to be run
    after the ``last`` of those that wait."""
    done = bool(id) and decide(desk, id, token, lambda move: put_back(move, "", desk.now, last=last))
    if not done:
        desk.command(b"HDEL", f"held:{executor}", str(token))


def died(desk: Desk, worker: str, death: m.ExecutorLost) -> None:
    """An executor died; what was running is charged for it, the others go back."""
    executor = seat(worker, death.executor)
    leases = held(desk, executor)
    if death.token and not death.others:
        _spare(desk, worker, executor, death.token, leases)
    for token in (death.token, *death.others):
        if id := leases.get(token, ""):
            decide(desk, id, token, lambda move: _charge(desk, move, death))
    abandoned(desk, worker, executor, manner_of_death(death), charge=False)


def _spare(desk: Desk, worker: str, executor: str, token: int, leases: dict[int, str]) -> None:
    """It had not come to those after the one that it ran: even a task that must not be started twice may go
    to another.  Of an executor that runs several at once nobody can tell."""
    hello = desk.command(b"HGET", f"executors:{worker}", executor)
    if hello is None or desk.sealed.open_hello(hello).slots > 1:
        return

    def decision(move: Move) -> bool | None:
        return None if move.record.task.acks_late else put_back(move, "", desk.now)

    for untouched in sorted((t for t, id in leases.items() if t > token and id), reverse=True):
        decide(desk, leases[untouched], untouched, decision)


def _charge(desk: Desk, move: Move, death: m.ExecutorLost) -> bool:
    ending = verdicts.died(move.record, death, desk.settings.max_task_deaths)
    if ending is not None:
        return move.end(ending, release=True)
    return put_back(move, manner_of_death(death), desk.now)


def abandoned(desk: Desk, worker: str, executor: str, reason: str, *, charge: bool) -> None:
    """An executor is gone with all that it held; ``charge`` the task that was running for it."""

    def decision(move: Move) -> bool:
        ending = verdicts.lost(move.record, reason, desk.settings.max_worker_losses, charge=charge)
        if ending is not None:
            return move.end(ending, release=True)
        return put_back(move, reason, desk.now)

    for token, id in sorted(held(desk, executor).items(), reverse=True):
        if not id or not decide(desk, id, token, decision):
            desk.command(b"HDEL", f"held:{executor}", str(token))
    desk.run("leave", worker, executor, *_lanes(desk))


def worker_gone(desk: Desk, worker: str, reason: str, *, charge: bool) -> None:
    """A worker left, or was not heard of for a lease."""
    for executor in desk.command(b"HKEYS", f"executors:{worker}"):
        abandoned(desk, worker, executor.decode(errors="surrogateescape"), reason, charge=charge)
    desk.run("leave", worker, "")


def _lanes(desk: Desk) -> list[bytes]:
    lanes: list[bytes] = desk.command(b"HKEYS", "lanes")
    return lanes
