"""The client's side of the protocol."""

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.client.session import Blob, Session, Submission
from nbqueue.exceptions import ProtocolError


def session() -> Session:
    new = Session(m.Hello(role=m.CLIENT, id="c"), output_limit=100)
    assert isinstance(new.take()[0], m.Hello)
    new.receive(welcome())
    return new


def welcome(boot: int = 1) -> m.Welcome:
    return m.Welcome(boot, "", 2.0, 10.0, epoch=1000.0)


def submission(id: str) -> Submission:
    return Submission(m.Task(id, "f", "key", b""), (Blob("key", b"blob"),))


def test_a_definition_is_sent_once_a_connection() -> None:
    s = session()
    for id in "123":
        s.submit(submission(id))
    assert [type(message) for message in s.take()] == [m.Define, m.Submit]
    s.submit(submission("4"))
    assert [type(message) for message in s.take()] == [m.Submit]


def test_what_is_said_after_a_submission_is_sent_after_it() -> None:
    s = session()
    s.submit(submission("1"))
    s.say(m.Cancel(["1"]))
    assert [type(message) for message in s.take()] == [m.Define, m.Submit, m.Cancel]


def test_what_was_not_accepted_is_said_again_on_a_new_connection() -> None:
    s = session()
    s.submit(submission("1"))
    s.submit(submission("2"))
    s.take()
    s.receive(m.Accepted(["1"]))
    s.receive(m.Unknown())
    assert isinstance(s.take()[0], m.Hello)
    s.receive(welcome(2))
    define, submit = s.take()
    assert isinstance(define, m.Define)
    assert isinstance(submit, m.Submit)
    assert [task.id for task in submit.tasks] == ["2"]


def test_unfinished_tasks_are_watched_again_on_a_new_connection() -> None:
    s = session()
    record = s.records["1"] = TaskRecord("1")
    record.known = True
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert m.Watch(["1"]) in s.take()


def test_a_missing_definition_is_sent_with_its_tasks() -> None:
    s = session()
    s.submit(submission("1"))
    s.take()
    s.receive(m.Missing("key", ["1"]))
    assert [type(message) for message in s.take()] == [m.Define, m.Submit]


def test_the_first_outcome_counts() -> None:
    s = session()
    record = s.records["1"] = TaskRecord("1")
    s.receive(m.Settle([m.Outcome("1", 7, "SUCCESS", b"first", at=5.0)]))
    s.receive(m.Settle([m.Outcome("1", 8, "SUCCESS", b"second")]))
    assert record.outcome is not None
    assert record.outcome.value == b"first"
    assert record.finished_at == 1005.0


def test_a_refusal_is_fatal() -> None:
    s = session()
    s.receive(m.Refused("install the same version"))
    assert isinstance(s.fatal, ProtocolError)


def test_results_nobody_holds_are_not_kept() -> None:
    s = session()
    s.records["1"] = TaskRecord("1")
    assert len(s.records) == 0
    s.receive(m.Settle([m.Outcome("1", 7, "SUCCESS")]))
