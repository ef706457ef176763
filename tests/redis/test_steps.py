"""Steps of workflows over Redis, message by message: who waits for whom, and what becomes of him."""

import time
from collections.abc import Iterator

import pytest

from nbqueue import messages as m
from nbqueue.core import inputs
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.transports.redis import link
from tests.redis.conftest import Keys
from tests.redis.stage import Stage

#: what there is of workflows in Redis
BOOKS = ("steps", "left", "waiting", "after:", "call:")


@pytest.fixture
def stage(url: str, keys: Keys) -> Iterator[Stage]:
    """At the end nothing waits, and nothing of workflows is left."""
    made = Stage(url)
    yield made
    made.until(lambda: not keys.redis.exists(keys("tasks")), keys.all)
    left = [name for name in keys.all() if name.startswith(BOOKS)]
    assert not [name for name in left if not (name.startswith("call:") and keys.redis.ttl(keys(name)) > 0)]
    assert not [t for t in keys.redis.zrange(keys("timers"), 0, -1) if t.startswith((b"step", b"join"))]
    made.close()


# ── when all goes well ───────────────────────────────────────────────────────────────────────────


def test_a_step_runs_after_the_one_before_it(stage: Stage) -> None:
    first = stage.task(held=True)
    second = stage.after(first)
    stage.until(lambda: stage.holds(first) and second in stage.accepted)
    stage.turn_for(0.1)
    assert stage.runs == []
    stage.release(first)
    assert stage.states(first, second) == [SUCCESS, SUCCESS]
    assert stage.runs == [first, second]


def test_a_body_runs_once_when_the_last_of_its_header_is_done(stage: Stage) -> None:
    header = [stage.task(held=True) for _ in range(3)]
    body = stage.after(*header)
    stage.until(lambda: all(map(stage.holds, header)))
    for member in header:
        assert body not in stage.runs
        stage.release(member)
        stage.settle(member)
    stage.settle(body)
    assert stage.runs.count(body) == 1


def test_a_step_after_what_is_done_already_runs_at_once(stage: Stage) -> None:
    first = stage.task()
    stage.settle(first)
    second = stage.task(held=True)
    both, empty = stage.after(first, second), stage.after()
    assert stage.states(empty, stage.after(first)) == [SUCCESS, SUCCESS]
    assert both not in stage.outcomes
    stage.release(second)
    assert stage.states(both) == [SUCCESS]


def test_of_what_has_succeeded_already_nobody_has_to_look(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link.steps, "attend", lambda desk: pytest.fail(f"to look at: {desk.to_look}"))
    first, second = stage.task(), stage.task(held=True)
    stage.settle(first)
    alone, both = stage.after(first), stage.after(first, second)
    stage.settle(alone)
    assert both not in stage.outcomes
    stage.release(second)
    assert stage.states(both) == [SUCCESS]


def test_a_task_may_be_waited_for_twice(stage: Stage) -> None:
    first = stage.task()
    body = stage.after(first, first)
    assert stage.states(body) == [SUCCESS]
    given = next(a for a in stage.given if a.task.id == body)
    assert [outcome.id for outcome in given.inputs] == [first, first]


def test_the_inputs_of_a_step_come_in_its_order(stage: Stage) -> None:
    slow, quick = stage.task(held=True), stage.task()
    body = stage.after(slow, quick)
    stage.settle(quick)
    stage.release(slow)
    stage.settle(body)
    given = next(a for a in stage.given if a.task.id == body)
    assert [outcome.value for outcome in given.inputs] == [b"value of " + id.encode() for id in (slow, quick)]


def test_the_inputs_of_a_step_with_many_are_fetched_in_portions(stage: Stage) -> None:
    header = [stage.task() for _ in range(600)]
    body = stage.after(*header, held=True)
    stage.until(lambda: stage.holds(body))
    given = next(a for a in stage.given if a.task.id == body)
    assert given.inputs == []
    key = inputs.key_of(body, 100)
    stage.hands[0].main.send([m.Need(key)])
    stage.until(lambda: key in stage.defined)
    assert [outcome.id for outcome in inputs.unpack(stage.defined[key])] == header[100:]
    nobody = inputs.key_of("nobody", 0)
    stage.hands[0].main.send([m.Need(nobody)])
    stage.until(lambda: nobody in stage.defined)
    assert stage.defined[nobody] == b""
    stage.release(body)
    stage.settle(body)


def test_a_countdown_and_the_time_to_expire_count_from_the_turn_of_the_step(stage: Stage) -> None:
    first = stage.task(held=True)
    second = stage.after(first, countdown=0.3, expires=0.6)
    late = stage.after(first, expires=0.3, queue="nobody")
    stage.turn_for(0.8)
    stage.release(first)
    stage.settle(first)
    began = time.monotonic()
    assert stage.states(second, late) == [SUCCESS, REVOKED]
    assert "expired" in str(stage.outcomes[late].failure)
    assert 0.25 < time.monotonic() - began < 3.0


# ── when something fails ─────────────────────────────────────────────────────────────────────────


def test_a_failure_is_handed_down_a_chain_with_the_name_of_its_origin(stage: Stage) -> None:
    first = stage.task(fails=True)
    second = stage.after(first)
    third = stage.after(second)
    assert stage.states(first, second, third) == [FAILURE] * 3
    assert stage.outcomes[third].failure == stage.outcomes[first].failure
    assert stage.outcomes[third].origin == first
    assert stage.runs == [first]


def test_a_failed_member_makes_the_body_a_chord_error_that_names_it(stage: Stage) -> None:
    bad, good = stage.task(fails=True), stage.task(held=True)
    body = stage.after(bad, good)
    (outcome,) = stage.settle(body)
    assert outcome.failure is not None
    assert (outcome.state, outcome.failure.type) == (FAILURE, "ChordError")
    assert f"f[{bad}] failed: ValueError: broken" in outcome.failure.message
    stage.release(good)
    assert stage.states(good) == [SUCCESS]


def test_a_failed_member_is_seen_by_a_body_that_comes_later(stage: Stage) -> None:
    bad, good = stage.task(fails=True), stage.task()
    stage.settle(bad, good)
    (outcome,) = stage.settle(stage.after(good, bad))
    assert outcome.failure is not None
    assert outcome.failure.type == "ChordError"


def test_a_failure_before_a_chord_is_its_bodys_failure_too(stage: Stage) -> None:
    first = stage.task(fails=True, held=True)
    header = [stage.after(first) for _ in range(5)]
    body = stage.after(*header)
    stage.until(lambda: stage.holds(first) and body in stage.accepted)
    stage.release(first)
    (outcome,) = stage.settle(body)
    assert (outcome.origin, outcome.failure) == (first, stage.outcomes[first].failure)


def test_it_is_however_far_the_ways_from_there_to_the_body_are(stage: Stage) -> None:
    first = stage.task(fails=True, held=True)
    short, long = stage.after(first), stage.after(stage.after(stage.after(first)))
    bodies = [stage.after(short, long), stage.after(long, short)]
    last = stage.after(*bodies)
    stage.until(lambda: last in stage.accepted)
    stage.release(first)
    assert [outcome.origin for outcome in stage.settle(*bodies, last)] == [first] * 3


def test_a_revoked_step_revokes_what_takes_its_value_and_fails_what_takes_a_list(stage: Stage) -> None:
    first, other = stage.task(held=True), stage.task()
    second, body = stage.after(first), stage.after(first, other)
    stage.until(lambda: stage.holds(first) and body in stage.accepted)
    stage.client.send([m.Cancel([first], terminate=True)])
    assert stage.states(first, second, body) == [REVOKED, REVOKED, FAILURE]
    assert "was revoked" in str(stage.outcomes[body].failure)
    stage.release(first)


def test_a_step_that_waits_is_cancelled_at_once(stage: Stage) -> None:
    first = stage.task(held=True)
    second = stage.after(first)
    third = stage.after(second)
    stage.client.send([m.Cancel([second])])
    assert stage.states(second, third) == [REVOKED, REVOKED]
    stage.release(first)
    assert stage.states(first) == [SUCCESS]


def test_a_long_chain_fails_from_one_end_to_the_other(stage: Stage) -> None:
    ids = [stage.task(fails=True, held=True)]
    for _ in range(500):
        ids.append(stage.after(ids[-1]))
    stage.until(lambda: ids[-1] in stage.accepted)
    stage.release(ids[0])
    assert set(stage.states(*ids)) == {FAILURE}
    assert stage.runs == [ids[0]]


def test_many_that_fail_together_end_a_body_once(stage: Stage) -> None:
    header = [stage.task(fails=True) for _ in range(300)]
    body = stage.after(*header)
    assert set(stage.states(*header, body)) == {FAILURE}


# ── callbacks ────────────────────────────────────────────────────────────────────────────────────


def test_an_errback_is_called_for_the_failure_of_its_own_task_and_learns_which(stage: Stage) -> None:
    first = stage.task(fails=True)
    second = stage.after(first)
    of_first, of_second = stage.after(first, on=FAILURE), stage.after(second, on=FAILURE)
    assert stage.states(of_first, of_second) == [SUCCESS, REVOKED]
    assert "not called for" in str(stage.outcomes[of_second].failure)
    about = next(a.about for a in stage.given if a.task.id == of_first)
    assert about == stage.tasks[first]


@pytest.mark.parametrize("known", [True, False])
def test_an_errback_that_comes_after_the_failure_learns_which(stage: Stage, keys: Keys, known: bool) -> None:
    """With what it was called is known for a minute."""
    failed = stage.task(fails=True)
    stage.settle(failed)
    assert 0 < keys.redis.ttl(keys(f"call:{failed}")) <= 60
    if not known:
        keys.redis.delete(keys(f"call:{failed}"))
    errback = stage.after(failed, on=FAILURE)
    assert stage.states(errback) == [SUCCESS]
    about = next(a.about for a in stage.given if a.task.id == errback)
    assert about is not None
    assert (about.id, about.name, about.payload) == (failed, "f", b"arguments" if known else b"")
    assert keys.redis.ttl(keys(f"call:{failed}")) != -1  # gone, or soon


@pytest.mark.parametrize("fails", [True, False])
def test_a_callback_that_is_not_called_for_is_revoked_with_all_that_comes_after_it(
    stage: Stage, fails: bool
) -> None:
    task = stage.task(fails=fails, held=True)
    callback = stage.after(task, on=SUCCESS if fails else FAILURE, optional=True)
    header = [stage.after(callback), stage.after(callback)]
    body = stage.after(*header)
    stage.until(lambda: body in stage.accepted)
    stage.release(task)
    assert stage.states(callback, *header, body) == [REVOKED] * 4
    verb = "failed" if fails else "succeeded"
    assert f"not called for: f[{task}] {verb}" in str(stage.outcomes[body].failure)


# ── what is there no more, or not yet ────────────────────────────────────────────────────────────


def test_a_step_after_a_task_that_nobody_knows_fails_and_says_so(stage: Stage) -> None:
    (outcome,) = stage.settle(stage.after("never submitted"))
    assert outcome.failure is not None
    assert (outcome.state, outcome.failure.type) == (FAILURE, "ResultNotFoundError")
    assert "never submitted" in outcome.failure.message


def test_a_step_after_a_task_that_was_refused_is_refused(stage: Stage) -> None:
    refused = stage.task(priority=11)
    step = stage.after(refused)
    last = stage.after(step)
    stage.until(lambda: last in stage.rejected)
    assert refused in stage.rejected[step]
    assert "priority" in stage.rejected[step]


def test_steps_after_tasks_whose_function_is_not_there_yet_come_again_with_them(stage: Stage) -> None:
    stage.blobs["other"] = b"a function"
    options = {"definition": "other", "python": stage.hands[0].hello.python}
    first = stage.task(**options)
    ids = [first, stage.after(first), stage.after(first, **options)]
    assert set(stage.states(*ids)) == {SUCCESS}


def test_a_full_queue_refuses_steps_too(url: str) -> None:
    stage = Stage(url, max_queued=2)
    first = stage.task(held=True)
    second = stage.after(first)
    third = stage.after(second)
    stage.until(lambda: third in stage.rejected)
    assert "max_queued" in stage.rejected[third]
    stage.release(first)
    assert stage.states(second) == [SUCCESS]
    stage.close()


def test_what_a_step_needs_does_not_expire(url: str, keys: Keys) -> None:
    stage = Stage(url, result_expires=0.3)
    first, slow = stage.task(held=True), stage.task(held=True)
    body = stage.after(first, slow)
    stage.until(lambda: stage.holds(first) and body in stage.accepted)
    keys.redis.hset(keys(f"value:{first}"), "large", "value")
    keys.redis.pexpire(keys(f"value:{first}"), 300)
    stage.release(first)
    stage.settle(first)
    stage.turn_for(0.6)
    for kind in ("result", "value"):
        assert keys.redis.pttl(keys(f"{kind}:{first}")) == -1
    stage.release(slow)
    assert stage.states(body) == [SUCCESS]
    stage.until(lambda: not [n for n in keys.all() if n.startswith(("result:", "value:"))], keys.all)
    stage.close()


def test_a_result_that_a_step_needs_is_forgotten_when_the_step_is_done(stage: Stage, keys: Keys) -> None:
    first, slow = stage.task(), stage.task(held=True)
    body = stage.after(first, slow)
    stage.settle(first)
    stage.client.send([m.Forget([first])])
    stage.turn_for(0.1)
    assert keys.redis.exists(keys(f"result:{first}"))
    stage.release(slow)
    assert stage.states(body) == [SUCCESS]
    assert not keys.redis.exists(keys(f"result:{first}"))
    assert keys.redis.exists(keys(f"result:{slow}"))


def test_a_saved_value_is_there_without_a_run(stage: Stage) -> None:
    saved = stage.task(step=m.Step([], m.SAVED))
    (outcome,) = stage.settle(saved)
    assert (outcome.state, outcome.value, stage.runs) == (SUCCESS, b"arguments", [])
    assert stage.states(stage.after(saved)) == [SUCCESS]
    assert saved not in [row["id"] for row in stage.ask("tasks")]


# ── replaced ─────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_is_replaced_ends_as_the_other_one_does(stage: Stage) -> None:
    other, task = stage.task(held=True), stage.task()
    stage.replaced[task] = other
    after = stage.after(task)
    stage.until(lambda: task in stage.runs and stage.holds(other))
    assert f"replaced by f[{other}]" in stage.ask("why", id=task)["text"]
    stage.release(other)
    assert stage.states(task, after) == [SUCCESS, SUCCESS]
    assert stage.outcomes[task].value == stage.outcomes[other].value
    assert stage.runs == [task, other, after]


def test_a_step_may_be_replaced_by_one_that_is_done(stage: Stage) -> None:
    other, first = stage.task(fails=True), stage.task()
    stage.settle(other, first)
    step = stage.task(step=m.Step([first], takes=0), id="step")
    stage.replaced[step] = other
    errback = stage.after(step, on=FAILURE)
    assert stage.states(step, errback) == [FAILURE, SUCCESS]


def test_to_cancel_a_replaced_task_cancels_the_last_of_the_others(stage: Stage) -> None:
    last, middle, task = stage.task(held=True), stage.task(), stage.task()
    stage.replaced |= {task: middle, middle: last}
    stage.until(lambda: {middle, task} <= set(stage.runs) and stage.holds(last))
    stage.client.send([m.Cancel([task])])
    assert stage.states(task, middle, last) == [REVOKED] * 3
    stage.release(last)


def test_a_task_that_is_replaced_by_nothing_or_by_what_waits_for_it_fails(stage: Stage) -> None:
    task, other = stage.task(held=True), stage.task(held=True)
    step = stage.after(other)
    stage.replaced |= {task: "nothing", other: step}
    stage.until(lambda: stage.holds(task) and stage.holds(other) and step in stage.accepted)
    stage.release(task, other)
    for outcome in stage.settle(task, other):
        assert outcome.failure is not None
        assert outcome.failure.type == "ResultNotFoundError"


def test_a_task_that_was_revoked_before_it_is_replaced_ends_with_its_replacement(stage: Stage) -> None:
    other, task = stage.task(queue="nobody"), stage.task(held=True)
    stage.replaced[task] = other
    stage.until(lambda: stage.holds(task))
    stage.client.send([m.Cancel([task], terminate=False)])
    stage.turn_for(0.05)
    stage.release(task)
    assert stage.states(task, other) == [REVOKED, REVOKED]


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────


def test_who_dies_after_an_outcome_leaves_nothing_that_waits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever called the script does not look at the steps that it named: another does."""
    asked = []
    monkeypatch.setattr(link.steps, "attend", lambda desk: (asked.extend(desk.to_look), desk.to_look.clear()))
    first, good = stage.task(fails=True), stage.task()
    second, body = stage.after(first), stage.after(first, good)
    last = stage.after(good, stage.task())
    assert stage.states(second, body, last) == [FAILURE, FAILURE, SUCCESS]
    assert {second, body} <= set(asked)


def test_a_step_whose_worker_dies_runs_again_with_what_it_took(url: str, keys: Keys) -> None:
    stage = Stage(url)
    first = stage.task()
    second = stage.after(first, held=True)
    stage.until(lambda: stage.holds(second))
    stage.client.send([m.Forget([first])])
    stage.hands[0].die()
    again = Stage(url)
    again.release(second)
    again.until(lambda: second in again.runs)
    given = next(a for a in again.given if a.task.id == second)
    assert [outcome.id for outcome in given.inputs] == [first]
    stage.until(lambda: second in stage.outcomes)
    assert not keys.redis.exists(keys(f"result:{first}"))
    again.close()
    stage.close()


# ── words for people ─────────────────────────────────────────────────────────────────────────────


def test_why_names_what_a_step_waits_for_and_how_many_others(stage: Stage) -> None:
    header = [stage.task(held=True) for _ in range(4)]
    body = stage.after(*header)
    last = stage.after(body)
    stage.until(lambda: stage.holds(header[0]) and last in stage.accepted)
    assert stage.ask("why", id=body)["text"].startswith(
        f"it waits for f[{header[0]}] and 3 others: handed to"
    )
    assert stage.ask("why", id=last)["text"].startswith(f"it waits for f[{body}]")
    assert stage.ask("status")["queues"]["default"]["waiting"] == 2
    assert stage.ask("status")["queues"]["default"]["scheduled"] == 0
    stage.release(*header)
    stage.settle(last)
    assert "waiting" not in stage.ask("status")["queues"]["default"]


def test_children_are_those_submitted_by_a_task_and_those_after_it(stage: Stage) -> None:
    first = stage.task()
    second, child = stage.after(first), stage.task(parent_id=first)
    waits = stage.after(child, held=True)
    errback = stage.after(child, on=FAILURE)
    stage.settle(second, child, errback)
    assert [row["id"] for row in stage.ask("children", id=first)] == [second, child]
    assert {row["id"] for row in stage.ask("children", id=child)} == {waits, errback}
    rows = {row["id"]: row["from"] for row in stage.ask("workflow", id=waits)}
    assert [tuple(each) for each in rows[waits]] == [(child, "value")]
    assert [tuple(each) for each in rows[errback]] == [(child, "error")]
    assert [tuple(each) for each in rows[child]] == [(first, "submitted")]
    stage.release(waits)
    stage.settle(waits)


def test_an_errback_that_comes_after_the_others_were_done_knows_the_call_too(stage: Stage) -> None:
    first = stage.task(fails=True)
    stage.settle(first)
    stage.settle(stage.after(first), stage.after(first, on=FAILURE))
    late = stage.after(first, on=FAILURE)
    stage.settle(late)
    (given,) = (assignment for assignment in stage.given if assignment.task.id == late)
    assert given.about is not None
    assert given.about.payload == b"arguments"
