"""How a process died, in words."""

from nbqueue.core.deaths import obituary
from nbqueue.messages import ExecutorLost


def test_a_death_that_was_the_only_one_tells_nothing_of_others() -> None:
    death = ExecutorLost("e", 1, 3, peak_memory=55_000_000, stderr="Fatal\n")
    assert obituary(death, 1) == (
        "its process ended with exit code 3; peak memory 55 MB; the last lines of its standard error:\nFatal"
    )


def test_deaths_before_are_told_with_the_setting_that_allows_them() -> None:
    assert obituary(ExecutorLost("e", 1, -9), 3) == (
        "its process was killed by signal 9 (SIGKILL, often for want of memory). It died 3 times,"
        " and the task was started again after each death but the last (the setting max_task_deaths)"
    )
