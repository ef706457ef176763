"""What a campaign has to show, found by comparing three accounts: what clients were promised, what ran,
and which outcomes were seen.

    at-least-once execution, exactly one accepted outcome

Pure functions of plain values: ``test_checker`` hands them broken histories and sees that they notice.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nbqueue.states import SUCCESS
from tests.chaos.ledger import Run
from tests.chaos.outcomes import MISSING, UNFINISHED, Outcome


class Evidence(NamedTuple):
    """The three accounts."""

    acknowledged: Collection[str]
    #: in the order in which they started
    runs: Collection[Run]
    #: what clients saw at the time, in any order
    seen: Collection[tuple[str, Outcome]]
    #: what the broker says of every acknowledged id in the end, to somebody who knows nothing but the id
    final: Mapping[str, Outcome]


def lost(evidence: Evidence) -> list[str]:
    """Tasks that were acknowledged, and have no outcome."""
    absent = Outcome(MISSING)
    return [
        id for id in evidence.acknowledged if evidence.final.get(id, absent).state in (MISSING, UNFINISHED)
    ]


def conflicting(evidence: Evidence) -> list[str]:
    """Tasks of which two outcomes were seen."""
    outcomes: dict[str, set[Outcome]] = {}
    for id, outcome in (*evidence.seen, *evidence.final.items()):
        if outcome.state != UNFINISHED:
            outcomes.setdefault(id, set()).add(outcome)
    return [id for id, different in outcomes.items() if len(different) > 1]


def baseless(evidence: Evidence) -> list[str]:
    """Successes that no run in the ledger stands behind, or another one than the last attempt: what a
    worker says that had been given up is refused."""
    by_id = _by_id(evidence.runs)
    return [
        id
        for id, outcome in evidence.final.items()
        if outcome.state == SUCCESS and Run(id, outcome.attempt, outcome.pid) not in _last(by_id.get(id, []))
    ]


def repeated(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Tasks that were started more than once, with their runs by attempt."""
    return {id: sorted(of, key=lambda run: run.attempt) for id, of in _by_id(runs).items() if len(of) > 1}


def repetitions(runs: Iterable[Run]) -> int:
    """How many runs there were beyond the first of each task."""
    return sum(len(of) - 1 for of in repeated(runs).values())


def unexplained(runs: Iterable[Run], given_up: Collection[int]) -> list[str]:
    """Tasks that ran again although nothing had happened to the process (by pid) that ran them before, or
    twice under one lease."""
    return [
        id
        for id, of in repeated(runs).items()
        if any(run.pid not in given_up for run in of[:-1]) or len({run.attempt for run in of}) < len(of)
    ]


def _by_id(runs: Iterable[Run]) -> dict[str, list[Run]]:
    by_id: dict[str, list[Run]] = {}
    for run in runs:
        by_id.setdefault(run.id, []).append(run)
    return by_id


def _last(runs: list[Run]) -> list[Run]:
    """Those of the highest attempt."""
    highest = max((run.attempt for run in runs), default=0)
    return [run for run in runs if run.attempt == highest]


@dataclass
class Report:
    """What a campaign did and found: one row of the table."""

    letter: str
    #: what was done to the cluster
    faults: str
    tasks: int = 0
    lost: int = 0
    conflicting: int = 0
    #: runs beyond the first of a task
    repeated: int = 0
    #: what repetitions there may be
    allowed: str = "0"
    #: other figures
    notes: list[str] = field(default_factory=list)
    #: claims that do not hold
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def require(self, holds: object, claim: str) -> None:
        """Put a claim down as broken unless it holds."""
        if not holds:
            self.broken.append(claim)

    def judge(self, evidence: Evidence) -> None:
        """Fill in the figures that every campaign has, and require what holds for all of them."""
        self.tasks = len(evidence.acknowledged)
        self.repeated = repetitions(evidence.runs)
        gone, torn, false = lost(evidence), conflicting(evidence), baseless(evidence)
        self.lost, self.conflicting = len(gone), len(torn)
        self.require(self.tasks, "tasks were acknowledged")
        self.require(not gone, f"nothing acknowledged is lost: {_some(gone, evidence)}")
        self.require(not torn, f"one outcome a task: {_some(torn, evidence)}")
        self.require(not false, f"accepted outcomes are of the last attempt: {_some(false, evidence)}")


def _some(ids: list[str], evidence: Evidence) -> str:
    """The stories of the first few."""
    stories = [
        f"{id}: runs {[tuple(run[1:]) for run in evidence.runs if run.id == id]},"
        f" seen {[outcome.line for seen, outcome in evidence.seen if seen == id]},"
        f" in the end {evidence.final[id].line if id in evidence.final else 'not asked for'}"
        for id in ids[:3]
    ]
    return f"{len(ids)} of them; " + "; ".join(stories)
