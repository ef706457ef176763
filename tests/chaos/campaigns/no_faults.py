"""H: nothing goes wrong, and so nothing runs twice."""

from pathlib import Path
from random import Random

from tests.chaos.checker import Report, repeated
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster

LETTER = "H"
SHORT = {"tasks": 400, "workers": 2}
FULL = {"tasks": 10_000, "workers": 4}


def run(folder: Path, random: Random, *, tasks: int, workers: int, site: type[Cluster] = Cluster) -> Report:
    """Short tasks, which travel in batches, with long ones among them, behind which others are taken back."""
    report = Report(LETTER, f"none; {workers} workers, short and long tasks mixed")
    calls = [_call(folder, random) for _ in range(tasks)]
    with site(folder, lease=10.0) as cluster:
        cluster.start_broker()
        cluster.start_workers(workers, executors=2)
        cluster.wait(cluster.start_client(calls, window=tasks), timeout=60 + tasks * 0.05)
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    again = repeated(evidence.runs)
    report.require(not again, f"nothing runs twice: {again}")
    report.require(len(evidence.runs) >= tasks, "everything runs")
    return report


def _call(folder: Path, random: Random) -> Call:
    seconds = 0.3 if random.random() < 0.01 else 0.0
    return Call("work", [str(folder), seconds])
