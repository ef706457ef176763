"""Methods of a task's class and signals: called in Celery's order, with Celery's arguments."""

import signal as signals_of_process

import pytest

from nbqueue import signals
from nbqueue.exceptions import Ignore, Reject, Retry
from nbqueue.messages import Assignment, Outcome, Returned, Task
from nbqueue.messages import Retry as RetryMessage
from nbqueue.wire import payload
from nbqueue.wire.payload import LoadedTask, TaskOptions
from nbqueue.worker.executor.runner import Runner
from nbqueue.worker.interrupts import Gate
from nbqueue.worker.reports import Reports

TASK_SIGNALS = [
    "task_received", "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry",
    "task_revoked", "task_internal_error",
]  # fmt: skip


class Class:
    """A task's class that writes down how its methods are called."""

    __nbqueue_definition__ = True
    name = "tasks.f"

    def __init__(self, calls):
        self.calls = calls

    def before_start(self, task_id, args, kwargs):
        self.calls.append(("before_start", task_id, args, kwargs))

    def on_success(self, retval, task_id, args, kwargs):
        self.calls.append(("on_success", retval, task_id, args, kwargs))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.calls.append(("on_failure", repr(exc), task_id, einfo.traceback.splitlines()[-1]))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.calls.append(("on_retry", repr(exc), task_id))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.calls.append(("after_return", status, repr(retval), task_id, einfo is not None))


@pytest.fixture
def gate():
    before = signals_of_process.getsignal(signals_of_process.SIGINT)
    gate = Gate()
    gate.attach()
    yield gate
    signals_of_process.signal(signals_of_process.SIGINT, before)


@pytest.fixture
def calls():
    """What was called, in order: methods as tuples, signals by name."""
    calls = []
    receivers = []
    for name in TASK_SIGNALS:
        signal = getattr(signals, name)

        def receiver(sender=None, signal=None, **told):
            calls.append((signal.name, sender.name, *sorted(told)))

        signal.connect(receiver)
        receivers.append((signal, receiver))
    yield calls
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.fixture
def run(gate, calls):
    def run(function, instance=None, args=(2,), **options):
        class Definitions:
            def load(self, task):
                made = Class(calls) if instance is None else instance
                bound = (made,) if options.get("bind") else ()
                made.call_by_worker = lambda args, kwargs: function(*bound, *args, **kwargs)
                return LoadedTask(function, TaskOptions(name="tasks.f", **options), made)

        runner = Runner(Definitions(), gate, worker="w", whole_process=False)
        task = Task("id1", "tasks.f", "", payload.dumps_arguments(args, {}))
        return runner.run(Assignment(task, 7), Reports("id1", 7))

    return run


def names(calls):
    return [call[0] for call in calls]


def test_a_task_that_returns(run, calls):
    assert run(lambda x: 2 * x).state == "SUCCESS"
    assert calls == [
        ("task_received", "tasks.f", "request"),
        ("task_prerun", "tasks.f", "args", "kwargs", "task", "task_id"),
        ("before_start", "id1", (2,), {}),
        ("on_success", 4, "id1", (2,), {}),
        ("task_success", "tasks.f", "result"),
        ("after_return", "SUCCESS", "4", "id1", False),
        ("task_postrun", "tasks.f", "args", "kwargs", "retval", "state", "task", "task_id"),
    ]


def test_a_task_that_raises(run, calls):
    assert run(lambda x: x / 0).state == "FAILURE"
    error = "ZeroDivisionError('division by zero')"
    assert calls[3:] == [
        ("on_failure", error, "id1", "ZeroDivisionError: division by zero"),
        ("task_failure", "tasks.f", "args", "einfo", "exception", "kwargs", "task_id", "traceback"),
        ("after_return", "FAILURE", error, "id1", True),
        ("task_postrun", "tasks.f", "args", "kwargs", "retval", "state", "task", "task_id"),
    ]


def test_a_task_that_is_run_again(run, calls):
    assert isinstance(run(lambda x: x / 0, autoretry_for=(ArithmeticError,)), RetryMessage)
    assert names(calls[3:]) == ["on_retry", "task_retry", "after_return", "task_postrun"]
    assert calls[3][1] == "ZeroDivisionError('division by zero')"
    assert calls[5][1] == "RETRY"


@pytest.mark.parametrize("exception", [Ignore(), Reject(requeue=True)])
def test_of_a_task_that_ignores_or_rejects_itself_only_postrun_is_told(run, calls, exception):
    def f(x):
        raise exception

    ending = run(f)
    assert isinstance(ending, Returned | Outcome)
    assert names(calls[3:]) == ["task_postrun"]


def test_a_cancelled_one_is_told_as_revoked(run, calls, gate):
    def f(x):
        gate.interrupt(7, "cancel")

    assert run(f).state == "REVOKED"
    assert names(calls[3:]) == ["task_revoked", "after_return", "task_postrun"]


def test_self_is_the_instance_where_there_is_one(run, calls):
    instance = Class(calls)
    assert payload.loads(run(lambda self, x: self is instance, instance, bind=True).value) is True


def test_before_start_that_raises_makes_a_failure_and_the_function_is_not_called(run, calls):
    class Bad(Class):
        def before_start(self, *args):
            raise KeyError("not today")

    outcome = run(lambda x: pytest.fail("called"), Bad(calls))
    assert (outcome.state, outcome.failure.type) == ("FAILURE", "KeyError")


def test_on_success_that_raises_makes_a_failure_as_in_celery_5(run, calls):
    class Bad(Class):
        def on_success(self, *args):
            raise KeyError("not written")

    outcome = run(lambda x: x, Bad(calls), autoretry_for=(KeyError,))
    assert (outcome.state, outcome.failure.type) == ("FAILURE", "KeyError")
    assert names(calls[3:]) == [
        "task_internal_error", "on_failure", "task_failure", "after_return", "task_postrun",
    ]  # fmt: skip


def test_other_methods_that_raise_change_nothing(run, calls, caplog):
    class Bad(Class):
        def on_failure(self, *args):
            raise KeyError("no mail")

        def after_return(self, *args):
            raise KeyError("no log")

    outcome = run(lambda x: x / 0, Bad(calls))
    assert outcome.failure.type == "ZeroDivisionError"
    assert "Bad.on_failure of tasks.f[id1] raised KeyError('no mail')" in caplog.text
    assert names(calls).count("task_internal_error") == 2


def test_a_receiver_that_raises_changes_nothing(run):
    def bad(**told):
        raise KeyError("x")

    signals.task_success.connect(bad)
    try:
        assert run(lambda x: x).state == "SUCCESS"
    finally:
        signals.task_success.disconnect(bad)


def test_the_reason_of_a_retry_says_when(run):
    reasons = []

    def hear(sender=None, reason=None, **told):
        reasons.append(reason)

    signals.task_retry.connect(hear)

    def f(self, x):
        from nbqueue.worker.context import current

        current().retry(countdown=5, exc=KeyError("k"))

    run(f, bind=True)
    signals.task_retry.disconnect(hear)
    (reason,) = reasons
    assert isinstance(reason, Retry)
    assert (reason.when, reason.humanize(), repr(reason.exc)) == (5.0, "in 5s", "KeyError('k')")
