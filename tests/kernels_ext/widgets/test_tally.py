"""How far many tasks are."""

from kernels_ext.widgets.tally import Tally
from nbqueue.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS
from tests.kernels_ext.widgets.fakes import EMPTY


def seen(state, **known):
    return EMPTY._replace(state=state, **known)


def test_a_task_that_is_not_accepted_yet_is_being_sent():
    tally = Tally(1)
    tally.note(0, seen(PENDING, accepted=False))
    assert tally.kind(0) == "sending"


def test_custom_states_are_running_ones():
    tally = Tally(1)
    tally.note(0, seen("DOWNLOADING"))
    assert tally.counts() == {"running": 1}


def test_progress_is_a_fraction_of_255_and_stays_within():
    tally = Tally(4)
    for index, (current, total) in enumerate([(1, 4), (9, 4), (-1, 4), (3, None)]):
        tally.note(index, seen(STARTED, current=current, total=total))
    assert tally.everything()[1] == bytes([63, 255, 0, 0])


def test_all_are_finished_only_when_the_last_one_is():
    tally = Tally(3)
    for index, state in enumerate([SUCCESS, REVOKED]):
        tally.note(index, seen(state))
    assert not tally.finished
    assert list(tally.unfinished()) == [2]
    tally.note(2, seen(FAILURE))
    assert tally.finished


def test_no_tasks_are_finished_tasks():
    assert Tally(0).finished


def test_time_runs_from_the_first_start_to_the_last_end():
    tally = Tally(2)
    assert tally.elapsed(5.0) is None
    tally.note(0, seen(SUCCESS, started_at=2.0, finished_at=3.0))
    assert tally.elapsed(5.0) == 3.0
    tally.note(1, seen(SUCCESS, started_at=1.0, finished_at=4.0))
    assert tally.elapsed(9.0) == 3.0


def test_tasks_of_a_kind_are_found_up_to_a_limit():
    tally = Tally(5)
    for index in (1, 3, 4):
        tally.note(index, seen(FAILURE))
    assert tally.of_kind("failed", 2) == [1, 3]
