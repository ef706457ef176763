"""Random work in a cluster where everything breaks: one schedule for each seed, the same at each run.

``python -m tests.sim.schedules --seeds 100000`` plays many of them on all cores; a seed that fails is
added to ``regressions.txt``, whose seeds are played in every test run, and its story is printed.
"""

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import Leased, Took
from nbqueue.core.limits import SLACK
from nbqueue.core.records import DONE
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.testing import invariants
from nbqueue.testing.simulation import SimulatedClient, SimulatedWorker, Wire, World

REGRESSIONS = Path(__file__).with_name("regressions.txt")

#: what happens, and how often
STEPS = {
    "submit": 56, "submit a workflow": 4, "break a link": 8, "kill an executor": 4, "lose a machine": 1,
    "kill the broker": 4,
    "begin a snapshot": 2, "slow a worker down": 2, "cancel": 4, "forget": 2, "wait": 15,
}  # fmt: skip
#: the same where no worker is lost: each task has to run exactly once
CALM_STEPS = {
    "submit": 56, "submit a workflow": 4, "break a link": 8, "kill the broker": 5, "begin a snapshot": 3,
    "wait": 20,
}  # fmt: skip
#: periodic tasks: seconds between firings, what is made up for
PERIODIC = {"tidy": (3.0, "once"), "poll": (0.7, "skip"), "report": (7.0, "all")}
#: what each worker's executors share, and a tag that all have
OFFER = {"resources": {"gpu": 1.0, "memory": 8e9}, "tags": ["linux"]}
DEMANDS = [
    m.Demand(["linux"]), m.Demand(resources={"gpu": 1.0}), m.Demand(["linux"], {"gpu": 0.5, "memory": 1e9}),
    m.Demand(resources={"memory": 3e9}), m.Demand(resources={"memory": 8e9}),
]  # fmt: skip
#: of the tasks that have one, by name
RATES = {"two a second": 2.0, "many a second": 200.0}
#: seconds of virtual time in which everything has to be done once nothing breaks any more
PATIENCE = 900.0


class Schedule:
    """What one seed has happen."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        choose = self.choose
        #: for choices that were not there when older seeds failed, which keep their stories so
        self.also = random.Random(-seed - 1)
        self.demanding = random.Random(f"{seed} demands")
        self.calm = seed % 4 == 0
        self.world = World(
            seed, settings=BrokerSettings(max_task_deaths=3), echo=choose.choice([0.0, 0.0, 0.02])
        )
        self.world.on_change = self._look
        self.clients = [self.world.add_client() for _ in range(2)]
        self.workers = [
            self.world.add_worker(executors=choose.randint(1, 3), slots=self.also.choice([1, 1, 4]), **OFFER)
            for _ in range(3)
        ]
        self.records: list[TaskRecord] = []
        self.forgotten: set[str] = set()
        #: a moment before which a task must not run
        self.not_before: dict[str, float] = {}
        self.slowed: list[Wire] = []
        #: steps of workflows
        self.steps: list[TaskRecord] = []
        #: how often a task asks for another run
        self.retries: dict[str, int] = {}
        #: … and how often it rejects itself
        self.rejects: dict[str, int] = {}
        #: tasks that must not be started twice
        self.once: set[str] = set()
        #: answers to those who register schedules
        self.answers: list[list[str]] = []
        #: outcomes that a client was told of: none may change any more, whatever dies
        self.told: dict[str, tuple[str, int]] = {}
        self._looks = 0

    def play(self) -> None:
        """Have everything happen, then wait for the end of all tasks.

        Raises
        ------
        AssertionError
            The broker broke a promise.
        """
        steps = CALM_STEPS if self.calm else STEPS
        for _ in range(self.choose.randint(20, 150)):
            step = self.choose.choices(list(steps), list(steps.values()))[0]
            getattr(self, "_" + step.replace(" ", "_"))()
        for wire in self.slowed:
            wire.slowness = 0.0
        self._end_schedules()
        waiting = [record for record in self.records if record.id not in self.forgotten]
        assert self.world.run_until(lambda: all(r.settled for r in waiting), PATIENCE), [
            (r.id, r.state) for r in waiting if not r.settled
        ]
        self._look_back(waiting)

    # ── what happens ─────────────────────────────────────────────────────────────────────────

    def _submit(self) -> None:
        choose, world = self.choose, self.world
        name, duration = choose.choice([("quick", 0.0002), ("slow", 1.0), ("mixed", choose.uniform(0, 2))])
        countdown = choose.choice([0.0, 0.0, 0.0, 1.0, 10.0])
        if self.demanding.random() < 0.03:
            self._set_a_rate("quick", self.demanding.choice([0.0, 3.0, 50.0, None]))
        rate = 0.0
        if self.demanding.random() < 0.15:
            name, rate = self.demanding.choice(list(RATES.items()))
        late = self.also.random() > 0.15
        record = choose.choice(self.clients).submit(
            duration,
            name=name,
            definition=name,
            priority=choose.randint(0, 9),
            countdown=countdown,
            expires=choose.choice([None] * 9 + [20.0]) if not self.calm else None,
            time_limit=choose.choice([None] * 9 + [5.0]) if not self.calm else None,
            rate=rate,
            demand=self.demanding.choice(DEMANDS) if self.demanding.random() < 0.2 else None,
            acks_late=late,
        )
        self.records.append(record)
        if not late:
            self.once.add(record.id)
        self.not_before[record.id] = world.now + countdown
        if choose.random() < 0.03 and not self.calm:
            world.deadly.add(record.id)
        if choose.random() < 0.05:
            world.unlucky[record.id] = self.retries[record.id] = choose.randint(1, 3)
            changes = m.Changes(payload=bytes(self.also.randint(0, 50)), priority=self.also.randint(0, 9))
            world.fickle[record.id] = changes
        if self.also.random() < 0.05:
            world.unwilling[record.id] = self.rejects[record.id] = self.also.randint(1, 3)
        if self.also.random() < 0.05:
            self._change_queues()
        if self.also.random() < 0.05:
            self._register_a_schedule()

    def _change_queues(self) -> None:
        """A worker takes no more of this queue, and then again; the others may be gone by then."""
        worker: SimulatedWorker = self.also.choice(self.workers)
        worker.consume("other")
        self.world.after(self.also.uniform(0, 5), lambda: worker.consume("default", "other"))

    def _set_a_rate(self, name: str, rate: float | None) -> None:
        """At runtime, and so also for tasks that wait."""
        client: SimulatedClient = self.demanding.choice(self.clients)
        client.ask("control", command="rate_limit", args={"task_name": name, "rate_limit": rate})

    def _submit_a_workflow(self) -> None:
        """A group, perhaps after a task that may fail, and a body with what is to be called after it."""
        choose = self.choose
        client: SimulatedClient = choose.choice(self.clients)
        before: list[TaskRecord] = []
        if choose.random() < 0.5:
            before = [self._step(client, [])]
            if choose.random() < 0.2:
                self.world.failing.add(before[0].id)
        header = [self._step(client, before) for _ in range(choose.randint(0, 4))]
        if header and choose.random() < 0.2:
            self.world.failing.add(choose.choice(header).id)
        if before and choose.random() < 0.2:
            self.world.replaced[before[0].id] = self._step(client, []).id
        body = self._step(client, header, [list(range(len(header)))])
        self._step(client, [body], on=FAILURE)
        self._step(client, [body], optional=True)
        self._step(client, [self._step(client, [body])])

    def _step(
        self,
        client: SimulatedClient,
        after: list[TaskRecord],
        takes: object = 0,
        on: str = SUCCESS,
        optional: bool = False,
    ) -> TaskRecord:
        step = m.Step([r.id for r in after], on, takes if after else [], optional)
        countdown = self.choose.choice([0.0, 0.0, 0.0, 2.0])
        record = client.submit(
            self.choose.uniform(0, 1), name="step", definition="step", step=step, countdown=countdown
        )
        self.records.append(record)
        self.steps.append(record)
        self.not_before[record.id] = self.world.now
        return record

    def _break_a_link(self) -> None:
        executors = [e for w in self.workers for e in w.executors]
        wires = [c.wire for c in self.clients] + [w.wire for w in self.workers]
        self.choose.choice(wires + [e.main for e in executors] + [e.control for e in executors]).break_()

    def _kill_an_executor(self) -> None:
        self.choose.choice([e for w in self.workers for e in w.executors]).die(-9)

    def _lose_a_machine(self) -> None:
        victim = self.choose.choice(self.workers)
        victim.vanish()
        self.workers.remove(victim)
        self.workers.append(self.world.add_worker(executors=1, **OFFER))

    def _kill_the_broker(self) -> None:
        if self.choose.random() < 0.7:
            self.world.writes_to_live = self.choose.randint(0, 10)
            self.world.run_until(lambda: self.world.down, self.choose.choice([0.1, 1.0, 3.0]))
        self.world.kill_broker()
        self.world.run_for(self.choose.choice([0.0, 0.01, 1.0, 5.0] + [20.0] * (not self.calm)))
        self.world.restart_broker()

    def _begin_a_snapshot(self) -> None:
        self.world.begin_snapshot()

    def _slow_a_worker_down(self) -> None:
        """As on the other side of a cut cable: what is said arrives late, perhaps after the lease."""
        worker: SimulatedWorker = self.choose.choice(self.workers)
        wires = [worker.wire, *(wire for e in worker.executors for wire in (e.main, e.control))]
        for wire in wires:
            wire.slowness = self.choose.choice([0.0, 0.5, 30.0])
        self.slowed += wires

    def _cancel(self) -> None:
        if self.records:
            client: SimulatedClient = self.choose.choice(self.clients)
            client.cancel(self.choose.choice(self.records), terminate=self.choose.random() < 0.7)

    def _forget(self) -> None:
        if self.records:
            record = self.choose.choice(self.records)
            self.forgotten.add(record.id)
            self.told.pop(record.id, None)
            self.choose.choice(self.clients).forget(record)

    def _register_a_schedule(self) -> None:
        """Any client may, at any time, and often: it is the same one."""
        client: SimulatedClient = self.also.choice(self.clients)
        for name, (every, missed) in PERIODIC.items():
            self.world.durations[name] = self.also.choice([0.0002, 0.3])
            self.answers.append(client.schedule(name, every, missed=missed, acks_late=False))
        self.world.run_until(lambda: all(self.answers), self.also.choice([0.0, 20.0]))

    def _end_schedules(self) -> None:
        """Look at what has fired, then take it all back."""
        world, client = self.world, self.clients[0]
        assert world.run_until(lambda: all(self.answers), PATIENCE), "nobody answers who registers"
        assert not any(answer for answers in self.answers for answer in answers), self.answers
        world.run_for(8)
        self._no_firing_is_missing()
        removed = [client.unschedule(name) for name in PERIODIC]
        assert world.run_until(lambda: all(removed), PATIENCE), "nobody answers who takes back"
        assert not world.core.schedules.entries
        fired = [record for record in world.core.tasks.records if record.task.id.startswith("app/")]
        assert world.run_until(lambda: all(r.place == DONE for r in fired), PATIENCE), fired

    def _no_firing_is_missing(self) -> None:
        """Each entry has fired at each of its times at which a broker ran; of the others, as it says."""
        world, now = self.world, self.world.now - 0.001  # what is due this very moment is yet to come
        for entry in world.core.schedules.entries.values():
            every, missed = PERIODIC[entry.periodic.name]
            steps = range(1, int((now - entry.anchor) / every) + 1)
            times = [entry.anchor + step * every for step in steps]
            fired = {at: world.core.tasks.records.get(entry.id_of(at)) for at in times}
            for at, record in fired.items():
                absent = any(gone - 0.001 <= at <= back for gone, back in world.absences)
                assert record is not None or (absent and missed != "all"), (entry.key, at, "it has not fired")
                assert record is None or record.at + world.core.welcome.epoch >= at - 1e-6, (entry.key, at)
            if missed == "once":
                for gone, back in self._absences():
                    meanwhile = [at for at in times if gone < at < back + 0.001]
                    assert not meanwhile or any(fired[at] for at in meanwhile), (entry.key, gone, back)

    def _absences(self) -> list[tuple[float, float]]:
        """When no broker ran; one that dies at its first word does not count."""
        merged: list[tuple[float, float]] = []
        for gone, back in self.world.absences:
            if merged and gone - merged[-1][1] < 0.01:
                gone = merged.pop()[0]
            merged.append((gone, back))
        return merged

    def _wait(self) -> None:
        self.world.run_for(self.choose.uniform(0, 1))

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """After every message: the books agree, and, looked at now and then, what was told stays."""
        core = self.world.core
        self._looks += 1
        thorough = self._looks % 16 == 0
        invariants.check(core, self.world.broker_time, thorough=thorough)
        self._nothing_is_oversubscribed(core)
        if thorough:
            self._what_was_told_stays(core)

    def _what_was_told_stays(self, core: BrokerCore) -> None:
        for id, told in self.told.items():
            record = core.tasks.records.get(id)
            assert record is not None, (id, "its outcome was told of, and is gone")
            assert record.place == DONE, (id, "it was over, and is not", record)
            assert record.outcome is not None
            assert (record.outcome.state, record.outcome.token) == told, (id, told, record.outcome)
        for record in self.records:
            if record.outcome is not None and record.id not in self.forgotten:
                self.told.setdefault(record.id, (record.outcome.state, record.outcome.token))

    def _look_back(self, waited_for: Iterable[TaskRecord]) -> None:
        """At the end: each task ended as it may end, and nobody holds anything."""
        world = self.world
        invariants.check(world.core, world.broker_time)
        self._what_was_told_stays(world.core)
        assert all(began >= self.not_before.get(id, 0.0) for id, _, began, _ in world.runs)
        for record in waited_for:
            assert not record.missing, (record.id, "it was accepted, and is gone")
            allowed = {SUCCESS, REVOKED, FAILURE} - ({SUCCESS} if record.id in world.deadly else set())
            assert record.state in allowed, (record.id, record.state)
            if record.state == FAILURE:
                assert record.failure is not None
                reasons = ["WorkerLostError", "TimeLimitExceeded"]
                if record in self.steps:
                    reasons += ["ValueError", "ChordError", *["ResultNotFoundError"] * bool(self.forgotten)]
                assert record.failure.type in reasons, record.failure
        left = [r for r in world.core.tasks.records if r.place != DONE and r.task.id not in self.forgotten]
        assert not left, left
        self._nothing_is_held(world.core)
        self._no_rate_is_exceeded()
        self._steps_ran_in_order()
        self._nothing_was_started_twice_that_must_not_be()
        if self.calm:
            self._nothing_ran_twice()

    def _unwritten_leases(self) -> set[str]:
        """Tasks that were handed out in the moment in which the broker died: the next one does not know."""
        return {lease.id for e in self.world.unwritten if isinstance(e, Leased) for lease in e.leases}

    def _nothing_is_oversubscribed(self, core: BrokerCore) -> None:
        for worker in core.dispatch.workers.values():
            for resource in worker.resources:
                if worker.free(resource) < -1e-6:
                    # a broker that starts learns only from an executor of runs that were cancelled, or
                    # begun in the last one's last moment
                    held = [record for e in worker.executors.values() for record in e.held.values()]
                    unknown = {record.task.id for record in held if record.place == DONE}
                    unknown |= {record.task.id for record in held} & self._unwritten_leases()
                    assert unknown, (worker.id, resource, worker.demands)

    def _no_rate_is_exceeded(self) -> None:
        excused = self._unwritten_leases()
        for name, rate in RATES.items():
            times = [at for at, id, of, _ in self.world.handed_out if of == name and id not in excused]
            for first, began in enumerate(times):
                for more, at in enumerate(times[first:]):
                    assert at - began >= more / rate - SLACK - 1e-6, (name, began, at, more + 1, "starts")

    def _steps_ran_in_order(self) -> None:
        """A step that ended well began after all that it waits for had, however often they ran."""
        ended: dict[str, list[float]] = {}
        began: dict[str, list[float]] = {}
        for id, _, start, end in self.world.runs:
            ended.setdefault(id, []).append(end)
            began.setdefault(id, []).append(start)
        for record in self.steps:
            found = self.world.core.tasks.records.get(record.id)
            step = found.task.step if found is not None else None
            if step is not None and record.state == SUCCESS and step.on == SUCCESS and record.id in began:
                for id in step.after:
                    assert min(ended[id]) <= min(began[record.id]), (record.id, id, "ran before it")

    def _nothing_was_started_twice_that_must_not_be(self) -> None:
        starts = Counter(self.world.starts)
        for id in self.once:
            wanted = 1 + self.retries.get(id, 0) + self.rejects.get(id, 0)
            assert starts[id] <= wanted, (id, starts[id], "starts")
        firings = [id for id in starts if id.startswith("app/")]
        assert all(starts[id] == 1 for id in firings), [(id, starts[id]) for id in firings if starts[id] > 1]

    def _nothing_ran_twice(self) -> None:
        """No worker was lost: a task runs again only if it asks to, or if the broker died in the moment in
        which it handed it out."""
        excused = self._unwritten_leases()
        excused |= {task.id for e in self.world.unwritten if isinstance(e, Took) for task in e.tasks}
        runs = Counter(id for id, *_ in self.world.runs)
        for record in self.records:
            if record.id not in excused:
                once = record not in self.steps or record.state == SUCCESS
                assert runs[record.id] == once or record.id in self.world.failing, (
                    record.id,
                    runs[record.id],
                    "runs",
                )
                assert record.retries == self.retries.get(record.id, 0), (
                    record.id,
                    record.retries,
                    "retries",
                )

    def _nothing_is_held(self, core: BrokerCore) -> None:
        held = [e for e in core.dispatch.executors.values() if e.held]
        self.world.run_for(60)
        assert not [e for e in held if e.held and e.id in core.dispatch.executors]


def story(schedule: Schedule, about: str) -> str:
    """What was said of the tasks that a failure names, or the last of everything."""
    ids = [record.id for record in schedule.records if f"'{record.id}'" in about][:3]
    lines = [f"{at:10.4f}  {who:14} {message!r}" for at, who, message in schedule.world.story]
    if ids:
        lines = [line for line in lines if any(f"'{id}'" in line for id in ids)]
    return "\n".join(line if len(line) < 600 else line[:600] + " …" for line in lines[-80:])


def failure(seed: int) -> str:
    """Why a seed fails, with its story; "" if it does not."""
    schedule = Schedule(seed)
    try:
        schedule.play()
    except Exception as error:
        return f"seed {seed}: {error!r}\n{story(schedule, repr(error))}"
    return ""


def regressions() -> list[int]:
    """Seeds that have failed."""
    return [
        int(line.split("#")[0]) for line in REGRESSIONS.read_text().splitlines() if line.split("#")[0].strip()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    chosen = parser.parse_args()
    began, failed = time.monotonic(), 0
    with multiprocessing.Pool() as pool:
        seeds = range(chosen.first, chosen.first + chosen.seeds)
        for seed, text in zip(seeds, pool.imap(failure, seeds, chunksize=10), strict=True):
            if text:
                failed += 1
                print(text, flush=True)
                with REGRESSIONS.open("a") as file:
                    file.write(f"{seed}\n")
    print(f"{chosen.seeds} seeds, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
