"""What the journal of a million queued tasks costs the next broker: ``make bench`` shows it with the rest.

Prints the seconds that reading it took, and the longest turn of the loop, in milliseconds, while it was
made small.
"""

import gc
import tempfile
import time
from pathlib import Path

import click

from nbqueue import messages as m
from nbqueue.broker.keeper import Keeper
from nbqueue.core.actions import Action, Keep
from nbqueue.core.broker import BrokerCore, BrokerSettings

BATCH = 200


def opened(folder: Path, boot: int, tasks: int) -> tuple[BrokerCore, Keeper]:
    settings = BrokerSettings(max_queued=tasks + 1)
    core = BrokerCore(settings, boot=boot, epoch=time.time() - time.monotonic())
    keeper = Keeper(folder, core, sync=False)
    keeper.restore(time.monotonic())
    return core, keeper


def write(folder: Path, tasks: int) -> None:
    core, keeper = opened(folder, 1, tasks)

    def perform(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Keep):
                keeper.write(action.entries, 0.0)

    perform(core.receive("client", m.Hello(m.CLIENT, "client"), 0.0))
    perform(core.receive("client", m.Define("d", bytes(1000)), 0.0))
    for start in range(0, tasks, BATCH):
        batch = [task(n) for n in range(start, min(start + BATCH, tasks))]
        perform(core.receive("client", m.Submit(batch), 0.0))
    keeper.close()


def task(number: int) -> m.Task:
    id = f"a17efca3-0aee-9e2d-4f97-{number:012x}"
    return m.Task(id, "noop", "d", bytes(40), python="3.11", env="/home/user/project/.venv")


def longest_turn(keeper: Keeper) -> float:
    """Seconds of the loop's longest turn while a snapshot is made."""
    keeper.begin_snapshot()
    longest = 0.0
    while (due := keeper.due(now := time.monotonic())) is not None:
        time.sleep(max(0.0, due - now))
        began = time.perf_counter()
        keeper.work()
        longest = max(longest, time.perf_counter() - began)
    return longest


@click.command()
@click.option("--tasks", default=1_000_000, show_default=True)
def main(tasks: int) -> None:
    gc.set_threshold(100_000, 20, 100)  # as the broker has it
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "journal"
        write(folder, tasks)
        gc.collect()
        began = time.perf_counter()
        core, keeper = opened(folder, 2, tasks)
        seconds = time.perf_counter() - began
        assert core.tasks.records.unfinished == tasks
        print(seconds, longest_turn(keeper) * 1000)
        keeper.close()


if __name__ == "__main__":
    main()
