"""The one table of states."""

import pytest

from nbqueue import states
from nbqueue.core import lifecycle


def test_every_state_of_celery_is_in_the_table() -> None:
    assert set(lifecycle.TRANSITIONS) == states.ALL_STATES | {states.PROGRESS}


def test_nothing_follows_a_ready_state() -> None:
    assert all(not lifecycle.TRANSITIONS[state] for state in states.READY_STATES)


def test_every_step_leads_to_a_state_of_the_table() -> None:
    targets = {target for steps in lifecycle.TRANSITIONS.values() for target in steps.values()}
    assert targets <= set(lifecycle.TRANSITIONS)


def test_a_custom_state_is_a_running_one() -> None:
    assert lifecycle.follow("LOADING", lifecycle.SUCCEED) == states.SUCCESS


def test_a_step_that_is_not_in_the_table_tells_the_tasks_story() -> None:
    with pytest.raises(lifecycle.InvalidTransition, match="task 7"):
        lifecycle.follow(states.SUCCESS, lifecycle.START, "task 7")
