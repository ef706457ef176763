"""J: the broker is killed around the firings of periodic tasks."""

import time
from datetime import datetime
from pathlib import Path
from random import Random

from nbqueue import App
from tests.chaos import workload
from tests.chaos.checker import Report, repetitions
from tests.chaos.cluster import Cluster, kill, until
from tests.chaos.ledger import Run

LETTER = "J"
SHORT = {"kills": 3}
FULL = {"kills": 30}
#: seconds between firings, and what is made up for, by name
ENTRIES = {"each": (0.25, "all"), "last": (0.2, "once"), "none": (0.15, "skip")}
#: seconds that the broker runs between two kills, and that it is away, at the most
RUNS, AWAY = 1.5, 1.0
#: seconds by which this process may be late in noting when the broker was killed or was back
BLUR = 0.1


def run(folder: Path, random: Random, *, kills: int) -> Report:
    """Every firing takes place once, those for which no broker was there as their entries say."""
    report = Report(LETTER, f"{kills} SIGKILLs of the broker, around firings of periodic tasks")
    absences: list[tuple[float, float]] = []
    with Cluster(folder) as cluster:
        broker = cluster.start_broker()
        cluster.start_workers(2, executors=2)
        app = App("chaos", broker=cluster.url, set_as_current=False)
        _schedule(app, folder)
        for _ in range(kills):
            time.sleep(random.uniform(0.3, RUNS))
            before = len(cluster.runs())
            gone = time.time()
            kill(broker)
            time.sleep(random.uniform(0.0, AWAY))
            broker = cluster.start_broker()
            absences.append((gone, time.time()))
            cluster.wait_for(before + 3, "ledger", timeout=30)
        until(lambda: app.client.connected, 30, "the client is connected again")
        handled = {entry.name: entry.last for entry in app.periodic_tasks()}
        app.conf.beat_schedule = {}
        app.beat()
        ids = [run.id for run in cluster.runs()]
        until(lambda: all(last and last.ready() for last in handled.values()), 30, "the last firings end")
        final = cluster.outcomes(sorted(set(ids)), timeout=30)
        runs = cluster.runs()
        app.close()
    report.tasks = len({run.id for run in runs})
    report.repeated = repetitions(runs)
    report.require(report.repeated == 0, f"no firing is run twice: {len(runs)} runs of {report.tasks}")
    bad = [id for id, outcome in final.items() if outcome.state != "SUCCESS"]
    report.require(not bad, f"every firing that was run succeeds: {bad[:5]}")
    missing = {name: _missing(name, runs_of(runs, name), absences) for name in ENTRIES}
    report.require(not any(missing.values()), f"none is lost but those that may be: {missing}")
    made_up = sum(_in(at, absences) for at in runs_of(runs, "each"))
    report.require(made_up, "firings that were missed are made up for where all are to be")
    report.notes.append(f"{made_up} made up for")
    return report


def _schedule(app: App, folder: Path) -> None:
    workload.register(app)
    app.conf.beat_schedule = {
        name: {"task": "work", "schedule": every, "args": (str(folder), 0.0), "missed": missed}
        for name, (every, missed) in ENTRIES.items()
    }
    app.beat()


def runs_of(runs: list[Run], name: str) -> list[float]:
    """When the firings of an entry were due that have been run, in Unix time."""
    stamps = (run.id.partition(f"/{name}:")[2] for run in runs)
    return sorted({datetime.fromisoformat(stamp).timestamp() for stamp in stamps if stamp})


def _missing(name: str, fired: list[float], absences: list[tuple[float, float]]) -> list[float]:
    """Firings between the first and the last that have not been run, and should have been."""
    every, missed = ENTRIES[name]
    steps = range(round((fired[-1] - fired[0]) / every))
    times = [fired[0] + step * every for step in steps]
    left_out = [at for at in times if min(abs(at - other) for other in fired) > every / 2]
    return left_out if missed == "all" else [at for at in left_out if not _in(at, absences)]


def _in(at: float, absences: list[tuple[float, float]]) -> bool:
    return any(gone - BLUR <= at <= back + BLUR for gone, back in absences)
