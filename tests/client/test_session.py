"""The client's side of the protocol."""

import itertools
import threading

import pytest

from nbqueue import messages as m
from nbqueue.client.session import Session, Submission
from nbqueue.exceptions import ProtocolError
from nbqueue.wire.shipment import Blob


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
    record = s.records.named("1")
    s.receive(m.Accepted(["1"]))
    assert record.accepted
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert m.Watch(["1"]) in s.take()


def test_a_task_that_is_still_to_be_submitted_is_not_watched_on_a_new_connection() -> None:
    s = session()
    record = s.records.named("1")
    record.known = True  # as Client.submit leaves it, before the I/O thread takes the order
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert s.take() == []


def test_a_new_connection_is_made_while_other_threads_add_records() -> None:
    s = session()
    kept = [s.records.named(str(n)) for n in range(1000)]
    stopped = threading.Event()

    def add() -> None:
        for n in itertools.count(len(kept)):
            if stopped.is_set():
                return
            kept.append(s.records.named(str(n)))

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for boot in range(50):
            s.receive(m.Unknown())
            s.receive(welcome(boot))
    finally:
        stopped.set()
        thread.join()


def test_what_was_not_answered_is_said_again_on_a_new_connection_after_the_submissions() -> None:
    s = session()
    answers: list[m.Answer] = []
    heard: list[str] = []
    s.submit(submission("1"))
    s.make_sure(m.Cancel(["1"]), lambda: heard.append("cancel"))
    s.ask("status", {}, answers.append)
    first = s.take()
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert s.take() == first
    asks = [message for message in first if isinstance(message, m.Ask)]
    for ask in asks:
        s.receive(m.Answer(ask.number, "data"))
    assert heard == ["cancel"]
    assert [answer.data for answer in answers] == ["data"]
    s.receive(m.Accepted(["1"]))
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(3))
    assert s.take() == []


def test_a_question_that_nobody_waits_for_is_not_repeated() -> None:
    s = session()
    answers: list[m.Answer] = []
    s.ask("stop", {}, answers.append)
    s.withdraw(answers.append)
    s.take()
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert s.take() == []


def test_a_broker_that_is_back_has_not_ended() -> None:
    s = session()
    s.receive(m.Shutdown("restart"))
    assert s.ended
    s.receive(m.Unknown())
    s.receive(welcome(2))
    assert not s.ended


def test_when_a_retry_is_due_and_how_a_worker_was_lost_are_known_until_the_next_start() -> None:
    s = session()
    record = s.records.named("1")
    s.receive(m.Retrying("1", 1, None, at=5.0))
    assert record.view().due_at == 1005.0
    s.receive(m.Requeued("1", "its process was killed"))
    assert record.view().setback == "its process was killed"
    s.receive(m.Started("1", 7, "w", 6.0))
    assert (record.view().due_at, record.view().setback) == (None, "")


def test_a_missing_definition_is_sent_with_its_tasks() -> None:
    s = session()
    s.submit(submission("1"))
    s.take()
    s.receive(m.Missing("key", ["1"]))
    assert [type(message) for message in s.take()] == [m.Define, m.Submit]


def test_the_first_outcome_counts() -> None:
    s = session()
    record = s.records.named("1")
    s.receive(m.Settle([m.Outcome("1", 7, "SUCCESS", b"first", at=5.0)]))
    s.receive(m.Settle([m.Outcome("1", 8, "SUCCESS", b"second")]))
    assert record.outcome is not None
    assert record.outcome.value == b"first"
    assert record.finished_at == 1005.0


def test_a_refusal_is_fatal() -> None:
    s = session()
    s.receive(m.Refused("install the same version"))
    assert isinstance(s.fatal, ProtocolError)


def test_one_thing_that_is_denied_is_said_and_harms_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    s = session()
    record = s.records.named("1")
    s.make_sure(m.Cancel(["1"]))
    _, question = s.take()
    s.receive(m.Denied("Cancel", "'wall' is a viewer's key"))
    assert isinstance(question, m.Ask)
    s.receive(m.Answer(question.number))
    assert caplog.messages == ["Cancel was not done: 'wall' is a viewer's key"]
    assert s.fatal is None
    assert not record.settled
    s.receive(m.Settle([m.Outcome("1", 7, "SUCCESS")]))
    assert record.outcome is not None


def test_results_nobody_holds_are_not_kept() -> None:
    s = session()
    s.records.named("1")
    assert s.records.get("1") is None
    s.receive(m.Settle([m.Outcome("1", 7, "SUCCESS")]))


def test_a_task_that_was_cancelled_while_the_broker_lacked_its_function_is_cancelled_again() -> None:
    s = session()
    s.submit(submission("1"))
    s.take()
    s.cancel(["1"], terminate=True)
    ask = s.take()[-1]
    assert isinstance(ask, m.Ask)
    s.receive(m.Missing("key", ["1"]))
    s.receive(m.Noted(ask.number))
    assert [type(message) for message in s.take()] == [m.Define, m.Submit, m.Cancel, m.Ask]
    s.receive(m.Accepted(["1"]))
    s.receive(m.Unknown())
    s.take()
    s.receive(welcome(2))
    assert m.Submit not in [type(message) for message in s.take()]
