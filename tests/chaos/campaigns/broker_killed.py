"""B: the broker is killed and started again, while clients submit and workers work."""

import time
from pathlib import Path
from random import Random

from tests.chaos.checker import Report, unexplained
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, kill

LETTER = "B"
SHORT = {"tasks": 300, "kills": 3}
FULL = {"tasks": 5_000, "kills": 20}
CLIENTS, WORKERS, EXECUTORS = 2, 2, 2
#: seconds that a task takes at the most, and that the broker is away
LONGEST, AWAY = 0.1, 1.0
#: how often the next broker is killed as well, before or just after it listens
AGAIN = 0.3
#: tasks that a client has under way: far fewer than all, so that it submits to the end
WINDOW = 50


def run(folder: Path, random: Random, *, tasks: int, kills: int, site: type[Cluster] = Cluster) -> Report:
    """Workers and clients live on, find the next broker, and go on."""
    report = Report(LETTER, f"{kills} SIGKILLs of the broker, and restarts")
    calls = [Call("work", [str(folder), random.uniform(0.0, LONGEST)]) for _ in range(tasks)]
    early = 0
    with site(folder) as cluster:
        broker = cluster.start_broker()
        workers = cluster.start_workers(WORKERS, executors=EXECUTORS)
        clients = [cluster.start_client(calls[n::CLIENTS], window=WINDOW) for n in range(CLIENTS)]
        for number in range(kills):
            done = random.uniform(number, number + 1) / (kills + 1) * tasks
            cluster.wait_for(done, "seen", timeout=90)
            report.require(len(cluster.seen()) < tasks, f"kill {number} meets work")
            kill(broker)
            if random.random() < AGAIN:
                broker = cluster.launch_broker()
                time.sleep(random.uniform(0.0, AWAY))
                kill(broker)
                early += 1
            time.sleep(random.uniform(0.0, AWAY))
            broker = cluster.start_broker()
        for client in clients:
            cluster.wait(client, timeout=60 + tasks * LONGEST)
        evidence = cluster.evidence(timeout=60)
        report.require(all(worker.poll() is None for worker in workers), "the workers live on")
    report.judge(evidence)
    report.notes.append(f"{early} more while it started")
    report.require(report.tasks == tasks, f"everything is acknowledged at last: {report.tasks}")
    strange = unexplained(evidence.runs, given_up=())
    report.require(not strange, f"what runs on a worker that lives does not run again: {strange}")
    return report
