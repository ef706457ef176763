"""Speed and size, each figure beside its goal: ``make bench``, or ``make bench BENCH=--json``.

The cluster is a local one of its own with two workers; the time from nothing is measured with others,
one a run.  The task is defined in this script, which is ``__main__``: it travels by value, as a notebook's
function does.  Figures are medians.  CPU time is user and system of all the processes that take part:
this one, the broker, the supervisor and the executors.
"""

import contextlib
import gc
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import psutil
import redis_cluster
from rich.console import Console
from rich.table import Table

import nbqueue

WORKERS = 2
#: Modules that a worker has no use for.
UNWANTED = ("IPython", "ipywidgets", "tornado", "redis")

START = """
import time
began = time.perf_counter()
import nbqueue

@nbqueue.task
def noop(i):
    return i

nbqueue.start(2)
noop.delay(1).get(timeout=60)
print(time.perf_counter() - began)
"""
IMPORT = """
import time
began = time.perf_counter()
import nbqueue
nbqueue.App
print(time.perf_counter() - began)
"""


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    unit: str
    #: None: nothing to reach, but to know when reading the others
    goal: float | None
    runs: Sequence[float]
    #: the goal is a floor, not a ceiling
    at_least: bool = False
    digits: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def reached(self) -> bool:
        if self.goal is None:
            return True
        return self.median >= self.goal if self.at_least else self.median <= self.goal


class Goals(NamedTuple):
    """What a broker is to reach."""

    broker: str
    #: tasks a second, and microseconds of CPU a task
    rate: float
    cpu: float
    #: milliseconds of submit and get
    p50: float

    def figure(
        self,
        name: str,
        unit: str,
        goal: float | None,
        runs: Sequence[float],
        at_least: bool = False,
        digits: int = 0,
    ) -> Figure:
        """One of this broker."""
        return Figure(f"{self.broker}{name}", unit, goal, runs, at_least, digits)


OWN = Goals("", 30_000, 40, 1.0)
REDIS = Goals("Redis: ", 40_000, 35, 0.8)


@nbqueue.task
def noop(i: int) -> int:
    return i


@nbqueue.task
def unwanted_modules(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in sys.modules]


# ── the cluster ──────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def own_cluster() -> Iterator[None]:
    """What is started inside has folders of its own, and ends with the block."""
    folder = tempfile.mkdtemp(prefix="nbq-")
    names = {"NBQUEUE_RUNTIME_DIR": folder, "NBQUEUE_DATA_DIR": os.path.join(folder, "data")}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        command("stop")
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def command(*arguments: str) -> str:
    """What ``nbqueue`` with these arguments prints."""
    return subprocess.run(
        [sys.executable, "-m", "nbqueue", *arguments], capture_output=True, text=True, check=False
    ).stdout


def services() -> list[psutil.Process]:
    """Broker, supervisors and executors."""
    status = json.loads(command("status", "--json"))
    pids = [status["broker"]["pid"]]
    for worker in status["workers"]:
        pids += [worker["pid"], *(child["pid"] for child in worker["children"])]
    return [psutil.Process(pid) for pid in dict.fromkeys(pids)]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def machine_seconds() -> float:
    """CPU time that the whole machine has spent."""
    times = psutil.cpu_times()
    return sum(times[:8]) - times.idle - times.iowait


# ── what is measured ─────────────────────────────────────────────────────────────────────────────


def throughput(processes: Sequence[psutil.Process], count: int, runs: int, goals: Goals) -> Iterator[Figure]:
    """No-ops submitted one by one, then every result fetched; ``processes`` take part."""
    rates, costs, others = [], [], []
    for _ in range(runs):
        with watched(processes) as meter:
            results = [noop.delay(i) for i in range(count)]
            values = [result.get(timeout=120) for result in results]
        assert values == list(range(count))
        rates.append(count / meter.took)
        costs.append(meter.cpu / count * 1e6)
        others.append(meter.others / meter.took * 100)
    yield goals.figure("throughput, submitted one by one", "tasks/s", goals.rate, rates, at_least=True)
    yield goals.figure("CPU of all processes", "µs/task", goals.cpu, costs, digits=1)
    yield goals.figure("… of others on this machine meanwhile", "% of a core", None, others, digits=1)


class Meter:
    """What a run took, in seconds: of the clock, of the CPU, and of the CPU for others."""

    took = cpu = others = 0.0


@contextlib.contextmanager
def watched(processes: Sequence[psutil.Process]) -> Iterator[Meter]:
    """Measure what is done inside, by this process and those."""
    processes, meter = [psutil.Process(), *processes], Meter()
    gc.collect()
    time.sleep(0.5)
    busy, spent, began = machine_seconds(), cpu_seconds(processes), time.perf_counter()
    yield meter
    meter.took, meter.cpu = time.perf_counter() - began, cpu_seconds(processes) - spent
    meter.others = max(0.0, machine_seconds() - busy - meter.cpu)


def by_map(processes: Sequence[psutil.Process], count: int, runs: int, goals: Goals) -> Iterator[Figure]:
    """The same as one map."""
    rates, costs = [], []
    for _ in range(runs):
        with watched(processes) as meter:
            values = noop.map(range(count)).get(timeout=120)
        assert values == list(range(count))
        rates.append(count / meter.took)
        costs.append(meter.cpu / count * 1e6)
    yield goals.figure("throughput, by map", "tasks/s", goals.rate, rates, at_least=True)
    yield goals.figure("CPU of all processes, by map", "µs/task", goals.cpu, costs, digits=1)


def latency(count: int, runs: int, goals: Goals) -> Iterator[Figure]:
    """Submit, then get, one at a time."""
    quantiles = [one_latency_run(count) for _ in range(runs)]
    for name, goal, index in (("p50", goals.p50, 0), ("p95", 3.0, 1), ("p99", 10.0, 2)):
        yield goals.figure(f"submit and get, {name}", "ms", goal, [run[index] for run in quantiles], digits=2)


def workflows(count: int, runs: int) -> Iterator[Figure]:
    """Tasks a second in chords of ten, and in one chain: each of its steps waits for the one before."""
    chords, chains = [], []
    for _ in range(runs):
        began = time.perf_counter()
        sent = [nbqueue.chord([noop.s(i) for i in range(10)], noop.s())() for _ in range(count // 11)]
        for result in sent:
            result.get(timeout=120)
        chords.append(11 * len(sent) / (time.perf_counter() - began))
        steps = max(2, count // 10)
        began = time.perf_counter()
        nbqueue.chain(noop.s(0), *[noop.s() for _ in range(steps - 1)])().get(timeout=120)
        chains.append(steps / (time.perf_counter() - began))
    yield Figure("tasks in chords of ten", "a second", None, chords, at_least=True)
    yield Figure("steps of one chain", "a second", None, chains, at_least=True)


def one_latency_run(count: int) -> tuple[float, float, float]:
    milliseconds = []
    for i in range(count):
        began = time.perf_counter()
        noop.delay(i).get(timeout=60)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    cuts = statistics.quantiles(milliseconds, n=100)
    return cuts[49], cuts[94], cuts[98]


def idle(seconds: float, runs: int) -> Iterator[Figure]:
    """What broker and workers take when there is nothing to do, with a client connected."""
    processes = services()
    shares = []
    for _ in range(runs):
        spent, began = cpu_seconds(processes), time.perf_counter()
        time.sleep(seconds)
        shares.append((cpu_seconds(processes) - spent) / (time.perf_counter() - began) * 100)
    memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    yield Figure(f"idle memory of {len(processes)} processes", "MB PSS", 120, [memory])
    yield Figure("idle CPU of the same", "% of a core", 0.5, shares, digits=2)


def from_nothing(runs: int) -> Iterator[Figure]:
    """A process that imports nbqueue, starts the cluster and has its first result."""
    seconds = []
    for _ in range(runs):
        with own_cluster():
            seconds.append(seconds_printed_by(START))
    yield Figure("from nothing to the first result", "s", 1.5, seconds, digits=2)


def import_time(runs: int) -> Iterator[Figure]:
    seconds = [seconds_printed_by(IMPORT) for _ in range(runs)]
    yield Figure("import nbqueue, and its App", "s", 0.15, seconds, digits=3)


def worker_modules() -> Iterator[Figure]:
    found = unwanted_modules.delay(UNWANTED).get(timeout=60)
    yield Figure(f"{', '.join(UNWANTED)} in a worker", "modules", 0, [len(found)])


def recovery(tasks: int, runs: int) -> Iterator[Figure]:
    """A broker that starts with a million queued tasks in its journal, and makes that small."""
    script = Path(__file__).with_name("recovery.py")
    command = [sys.executable, str(script), "--tasks", str(tasks)]
    found = []
    for _ in range(runs):
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found.append([float(number) for number in printed])
    seconds, turns = zip(*found, strict=True)
    yield Figure(f"start of a broker with {tasks:,} queued tasks", "s", 10, seconds, digits=1)
    yield Figure("longest turn while their journal is made small", "ms", 50, turns)


def seconds_printed_by(script: str) -> float:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(runs: int, count: int, seconds: float) -> Iterator[Figure]:
    yield from import_time(max(runs, 7))
    yield from from_nothing(runs)
    with own_cluster():
        nbqueue.start(WORKERS)
        yield from worker_modules()
        warm_up(count=100)
        yield from idle(seconds, runs)
        warm_up(count=2_000)
        processes = services()
        yield from throughput(processes, count, runs, OWN)
        yield from by_map(processes, count, runs, OWN)
        yield from latency(1_000, runs, OWN)
        yield from workflows(count // 4, runs)
    yield from recovery(1_000_000, min(runs, 3))
    if redis_cluster.available():
        yield from on_redis(runs, count)


def on_redis(runs: int, count: int) -> Iterator[Figure]:
    """The same with Redis as the broker; the server counts among the processes."""
    with own_cluster(), redis_cluster.started(WORKERS) as cluster:
        warm_up(count=2_000)
        processes = cluster.processes
        yield from throughput(processes, count, runs, REDIS)
        yield from by_map(processes, count, runs, REDIS)
        yield from latency(1_000, runs, REDIS)
        cluster.stop_worker()
        yield from queued_memory(cluster, count, runs)


def queued_memory(cluster: redis_cluster.Cluster, count: int, runs: int) -> Iterator[Figure]:
    """What Redis needs for a task that waits, beside its arguments."""
    arguments = len(pickle.dumps(((count,), {})))
    sizes = []
    for _ in range(runs):
        before = cluster.memory()
        for result in [noop.delay(i) for i in range(count)]:
            result.wait_accepted(60)
        sizes.append((cluster.memory() - before) / count - arguments)
    yield Figure("Redis: a queued task, beside its arguments", "bytes", 300, sizes)


def warm_up(count: int) -> None:
    for result in [noop.delay(i) for i in range(count)]:
        result.get(timeout=60)
    time.sleep(2)


# ── showing ──────────────────────────────────────────────────────────────────────────────────────


HEADINGS = ("", "median", "runs", "goal")


def cells(figure: Figure) -> tuple[str, str, str, str]:
    number: Callable[[float], str] = f"{{:,.{figure.digits}f}}".format
    bound = "" if figure.goal is None else f"{'≥' if figure.at_least else '≤'} {figure.goal:,g}"
    low, high = number(min(figure.runs)), number(max(figure.runs))
    return figure.name, f"{number(figure.median)} {figure.unit}", f"{low} to {high}", bound


def table(figures: Sequence[Figure]) -> Table:
    shown = Table(title=title(), title_justify="left")
    for heading in HEADINGS:
        shown.add_column(heading, justify="right" if heading else "left")
    for figure in figures:
        name, median, runs, goal = cells(figure)
        shown.add_row(name, f"[{'green' if figure.reached else 'red'}]{median}[/]", runs, goal)
    return shown


def markdown(figures: Sequence[Figure]) -> str:
    rows = (HEADINGS, ("---", "---:", "---:", "---:"), *map(cells, figures))
    return "\n".join([f"{title()}:\n", *(f"| {' | '.join(row)} |" for row in rows)])


def title() -> str:
    return f"nbqueue {nbqueue.__version__}, {WORKERS} workers, {machine()}"


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as it stands in README.md.")
@click.option("--runs", default=3, show_default=True, help="Runs of each measure.")
@click.option("--tasks", default=30_000, show_default=True, help="Tasks of a throughput run.")
@click.option("--idle", "seconds", default=10.0, show_default=True, help="Seconds of an idle run.")
def main(as_json: bool, as_markdown: bool, runs: int, tasks: int, seconds: float) -> None:
    """Measure speed and size of nbqueue on this machine."""
    figures = list(measure(runs, tasks, seconds))
    if as_json:
        rows = [
            {**figure._asdict(), "median": figure.median, "reached": figure.reached} for figure in figures
        ]
        print(json.dumps({"version": nbqueue.__version__, "machine": machine(), "figures": rows}, indent=2))
    elif as_markdown:
        print(markdown(figures))
    else:
        Console(width=100).print(table(figures))


if __name__ == "__main__":
    main()
