"""D: tasks last ten leases; broker and workers are stopped (SIGSTOP) for longer than a lease, and go on."""

import time
from pathlib import Path
from random import Random
from subprocess import Popen

from tests.chaos import ledger
from tests.chaos.checker import Report, repeated, unexplained
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, frozen, tree, until

LETTER = "D"
SHORT = {"lease": 1.0, "workers": 2}
FULL = {"lease": 2.0, "workers": 4}
EXECUTORS = 2
#: in leases: how long tasks take, and how long processes are stopped
TASK, STOP = 10, 3


def run(folder: Path, random: Random, *, lease: float, workers: int, site: type[Cluster] = Cluster) -> Report:
    """Every executor runs one task.  The broker is stopped, then a worker but briefly, then one for so long
    that it is given up: what it ran runs again elsewhere, and what it says when it wakes is refused."""
    report = Report(
        LETTER, f"SIGSTOP of the broker and of a worker, {STOP} leases each; tasks of {TASK} leases"
    )
    kinds = ["hold_gil"] + ["long_work"] * (workers * EXECUTORS - 1)
    calls = [Call(kind, [str(folder), TASK * lease]) for kind in kinds]
    with site(folder, heartbeat=lease / 5, lease=lease) as cluster:
        broker = cluster.start_broker()
        alive = cluster.start_workers(workers, executors=EXECUTORS)
        client = cluster.start_client(calls)
        cluster.wait_for(len(calls), "ledger", timeout=60)
        time.sleep(random.uniform(0.5, 1.0) * lease)
        with frozen(tree(broker)):
            time.sleep(STOP * lease)
        time.sleep(lease)
        brief, long = random.sample(alive, 2)
        with frozen(tree(brief)):
            time.sleep(lease / 3)
        given_up = _held_by(cluster, long)
        with frozen(tree(long)):
            time.sleep(STOP * lease)
        cluster.wait(client, timeout=60 + 3 * TASK * lease)
        until(lambda: len(_ended(cluster)) == len(cluster.runs()), 30, "the runs that were given up end too")
        time.sleep(lease)  # their outcomes are on the way
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    report.allowed = f"{EXECUTORS} of the worker that was given up"
    again = repeated(evidence.runs)
    strange = unexplained(evidence.runs, given_up)
    report.require(not strange, f"only what was given up runs again: {strange}")
    report.require(len(again) == EXECUTORS, f"what was given up runs again, once: {again}")
    stale = [run for run in _stale(cluster) if evidence.final[run.id].attempt > run.attempt]
    report.notes.append(f"{len(stale)} stale outcomes refused")
    report.require(len(stale) == EXECUTORS, f"stale outcomes came, and were refused: {stale}")
    return report


def _held_by(cluster: Cluster, worker: "Popen[bytes]") -> set[int]:
    return {one.pid for one in tree(worker)}


def _ended(cluster: Cluster) -> list[ledger.Run]:
    return ledger.read_runs(cluster.folder / "ended")


def _stale(cluster: Cluster) -> list[ledger.Run]:
    """Runs that came to their end before the task's last attempt did."""
    ended = _ended(cluster)
    last = {run.id: run.attempt for run in sorted(cluster.runs(), key=lambda run: run.attempt)}
    return [run for run in ended if run.attempt < last[run.id]]
