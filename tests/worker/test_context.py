"""What a task can say of itself."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest

from nbqueue import App, progress
from nbqueue.client.registry import keep_current
from nbqueue.exceptions import ConfigurationError, MaxRetriesExceededError, Retry, SerializationError
from nbqueue.messages import Assignment, Progress, Task, Update
from nbqueue.wire import payload
from nbqueue.worker import context
from nbqueue.worker.context import TaskContext
from nbqueue.worker.reports import Reports


def make(*, retries=0, attempt=1, **task):
    assignment = Assignment(Task("id1", "tasks.f", "", b"", **task), 7, retries, attempt)
    return TaskContext(assignment, Reports("id1", 7), "w@host")


@contextmanager
def inside(current):
    context.enter(current, whole_process=False)
    try:
        yield current.reports
    finally:
        context.enter(None, whole_process=False)


def test_outside_of_tasks_there_is_no_context_and_progress_only_iterates():
    assert context.current() is None
    assert list(progress([1, 2, 3], description="x")) == [1, 2, 3]


def test_inside_of_a_task_it_is_the_current_one():
    task = make()
    with inside(task):
        assert context.current() is task
    assert context.current() is None


def test_progress_counts_items_when_they_are_done():
    with inside(make()) as reports:
        seen = [(item, *reports.collect()) for item in progress("abc", description="letters")]
    reported = [Progress("id1", 7, done, 3.0, "letters") for done in (0.0, 1.0, 2.0, 3.0)]
    assert seen == list(zip("abc", reported, strict=False))
    assert reports.collect() == reported[3:]


def test_progress_of_something_without_length_has_the_total_that_was_given_or_none():
    with inside(make()) as reports:
        list(progress(iter("ab")))
        assert reports.collect() == [Progress("id1", 7, 2.0, None, "")]
        list(progress(iter("ab"), total=5))
        assert reports.collect() == [Progress("id1", 7, 2.0, 5.0, "")]


@pytest.mark.parametrize("length", [4, None])
def test_the_total_is_the_length_of_whatever_has_one(length):
    class Loader:
        """Like PyTorch's, it may find out late that it has none."""

        def __iter__(self):
            return iter(range(4))

        def __len__(self):
            if length is None:
                raise TypeError("no length")
            return length

    with inside(make()) as reports:
        list(progress(Loader()))
    assert reports.collect() == [Progress("id1", 7, 4.0, length, "")]


def test_of_nested_loops_the_outermost_reports():
    with inside(make()) as reports:
        for _ in progress(range(2), description="outer"):
            for _ in progress(range(100), description="inner"):
                pass
    assert reports.collect() == [Progress("id1", 7, 2.0, 2.0, "outer")]


def test_a_loop_that_was_left_early_makes_room_for_the_next():
    with inside(make()) as reports:
        for _ in progress(range(10), description="first"):
            break
        list(progress(range(4), description="second"))
    assert reports.collect() == [Progress("id1", 7, 4.0, 4.0, "second")]


def test_only_what_is_new_is_collected_and_of_progress_only_the_latest():
    task = make()
    task.progress(1, 3)
    task.progress(2, 3)
    assert task.reports.collect() == [Progress("id1", 7, 2.0, 3.0, "")]
    assert task.reports.collect() == []


def test_numbers_in_a_meta_move_the_progress_whatever_their_kind():
    task = make()
    task.update_state(meta={"current": np.int64(2), "total": np.float32(4), "description": 5})
    assert task.reports.collect()[0] == Progress("id1", 7, 2.0, 4.0, "5")
    task.update_state(meta={"current": 3, "total": "?"})
    assert task.reports.collect()[0] == Progress("id1", 7, 3.0, None, "")


def test_update_state_pickles_its_meta_at_once():
    task, meta = make(), {"loss": [1]}
    task.update_state(state="TRAINING", meta=meta)
    meta["loss"].append(2)
    (update,) = task.reports.collect()
    assert isinstance(update, Update)
    assert (update.state, payload.loads(update.meta)) == ("TRAINING", {"loss": [1]})


def test_meta_that_cannot_be_pickled_is_the_callers_error():
    with pytest.raises(SerializationError):
        make().update_state(meta={"lock": threading.Lock()})


@pytest.mark.parametrize("state", [5, ["A"]])
def test_a_state_that_is_no_text_is_the_callers_error(state):
    with pytest.raises(TypeError, match="a state is a str"):
        make().update_state(state=state)


def test_update_state_cannot_revoke_a_task():
    with pytest.raises(ConfigurationError, match="by returning or raising"):
        make().update_state(state="REVOKED")


def test_an_end_that_is_claimed_is_not_reported_before_the_task_ends():
    task = make()
    task.update_state(state="FAILURE", meta={"exc_type": "Bad"})
    assert task.reports.collect() == []
    assert task.claimed == ("FAILURE", {"exc_type": "Bad"})


def test_the_request_has_celerys_fields():
    request = make(
        retries=1, attempt=3, queue="gpu", priority=4, group="g", parent_id="p", root_id="r"
    ).request
    assert (request.id, request.task, request.hostname) == ("id1", "tasks.f", "w@host")
    assert (request.retries, request.attempt) == (1, 3)
    assert (request.group, request.parent_id, request.root_id) == ("g", "p", "r")
    assert request.delivery_info["routing_key"] == "gpu"
    assert request.delivery_info["redelivered"]


def test_a_task_that_nobody_called_is_its_own_root():
    request = make().request
    assert (request.root_id, request.parent_id, request.group) == ("id1", None, None)


def test_retry_raises_with_the_delay_of_the_task_or_the_one_that_is_given():
    task = make()
    with pytest.raises(Retry) as default:
        task.retry()
    with pytest.raises(Retry) as given:
        task.retry(countdown=5)
    with pytest.raises(Retry) as duration:
        task.retry(countdown=timedelta(minutes=1))
    assert (default.value.countdown, given.value.countdown, duration.value.countdown) == (180.0, 5.0, 60.0)


def test_a_countdown_that_is_no_number_is_the_callers_error():
    with pytest.raises(ValueError, match="soon"):
        make().retry(countdown="soon")


def test_retry_ends_with_the_exception_or_a_message_when_none_are_left():
    with pytest.raises(KeyError):
        make(retries=3).retry(exc=KeyError("x"))
    with pytest.raises(MaxRetriesExceededError, match=r"tasks\.f\[id1\] was retried 3 times"):
        make(retries=3).retry()


def own(self, x):
    """A bound function."""
    return x


def test_self_has_what_the_task_of_the_application_has():
    current = make()
    with keep_current():
        app = App("context", broker="memory://nobody")
        task = app.task(own, bind=True, name="tasks.f", queue="gpu")
        current.function = task.function
        assert (current.queue, repr(current.s(1)), current.s(1).type) == ("gpu", "tasks.f(1)", task)


def test_self_of_a_function_that_was_sent_calls_where_its_own_call_went():
    current = make(queue="gpu", priority=4, serializer="json")
    current.function = own
    assert (current.queue, current.priority, current.serializer) == ("gpu", 4, "json")
    assert current.s is not None
    assert current.name == "tasks.f"


def test_what_a_task_does_not_have_names_the_way_out():
    current = make()
    current.function = own
    with pytest.raises(AttributeError, match=r"'send_event': self\.update_state"):
        _ = current.send_event
    with pytest.raises(AttributeError, match="has no attribute 'colour'"):
        _ = current.colour
    with pytest.raises(AttributeError, match="TaskContext has no attribute '_private'"):
        _ = current._private


def test_a_task_may_name_itself_when_it_sets_its_state_and_nobody_else():
    current = make()
    current.update_state(task_id="id1", state="HALF", meta={"done": 1})
    (update,) = [told for told in current.reports.collect() if isinstance(told, Update)]
    assert update.state == "HALF"
    with pytest.raises(ConfigurationError, match="its own state only, and 'id2' is another one"):
        current.update_state(task_id="id2", state="HALF")
