"""A day's work in an hour: millions of tasks through one broker, whose memory must not grow: ``make soak``.

The cluster is a local one of its own.  Tasks go through it in waves; the client forgets the results of a
wave once it has read them, as a notebook does that deletes what it no longer needs.  Meanwhile the
resident memory of the broker, of the worker's processes and of this one is sampled.  The second quarter
of the samples is compared with the last one, by their medians; in the first quarter caches fill.

``make soak TASKS=10000000`` for ten million; with ``--core`` they go through the broker's core alone, in
virtual time: a quick look whether anything stays in its books.
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import click
import psutil

import nbqueue
from nbqueue import messages as m
from nbqueue.core.actions import Action, Send
from nbqueue.core.broker import BrokerCore, BrokerSettings

sys.path.insert(0, os.path.dirname(__file__))
from bench import noop, own_cluster, services

#: tasks of a wave
WAVE: Final = 20_000
WORKERS: Final = 2
#: that are defined again and again
FUNCTIONS: Final = 1000 * m.MAX_BATCH
#: lines of the table
LINES: Final = 20

#: name of a process → bytes of its resident memory
Sizes = dict[str, int]


class Sample(NamedTuple):
    tasks: int
    seconds: float
    sizes: Sizes


# ── what is measured ─────────────────────────────────────────────────────────────────────────────


def resident(processes: dict[str, psutil.Process]) -> Sizes:
    return {name: process.memory_info().rss for name, process in processes.items()}


class Sampler(threading.Thread):
    """Looks at the processes every ``period`` seconds until :meth:`stop`."""

    def __init__(self, processes: dict[str, psutil.Process], period: float) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        #: tasks done so far
        self.tasks = 0
        self._processes = processes
        self._period = period
        self._began = time.monotonic()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._period):
            self.take()

    def take(self) -> None:
        seconds = time.monotonic() - self._began
        self.samples.append(Sample(self.tasks, seconds, resident(self._processes)))

    def stop(self) -> Sequence[Sample]:
        self._over.set()
        self.join()
        return self.samples


def through_a_cluster(tasks: int, period: float) -> Sequence[Sample]:
    """Samples of a cluster through which so many tasks went."""
    with own_cluster():
        nbqueue.start(WORKERS)
        run_wave(1000)
        sampler = Sampler(named_processes(), period)
        sampler.start()
        while sampler.tasks < tasks:
            run_wave(min(WAVE, tasks - sampler.tasks))
            sampler.tasks += min(WAVE, tasks - sampler.tasks)
        return sampler.stop()


def run_wave(count: int) -> None:
    results = noop.map(range(count))
    assert results.get(timeout=600) == list(range(count))
    results.forget()


def named_processes() -> dict[str, psutil.Process]:
    broker, supervisor, *executors = services()
    named = {"client": psutil.Process(), "broker": broker, "worker": supervisor}
    return named | {f"executor {number}": process for number, process in enumerate(executors)}


def through_the_core(tasks: int, period: float) -> Sequence[Sample]:
    """Samples of this process while the core alone deals with so many tasks."""
    core = BrokerCore(BrokerSettings(), boot=1)
    now = 0.0
    for peer, hello in (
        ("client", m.Hello(m.CLIENT, "client")),
        ("worker", m.Hello(m.WORKER, "worker")),
        ("executor", m.Hello(m.EXECUTOR, "executor", worker="worker", queues=["default"])),
    ):
        core.receive(peer, hello, now)
    sampler = Sampler({"core": psutil.Process()}, period)
    sampler.start()
    while sampler.tasks < tasks:
        now += 0.01
        pass_through(core, sampler.tasks, now)
        sampler.tasks += m.MAX_BATCH
    return sampler.stop()


def pass_through(core: BrokerCore, first: int, now: float) -> None:
    """A batch of tasks, from submission to Forget; the next ones are of other functions."""
    ids = [f"task-{n}" for n in range(first, first + m.MAX_BATCH)]
    key = f"function-{first % FUNCTIONS}"
    core.receive("client", m.Define(key, b"code"), now)
    batch = [m.Task(id, key, key, b"arguments", expires=3600.0, time_limit=3600.0) for id in ids]
    todo: list[Action] = list(core.receive("client", m.Submit(batch), now))
    while todo:
        action = todo.pop()
        if isinstance(action, Send) and isinstance(action.message, m.Assign):
            outcomes = [
                m.Outcome(a.task.id, a.token, "SUCCESS", b"value", runtime=1e-6)
                for a in action.message.assignments
            ]
            todo += core.receive("executor", m.Settle(outcomes), now)
    core.receive("client", m.Forget(ids), now)
    core.receive("worker", m.Heartbeat(["executor"]), now)
    deadline = core.next_deadline()
    if deadline is not None and deadline <= now:
        core.tick(now)


# ── what it says ─────────────────────────────────────────────────────────────────────────────────


def growth(samples: Sequence[Sample]) -> Iterator[tuple[str, int, int]]:
    """Name, median in the second quarter and in the last one."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    for name in samples[0].sizes:
        yield (
            name,
            int(statistics.median(sample.sizes[name] for sample in early)),
            int(statistics.median(sample.sizes[name] for sample in late)),
        )


def show(samples: Sequence[Sample], most: float, say: Callable[[str], object] = print) -> bool:
    """Print the table; True if nothing grew by more than ``most`` percent."""
    names = list(samples[0].sizes)
    say("      tasks  seconds  " + "  ".join(f"{name:>12}" for name in names) + "   (MB resident)")
    for sample in samples[:: max(1, len(samples) // LINES)]:
        cells = "  ".join(f"{sample.sizes[name] / 1e6:12.1f}" for name in names)
        say(f"{sample.tasks:11,}  {sample.seconds:7.0f}  {cells}")
    flat = True
    for name, early, late in growth(samples):
        percent = (late / early - 1) * 100
        flat = flat and percent <= most
        say(f"{name}: {early / 1e6:.1f} MB → {late / 1e6:.1f} MB, {percent:+.1f} %")
    return flat


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True)
@click.option("--period", default=0.0, help="Seconds between two samples; 0: a hundred samples, about.")
@click.option("--most", default=5.0, show_default=True, help="Percent by which a process may grow.")
@click.option("--core", is_flag=True, help="Through the broker's core alone.")
def main(tasks: int, period: float, most: float, core: bool) -> None:
    """Send tasks through a cluster, and fail if its memory grows."""
    run = through_the_core if core else through_a_cluster
    # 250 µs a task through the cluster on two cores, 10 µs through the core
    samples = run(tasks, period or tasks * (1e-5 if core else 1.5e-4) / 100)
    if len(samples) < 8:
        raise click.ClickException(f"only {len(samples)} samples: more --tasks, or a shorter --period")
    if not show(samples, most):
        raise click.ClickException(f"memory grew by more than {most:g} %")


if __name__ == "__main__":
    main()
