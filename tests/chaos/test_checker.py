"""The checker sees what is wrong with a history that is wrong."""

from tests.chaos import checker
from tests.chaos.checker import Evidence, Report
from tests.chaos.ledger import Run
from tests.chaos.outcomes import MISSING, UNFINISHED, Outcome

FINE = Evidence(
    ["a"], [Run("a", 1, 10)], [("a", Outcome("SUCCESS", 1, 10))], {"a": Outcome("SUCCESS", 1, 10)}
)


def judged(evidence: Evidence) -> Report:
    report = Report("X", "")
    report.judge(evidence)
    return report


def test_a_task_that_ran_once_and_is_known_everywhere_by_one_outcome_is_fine() -> None:
    report = judged(FINE)
    assert not report.broken
    assert (report.tasks, report.lost, report.conflicting, report.repeated) == (1, 0, 0, 0)


def test_a_campaign_without_tasks_shows_nothing() -> None:
    assert judged(Evidence([], [], [], {})).broken


def test_an_acknowledged_task_without_a_record_or_an_outcome_is_lost() -> None:
    for final in ({}, {"a": Outcome(MISSING)}, {"a": Outcome(UNFINISHED)}):
        report = judged(FINE._replace(final=final))
        assert report.lost == 1
        assert "nothing acknowledged is lost" in report.broken[0]


def test_an_outcome_that_changes_after_it_was_seen_is_a_conflict() -> None:
    for later in (Outcome("SUCCESS", 2, 11), Outcome("FAILURE", error="E: no"), Outcome(MISSING)):
        assert checker.conflicting(FINE._replace(final={"a": later})) == ["a"]


def test_two_clients_that_see_different_outcomes_are_a_conflict() -> None:
    seen = [("a", Outcome("SUCCESS", 1, 10)), ("a", Outcome("REVOKED", error="TaskRevokedError: cancelled"))]
    assert checker.conflicting(FINE._replace(seen=seen)) == ["a"]


def test_an_outcome_that_had_not_come_yet_is_no_conflict() -> None:
    assert not checker.conflicting(FINE._replace(seen=[("a", Outcome(UNFINISHED))]))


def test_a_success_that_never_ran_is_baseless() -> None:
    assert checker.baseless(FINE._replace(runs=[])) == ["a"]


def test_the_success_of_an_attempt_that_was_given_up_is_baseless() -> None:
    assert checker.baseless(FINE._replace(runs=[Run("a", 1, 10), Run("a", 2, 11)])) == ["a"]


def test_a_failure_needs_no_run() -> None:
    assert not checker.baseless(Evidence(["a"], [], [], {"a": Outcome("REVOKED", error="cancelled")}))


def test_repetitions_are_runs_beyond_the_first() -> None:
    runs = [Run("a", 1, 10), Run("b", 1, 10), Run("a", 3, 12), Run("a", 2, 11)]
    assert checker.repetitions(runs) == 2
    assert checker.repeated(runs) == {"a": [Run("a", 1, 10), Run("a", 2, 11), Run("a", 3, 12)]}


def test_a_repetition_is_explained_by_the_end_of_each_process_that_ran_it_before() -> None:
    runs = [Run("a", 1, 10), Run("a", 2, 11), Run("a", 3, 12)]
    assert not checker.unexplained(runs, given_up={10, 11})
    assert checker.unexplained(runs, given_up={10}) == ["a"]


def test_two_runs_under_one_lease_have_no_explanation() -> None:
    assert checker.unexplained([Run("a", 1, 10), Run("a", 1, 11)], given_up={10, 11}) == ["a"]
