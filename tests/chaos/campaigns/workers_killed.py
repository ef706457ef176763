"""A: workers are killed, with all their executors, while they work."""

from pathlib import Path
from random import Random
from subprocess import Popen

from tests.chaos.checker import Report, unexplained
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, kill

LETTER = "A"
SHORT = {"tasks": 150, "workers": 2, "kills": 3, "longest": 0.3, "lease": 3.0}
FULL = {"tasks": 10_000, "workers": 8, "kills": 100, "longest": 0.6, "lease": 5.0}
#: of a worker
EXECUTORS = 2


def run(
    folder: Path,
    random: Random,
    *,
    tasks: int,
    workers: int,
    kills: int,
    longest: float,
    lease: float,
    site: type[Cluster] = Cluster,
) -> Report:
    """At moments spread over the whole stream a random worker dies, and another takes its place.  Tasks take
    up to ``longest`` seconds."""
    report = Report(LETTER, f"{kills} SIGKILLs of whole workers, of {workers}")
    calls = [Call("work", [str(folder), random.uniform(0.0, longest)]) for _ in range(tasks)]
    killed: set[int] = set()
    in_flight = 0
    with site(folder, lease=lease) as cluster:
        cluster.start_broker()
        alive = cluster.start_workers(workers, executors=EXECUTORS)
        client = cluster.start_client(calls, window=tasks)
        for number in range(kills):
            started = random.uniform(number, number + 1) / (kills + 1) * tasks
            cluster.wait_for(started, "ledger", timeout=600)
            report.require(len(cluster.seen()) < tasks, f"kill {number} meets work")
            victim = alive.pop(random.randrange(len(alive)))
            killed |= kill(victim)
            in_flight += _busy(cluster, victim)
            alive += cluster.start_workers(1, executors=EXECUTORS)
        cluster.wait(client, timeout=60 + tasks * longest)
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    report.allowed = f"≤ {in_flight} in flight at a kill"
    strange = unexplained(evidence.runs, killed)
    report.require(not strange, f"only what a killed process was running runs again: {strange}")
    report.require(
        report.repeated <= in_flight, f"{report.repeated} repeated, {in_flight} in flight at a kill"
    )
    report.require(report.repeated, "a kill has hit a running task: else nothing was tested")
    return report


def _busy(cluster: Cluster, worker: "Popen[bytes]") -> int:
    """How many executors of a worker that was just killed hold a task, by the broker's books: it cannot know
    yet that they are gone.  Tasks of this length are given out one at a time."""
    known = [seen for seen in cluster.ask("status")["workers"] if seen["pid"] == worker.pid]
    assert known, "the broker is asked before it gives the worker up"
    return sum(child["task"] is not None for child in known[0]["children"])
