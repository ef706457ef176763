"""F: tasks that kill their process, among others that do not."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil

from tests.chaos.checker import Evidence, Report, repeated
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster

LETTER = "F"
SHORT = {"good": 100, "each": 1}
FULL = {"good": 1_000, "each": 5}
#: how a task kills its process, and what its error has to say
MANNERS = {
    "segfault": "signal 11 (SIGSEGV",
    "exit": "exit code 3",
    "kill": "signal 9 (SIGKILL",
    "memory": "signal 9 (SIGKILL",
}
DEATHS = 3
#: bytes past which a process is killed, as the kernel does when memory is short
TOO_MUCH = 300 * 2**20


def run(folder: Path, random: Random, *, good: int, each: int, site: type[Cluster] = Cluster) -> Report:
    """Poison ends in quarantine after three deaths; the others do not notice."""
    report = Report(LETTER, f"{each * len(MANNERS)} tasks that kill their process, among {good} others")
    poisons = [how for how in MANNERS for _ in range(each)]
    calls = [Call("poison", [str(folder), how]) for how in poisons]
    calls += [Call("work", [str(folder), 0.0]) for _ in range(good)]
    random.shuffle(calls)
    with site(folder) as cluster, _memory_watch(cluster):
        cluster.start_broker()
        cluster.start_workers(2, executors=2)
        cluster.wait(cluster.start_client(calls, window=len(calls)), timeout=120 + 20 * each)
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    report.allowed = f"{2 * len(poisons)} of poison, and what was in flight at a death"
    _look_at_poison(report, evidence, poisons)
    fine = [id for id, outcome in evidence.final.items() if outcome.state == "SUCCESS"]
    report.require(len(fine) == good, f"the others are not charged: {len(fine)} of {good} succeed")
    again = sum(id in repeated(evidence.runs) for id in fine)
    report.notes.append(f"{again} of the others ran again")
    report.require(again <= DEATHS * len(poisons), f"at most one at each death runs again: {again}")
    return report


def _look_at_poison(report: Report, evidence: Evidence, poisons: list[str]) -> None:
    failed = {id: outcome.error for id, outcome in evidence.final.items() if outcome.state == "FAILURE"}
    report.require(len(failed) == len(poisons), f"all poison fails: {failed}")
    for how, manner in MANNERS.items():
        expected = f"WorkerLostError: its process was killed by {manner}"
        if how == "exit":
            expected = f"WorkerLostError: its process ended with {manner}"
        named = [error for error in failed.values() if error.startswith(expected)]
        wanted = sum(MANNERS[other] == manner for other in poisons)
        report.require(len(named) == wanted, f"{wanted} errors say {expected!r}: {failed}")
    large = [error for error in failed.values() if _peak_memory(error) * 1e6 >= TOO_MUCH]
    report.require(len(large) == poisons.count("memory"), f"errors tell the hogs' peak memory: {failed}")
    deaths = {id: sum(run.id == id for run in evidence.runs) for id in failed}
    report.require(set(deaths.values()) == {DEATHS}, f"poison runs {DEATHS} times: {deaths}")
    report.notes.append(f"{len(failed)} in quarantine after {DEATHS} deaths")


def _peak_memory(error: str) -> float:
    """The megabytes that an error tells of."""
    _, found, rest = error.partition("peak memory ")
    return float(rest.split()[0].replace(",", "")) if found else 0.0


@contextlib.contextmanager
def _memory_watch(cluster: Cluster) -> Iterator[None]:
    """Do to processes of the cluster that grow too large what the kernel does when memory is short."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in cluster.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.memory_info().rss > TOO_MUCH:
                        process.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
