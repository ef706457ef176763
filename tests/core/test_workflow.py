"""Who waits for whom, and what becomes of those who wait: the broker's core in virtual time."""

from collections.abc import Iterator
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.core.broker import BrokerSettings
from nbqueue.core.workflow import flaw
from nbqueue.states import FAILURE, PENDING, REVOKED, SUCCESS
from nbqueue.testing import invariants
from nbqueue.testing.simulation import SimulatedClient, World


class Scene:
    """A world with one client and one worker of two executors, whose books are looked at after each step."""

    def __init__(self, **settings: Any) -> None:
        self.world = World(settings=BrokerSettings(**settings))
        self.world.on_change = lambda: invariants.check(self.world.core)
        self.worker = self.world.add_worker(executors=2)
        self.client: SimulatedClient = self.world.add_client()

    def task(self, duration: float = 0.1, *, fails: bool = False, **fields: Any) -> TaskRecord:
        record = self.client.submit(duration, **fields)
        if fails:
            self.world.failing.add(record.id)
        return record

    def after(
        self,
        *before: TaskRecord,
        takes: Any = "all",
        on: str = SUCCESS,
        optional: bool = False,
        fails: bool = False,
        duration: float = 0.1,
        **fields: Any,
    ) -> TaskRecord:
        """A step after others; a single one's value, or the list of the values of several."""
        if takes == "all":
            takes = 0 if len(before) == 1 else list(range(len(before)))
        step = m.Step([record.id for record in before], on, takes, optional)
        return self.task(duration, fails=fails, step=step, **fields)

    def settle(self, *records: TaskRecord, limit: float = 60.0) -> None:
        assert self.world.run_until(lambda: all(r.settled for r in records), limit), [
            (r.id, r.state) for r in records
        ]

    @property
    def order(self) -> list[str]:
        return [run[0] for run in self.world.runs]

    def why(self, record: TaskRecord) -> str:
        answers: list[m.Answer] = []
        self.client.session.ask("why", {"id": record.id}, answers.append)
        self.client._flush()
        assert self.world.run_until(lambda: bool(answers), 5.0)
        return str(answers[0].data["text"])

    def place(self, record: TaskRecord) -> str | None:
        found = self.world.core.tasks.records.get(record.id)
        return None if found is None else found.place


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.world.run_for(1.0)
    invariants.check(scene.world.core)
    assert not any(r.place != "done" for r in scene.world.core.tasks.records), "a record waits for ever"
    assert not scene.world.core.tasks.workflow.dependents


# ── when all goes well ───────────────────────────────────────────────────────────────────────────


def test_a_step_runs_after_the_one_before_it(scene: Scene) -> None:
    first = scene.task(2.0)
    second = scene.after(first)
    scene.world.run_for(1.0)
    assert (second.state, scene.place(second)) == (PENDING, "waiting")
    scene.settle(first, second)
    assert scene.order == [first.id, second.id]
    assert second.state == SUCCESS


def test_a_body_runs_once_when_the_last_of_its_header_is_done(scene: Scene) -> None:
    header = [scene.task(duration) for duration in (0.5, 3.0, 1.0)]
    body = scene.after(*header)
    scene.settle(body)
    assert scene.order[-1] == body.id
    assert scene.order.count(body.id) == 1


def test_an_empty_header_lets_the_body_run_at_once(scene: Scene) -> None:
    body = scene.after()
    scene.settle(body)
    assert body.state == SUCCESS


def test_a_step_after_what_is_done_already_runs_at_once(scene: Scene) -> None:
    first = scene.task()
    scene.settle(first)
    second = scene.after(first)
    scene.settle(second)
    assert second.state == SUCCESS


def test_a_countdown_and_the_time_to_expire_count_from_the_turn_of_the_step(scene: Scene) -> None:
    first = scene.task(10.0)
    second = scene.after(first, countdown=5.0, expires=6.0)
    scene.settle(second)
    assert second.state == SUCCESS
    began = next(began for id, _, began, _ in scene.world.runs if id == second.id)
    assert 15.0 < began < 15.5


def test_a_step_that_nobody_runs_in_time_expires() -> None:
    scene = Scene()
    first = scene.task(1.0)
    second = scene.after(first, expires=3.0, queue="nobody")
    scene.settle(second, limit=10)
    assert second.state == REVOKED
    assert scene.world.now < 5.0


def test_the_inputs_of_a_step_come_in_its_order(scene: Scene) -> None:
    slow, quick = scene.task(2.0), scene.task(0.1)
    body = scene.after(slow, quick)
    scene.settle(body)
    assignments = [
        a for _, who, said in scene.world.story if isinstance(said, m.Assign) for a in said.assignments
    ]
    given = next(a for a in assignments if a.task.id == body.id)
    assert [outcome.id for outcome in given.inputs] == [slow.id, quick.id]


# ── when something fails ─────────────────────────────────────────────────────────────────────────


def test_a_failure_is_handed_down_a_chain_with_the_name_of_its_origin(scene: Scene) -> None:
    first = scene.task(fails=True)
    second = scene.after(first)
    third = scene.after(second)
    scene.settle(third)
    assert [r.state for r in (first, second, third)] == [FAILURE] * 3
    assert third.failure is not None
    assert third.failure.type == "ValueError"
    assert third.outcome is not None
    assert third.outcome.origin == first.id
    assert scene.order == [first.id]


def test_a_failed_member_makes_the_body_a_chord_error_that_names_it_and_its_siblings_run(
    scene: Scene,
) -> None:
    bad = scene.task(0.1, fails=True, name="tasks.bad")
    good = scene.task(5.0)
    body = scene.after(bad, good)
    scene.settle(body, good)
    assert body.failure is not None
    assert (body.state, body.failure.type) == (FAILURE, "ChordError")
    assert f"tasks.bad[{bad.id}] failed: ValueError" in body.failure.message
    assert good.state == SUCCESS


def test_a_revoked_step_revokes_what_takes_its_value_and_fails_what_takes_a_list(scene: Scene) -> None:
    first = scene.task(100.0)
    second, other = scene.after(first), scene.task()
    body = scene.after(first, other)
    scene.world.run_for(1.0)
    scene.client.cancel(first)
    scene.settle(second, body)
    assert (second.state, body.state) == (REVOKED, FAILURE)
    assert body.failure is not None
    assert "was revoked" in body.failure.message


def test_a_failure_before_a_chord_is_its_bodys_failure_too(scene: Scene) -> None:
    first = scene.task(fails=True)
    header = [scene.after(first), scene.after(first)]
    body = scene.after(*header)
    scene.settle(body)
    assert body.failure is not None
    assert body.failure.type == "ValueError"


def test_it_is_however_far_the_ways_from_there_to_the_body_are(scene: Scene) -> None:
    first = scene.task(fails=True)
    short, long = scene.after(first), scene.after(scene.after(scene.after(first)))
    bodies = [scene.after(short, long), scene.after(long, short)]
    last = scene.after(*bodies)
    scene.settle(last)
    for step in (*bodies, last):
        assert step.failure is not None
        assert step.failure.type == "ValueError"
    slow = scene.task(5.0)
    other = scene.after(short, slow)
    scene.settle(other, slow)
    assert other.failure is not None
    assert other.failure.type == "ChordError"


def test_a_step_that_waits_is_cancelled_at_once(scene: Scene) -> None:
    first = scene.task(3.0)
    second = scene.after(first)
    third = scene.after(second)
    scene.client.cancel(second)
    scene.settle(second, third)
    assert (second.state, third.state) == (REVOKED, REVOKED)
    scene.settle(first)
    assert first.state == SUCCESS


def test_a_chain_of_ten_thousand_fails_from_one_end_to_the_other() -> None:
    scene = Scene()
    scene.world.on_change = lambda: None  # to look at all books each time would take an hour
    records = [scene.task(0.01, fails=True)]
    for _ in range(10_000):
        records.append(scene.after(records[-1]))
    scene.settle(*records)
    assert {record.state for record in records} == {FAILURE}
    assert scene.order == [records[0].id]
    invariants.check(scene.world.core)


def test_a_step_whose_worker_dies_runs_again_with_what_it_took(scene: Scene) -> None:
    first = scene.task()
    second = scene.after(first, duration=5.0)
    scene.world.run_for(2.0)
    scene.client.forget(first)
    for executor in [e for e in scene.worker.executors if e.tokens]:
        executor.die(-9)
    scene.settle(second)
    given = [
        a.inputs
        for _, _, said in scene.world.story
        if isinstance(said, m.Assign)
        for a in said.assignments
        if a.task.id == second.id
    ]
    assert [[outcome.id for outcome in each] for each in given] == [[first.id], [first.id]]
    assert scene.place(first) is None, "it was to be forgotten when nobody needs it any more"


# ── callbacks ────────────────────────────────────────────────────────────────────────────────────


def test_an_errback_is_called_for_the_failure_of_its_own_task_and_of_no_other(scene: Scene) -> None:
    first = scene.task(fails=True)
    second = scene.after(first)
    of_first, of_second = scene.after(first, on=FAILURE), scene.after(second, on=FAILURE)
    scene.settle(of_first, of_second)
    assert (of_first.state, of_second.state) == (SUCCESS, REVOKED)
    assert of_second.failure is not None
    assert "not called for" in of_second.failure.message


def test_an_errback_of_a_body_is_called_for_a_chord_error(scene: Scene) -> None:
    body = scene.after(scene.task(fails=True), scene.task())
    errback = scene.after(body, on=FAILURE)
    scene.settle(errback)
    assert errback.state == SUCCESS


def test_an_errback_learns_which_task_failed(scene: Scene) -> None:
    failed = scene.task(fails=True, name="tasks.bad", payload=b"arguments" * 1000)
    errback = scene.after(failed, on=FAILURE)
    scene.settle(errback)
    given = [a for _, _, said in scene.world.story if isinstance(said, m.Assign) for a in said.assignments]
    about = next(a.about for a in given if a.task.id == errback.id)
    assert about is not None
    assert (about.id, about.name, about.payload) == (failed.id, "tasks.bad", b"arguments" * 1000)


@pytest.mark.parametrize("fails", [True, False])
def test_a_callback_that_is_not_called_for_is_revoked_with_all_that_comes_after_it(
    scene: Scene, fails: bool
) -> None:
    task = scene.task(fails=fails)
    callback = scene.after(task, on=SUCCESS if fails else FAILURE, optional=True)
    header = [scene.after(callback), scene.after(callback)]
    body = scene.after(*header)
    scene.settle(body)
    assert [r.state for r in (callback, *header, body)] == [REVOKED] * 4
    assert body.failure is not None
    assert f"not called for: sleep[{task.id}] {'failed' if fails else 'succeeded'}" in body.failure.message


# ── what is there no more ────────────────────────────────────────────────────────────────────────


def test_a_step_after_a_task_that_nobody_knows_fails_and_says_so(scene: Scene) -> None:
    step = scene.task(step=m.Step(["never submitted"], takes=0))
    scene.settle(step)
    assert step.failure is not None
    assert (step.state, step.failure.type) == (FAILURE, "ResultNotFoundError")
    assert "never submitted" in step.failure.message


def test_a_step_after_a_task_that_was_refused_is_refused() -> None:
    scene = Scene()
    refused = scene.task(priority=11)
    step = scene.after(refused)
    scene.settle(step)
    assert scene.place(step) is None
    assert refused.id in str(step.refusal)
    assert "priority" in str(step.refusal)


def test_steps_after_tasks_whose_function_is_not_there_yet_come_again_with_them(scene: Scene) -> None:
    client = scene.client
    client.session._defined.add("other")  # it thinks that the broker has it, which has dropped it
    first = scene.task(definition="other")
    records = [first, scene.after(first), scene.after(first, definition="other")]
    scene.settle(*records)
    assert {record.state for record in records} == {SUCCESS}


def test_what_a_step_needs_does_not_expire() -> None:
    scene = Scene(result_expires=5.0)
    first, slow = scene.task(), scene.task(60.0)
    body = scene.after(first, slow)
    scene.world.run_for(30.0)
    assert scene.place(first) == "done"
    scene.settle(body, limit=60)
    assert body.state == SUCCESS
    scene.world.run_for(6.0)
    assert scene.place(first) is None


def test_what_a_step_needs_does_not_make_room() -> None:
    scene = Scene(max_results=3)
    first, slow = scene.task(), scene.task(20.0)
    body = scene.after(first, slow)
    others = [scene.task(0.01) for _ in range(20)]
    scene.settle(*others)
    assert scene.place(first) == "done"
    scene.settle(body)
    assert body.state == SUCCESS


def test_a_result_that_a_step_needs_is_forgotten_when_the_step_is_done(scene: Scene) -> None:
    first, slow = scene.task(), scene.task(5.0)
    body = scene.after(first, slow)
    scene.settle(first)
    scene.client.forget(first)
    scene.world.run_for(1.0)
    assert scene.place(first) == "done"
    other = scene.world.add_client()
    asked = other.session.records.named(first.id)
    other.session.say(m.Watch([first.id]))
    other._flush()
    scene.world.run_for(1.0)
    assert asked.missing
    scene.settle(body)
    assert scene.place(first) is None


# ── replaced ─────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_is_replaced_ends_as_the_other_one_does(scene: Scene) -> None:
    other = scene.task(3.0)
    task = scene.task(0.1)
    scene.world.replaced[task.id] = other.id
    after = scene.after(task)
    scene.world.run_for(1.0)
    assert scene.place(task) == "waiting"
    assert f"replaced by sleep[{other.id}]" in scene.why(task)
    scene.settle(after)
    assert task.state == SUCCESS
    assert scene.order.index(other.id) < scene.order.index(after.id)


def test_a_failure_of_the_other_one_is_that_of_the_replaced_task_itself(scene: Scene) -> None:
    first = scene.task(0.5, fails=True)
    other = scene.after(first)
    task = scene.task()
    scene.world.replaced[task.id] = other.id
    errback = scene.after(task, on=FAILURE)
    scene.settle(errback)
    assert task.failure is not None
    assert (task.state, task.failure.type, errback.state) == (FAILURE, "ValueError", SUCCESS)


def test_to_cancel_a_replaced_task_cancels_the_other_one(scene: Scene) -> None:
    other, task = scene.task(100.0), scene.task()
    scene.world.replaced[task.id] = other.id
    scene.world.run_for(2.0)
    scene.client.cancel(task)
    scene.settle(task, other, limit=5)
    assert (task.state, other.state) == (REVOKED, REVOKED)


def test_a_task_that_is_replaced_by_nothing_fails(scene: Scene) -> None:
    task = scene.task()
    scene.world.replaced[task.id] = "nothing"
    scene.settle(task)
    assert task.failure is not None
    assert task.failure.type == "ResultNotFoundError"


# ── through the broker's death ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_position_in_a_workflow_survives_the_broker(scene: Scene, snapshot: bool) -> None:
    world = scene.world
    first = scene.task(0.5)
    members = [scene.after(first, duration=duration) for duration in (0.5, 8.0)]
    body = scene.after(*members)
    errback = scene.after(body, on=FAILURE)
    last = scene.after(body, countdown=20.0)
    world.run_for(3.0)
    if snapshot:
        world.begin_snapshot()
        world.run_for(0.5)
    world.kill_broker()
    world.restart_broker()
    invariants.check(world.core)
    world.run_for(11.0)  # the body is done, and the last one waits for its time
    if snapshot:
        world.begin_snapshot()
        world.run_for(0.5)
    world.kill_broker()
    world.restart_broker()
    scene.settle(last, errback)
    assert (last.state, errback.state) == (SUCCESS, REVOKED)
    assert sorted(scene.order) == sorted([first.id, *(r.id for r in members), body.id, last.id])


def test_a_replaced_task_and_one_that_is_to_be_forgotten_survive_the_broker(scene: Scene) -> None:
    world = scene.world
    other, task = scene.task(8.0), scene.task()
    world.replaced[task.id] = other.id
    first = scene.task()
    body = scene.after(first, other)
    world.run_for(1.0)
    scene.client.forget(first)
    world.run_for(0.5)
    world.kill_broker()
    world.restart_broker()
    assert (scene.place(task), scene.place(first)) == ("waiting", "done")
    scene.settle(task, body)
    assert (task.state, body.state) == (SUCCESS, SUCCESS)
    assert scene.place(first) is None


def test_a_step_that_was_given_out_in_the_moment_of_the_brokers_death_is_not_given_out_again(
    scene: Scene,
) -> None:
    world = scene.world
    first = scene.task(1.0)
    second = scene.after(first, duration=5.0)
    world.run_for(0.9)
    world.writes_to_live = 0  # the end of the first is acted upon, and not written down
    assert world.run_until(lambda: world.down, 5.0)
    world.run_for(0.5)
    world.restart_broker()
    scene.settle(second)
    assert scene.order == [first.id, second.id]


# ── words for people ─────────────────────────────────────────────────────────────────────────────


def test_why_names_what_a_step_waits_for_and_how_many_others(scene: Scene) -> None:
    header = [scene.task(30.0, name="tasks.add") for _ in range(4)]
    body = scene.after(*header)
    last = scene.after(body)
    scene.world.run_for(1.0)
    text = scene.why(body)
    assert text.startswith(f"it waits for tasks.add[{header[0].id}] and 3 others: running on worker-0")
    assert scene.why(last).startswith(f"it waits for sleep[{body.id}]")
    answers: list[m.Answer] = []
    scene.client.session.ask("status", {}, answers.append)
    scene.client._flush()
    scene.world.run_for(1.0)
    assert answers[0].data["queues"]["default"] == {"ready": 2, "scheduled": 0, "waiting": 2, "running": 2}
    scene.settle(last, limit=100)


def test_children_are_those_submitted_by_a_task_and_those_after_it(scene: Scene) -> None:
    first = scene.task()
    second = scene.after(first)
    child = scene.task(parent_id=first.id)
    scene.settle(second, child)
    answers: list[m.Answer] = []
    scene.client.session.ask("children", {"id": first.id}, answers.append)
    scene.client._flush()
    scene.world.run_for(1.0)
    assert [row["id"] for row in answers[0].data] == [second.id, child.id]


def test_a_saved_value_is_there_without_a_run(scene: Scene) -> None:
    saved = scene.task(definition="", payload=b"kept", step=m.Step([], m.SAVED))
    scene.settle(saved)
    assert saved.outcome is not None
    assert (saved.state, saved.outcome.value, scene.order) == (SUCCESS, b"kept", [])


# ── what cannot be right ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step",
    [
        m.Step(["a"], on="STARTED"),
        m.Step(["a"], takes=1),
        m.Step(["a"], takes=-1),
        m.Step(["a"], takes=True),
        m.Step(["a"], takes="0"),
        m.Step(["a"], takes=[0, None]),
        m.Step(["a"], takes=[[[1]]]),
        m.Step([], takes=0),
        m.Step(["a", ""]),
    ],
)
def test_a_step_that_takes_what_is_not_there_is_refused(step: m.Step) -> None:
    assert flaw(step)


def test_a_step_that_is_too_deep_is_refused_and_others_are_not() -> None:
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    assert flaw(m.Step(["a"], takes=deep))
    for takes in (None, 0, [], [0, [1, [0]]]):
        assert not flaw(m.Step(["a", "b"], takes=takes))
