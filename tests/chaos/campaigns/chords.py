"""W: workers and the broker are killed while chords run: each body runs when its last member is done."""

import time
from pathlib import Path
from random import Random
from subprocess import Popen

from nbqueue.states import SUCCESS
from tests.chaos import ledger
from tests.chaos.checker import Report, unexplained
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, kill

LETTER = "W"
SHORT = {"chords": 30, "workers": 2, "worker_kills": 2, "broker_kills": 2, "longest": 0.15, "lease": 3.0}
FULL = {"chords": 1_000, "workers": 4, "worker_kills": 20, "broker_kills": 10, "longest": 0.1, "lease": 5.0}
#: members of a chord, executors of a worker
MEMBERS, EXECUTORS = 10, 2
#: seconds that the broker is away
AWAY = 1.0
#: tasks that the client has under way
WINDOW = 30 * MEMBERS


def run(
    folder: Path,
    random: Random,
    *,
    chords: int,
    workers: int,
    worker_kills: int,
    broker_kills: int,
    longest: float,
    lease: float,
    site: type[Cluster] = Cluster,
) -> Report:
    """Members take up to ``longest`` seconds; kills are spread over the whole stream, in any order."""
    report = Report(LETTER, f"{worker_kills} SIGKILLs of workers, {broker_kills} of the broker; chords")
    calls = [_chord(folder, random, longest) for _ in range(chords)]
    killed: set[int] = set()
    tasks = chords * (MEMBERS + 1)
    victims = ["worker"] * worker_kills + ["broker"] * broker_kills
    random.shuffle(victims)
    # so many may die of one task by chance alone: it is not the task's fault
    with site(folder, lease=lease, max_task_deaths=100, max_worker_losses=100) as cluster:
        broker = cluster.start_broker()
        alive = cluster.start_workers(workers, executors=EXECUTORS)
        client = cluster.start_client(calls, window=WINDOW)
        for number, victim in enumerate(victims):
            started = random.uniform(number, number + 1) / (len(victims) + 1) * tasks
            cluster.wait_for(started, "ledger", timeout=600)
            report.require(len(cluster.seen()) < tasks, f"kill {number} meets work")
            if victim == "broker":
                kill(broker)
                time.sleep(random.uniform(0.0, AWAY))
                broker = cluster.start_broker()
            else:
                killed |= _kill_one(alive, random)
                alive += cluster.start_workers(1, executors=EXECUTORS)
        cluster.wait(client, timeout=120 + tasks * longest)
        evidence = cluster.evidence(timeout=120)
    report.judge(evidence)
    report.require(report.tasks == tasks, f"everything is acknowledged at last: {report.tasks} of {tasks}")
    strange = unexplained(evidence.runs, killed)
    report.require(not strange, f"only what a killed process was running runs again: {strange}")
    failed = [id for id, outcome in evidence.final.items() if outcome.state != SUCCESS]
    report.require(
        not failed, f"all members and bodies end well: {[evidence.final[id] for id in failed[:3]]}"
    )
    bodies = set(ledger.read(folder / "bodies"))
    report.require(len(bodies) == chords, f"{chords} chords have {len(bodies)} bodies")
    report.allowed = "what a killed worker was running"
    report.notes.append(f"{len(bodies):,} bodies of {chords:,} chords")
    return report


def _chord(folder: Path, random: Random, longest: float) -> Call:
    members = [[str(folder), random.uniform(0.0, longest)] for _ in range(MEMBERS)]
    return Call("put_together", [str(folder), MEMBERS], member="work", members=members)


def _kill_one(alive: "list[Popen[bytes]]", random: Random) -> set[int]:
    return kill(alive.pop(random.randrange(len(alive))))
