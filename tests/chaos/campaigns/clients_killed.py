"""C: clients are killed while they submit; their tasks are not."""

import time
from pathlib import Path
from random import Random

from tests.chaos.checker import Report, repeated
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, kill

LETTER = "C"
SHORT = {"kills": 4}
FULL = {"kills": 50}
#: tasks of a client, which it submits a few at a time; it is killed long before the last
TASKS, WINDOW = 10_000, 20
#: seconds that a task takes at the most, and that a client lives on after its first acknowledgement
LONGEST, LIFE = 0.05, 1.0


def run(folder: Path, random: Random, *, kills: int, site: type[Cluster] = Cluster) -> Report:
    """One client after the other; each is killed after the first of its tasks was acknowledged."""
    report = Report(LETTER, f"{kills} SIGKILLs of clients")
    calls = [Call("work", [str(folder), random.uniform(0.0, LONGEST)]) for _ in range(TASKS)]
    with site(folder) as cluster:
        cluster.start_broker()
        cluster.start_workers(2, executors=2)
        for _ in range(kills):
            before = len(cluster.acknowledged())
            client = cluster.start_client(calls, window=WINDOW)
            cluster.wait_for(before + 1, "acknowledged", timeout=60)
            time.sleep(random.uniform(0.0, LIFE))
            assert client.poll() is None, "the client is at work"
            kill(client)
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    found = sum(outcome.state == "SUCCESS" for outcome in evidence.final.values())
    report.notes.append(f"{found / max(1, report.tasks):.0%} of results by id afterwards")
    report.require(found == report.tasks, f"every result is there: {found} of {report.tasks}")
    again = repeated(evidence.runs)
    report.require(not again, f"nothing runs twice: {again}")
    return report
