"""Signals of those who send, and headers on their way to the task."""

from collections.abc import Iterator

import pytest

import nbqueue
from nbqueue import signals
from nbqueue.exceptions import ConfigurationError
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[nbqueue.App]:
    with InProcessCluster() as cluster:
        app = nbqueue.App("tasks", broker=cluster.url)
        yield app
        app.close()


def test_what_a_receiver_adds_to_the_headers_reaches_the_task(app):
    @app.task(bind=True)
    def trace(self):
        return self.request.trace_id, self.request.headers

    def add(sender=None, headers=None, **told):
        headers["trace_id"] = f"{sender}:{headers['task']}"

    signals.before_task_publish.connect(add)
    try:
        id, headers = trace.delay().get(LIMIT)
    finally:
        signals.before_task_publish.disconnect(add)
    assert id == f"{trace.name}:{trace.name}"
    assert headers == {"trace_id": id}


def test_both_are_told_of_the_call(app):
    heard = []

    def hear(sender=None, signal=None, body=None, routing_key=None, headers=None, **told):
        heard.append((signal.name, sender, body[:2], routing_key, headers["id"]))

    @app.task
    def add(a, b):
        return a + b

    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(hear, sender=add)
    result = add.apply_async((1, 2), queue="default")
    assert result.get(LIMIT) == 3
    told = (add.name, ((1, 2), {}), "default", result.id)
    assert heard == [("before_task_publish", *told), ("after_task_publish", *told)]


def test_headers_of_a_call_are_plain_values(app):
    @app.task(bind=True)
    def tenant(self):
        return self.request.headers, self.request.origin

    headers, origin = tenant.apply_async(headers={"tenant": 7}).get(LIMIT)
    assert headers == {"tenant": 7}
    assert origin.startswith("gen")
    with pytest.raises(ConfigurationError, match="plain values"):
        tenant.apply_async(headers={"tenant": object()})


def test_eta_and_expiry_are_told_as_moments(app):
    @app.task(bind=True)
    def times(self):
        return self.request.eta, self.request.expires

    eta, expires = times.apply_async(countdown=0.01, expires=60).get(LIMIT)
    assert eta < expires
    assert eta.endswith("+00:00")
    assert times.delay().get(LIMIT) == (None, None)


def test_the_next_run_may_be_another_call(app):
    @app.task(bind=True)
    def again(self, x, mark=""):
        if self.request.retries == 0:
            raise self.retry(args=(x + 1,), kwargs={"mark": "!"}, countdown=0, priority=3)
        return x, mark, self.request.delivery_info["priority"]

    assert again.delay(1).get(LIMIT) == (2, "!", 3)


def test_a_retry_that_is_not_thrown_lets_the_function_clean_up(app):
    @app.task(bind=True)
    def again(self):
        if self.request.retries == 0:
            self.retry(countdown=0, throw=False)
            return "does not count"
        return self.request.retries

    assert again.delay().get(LIMIT) == 1


def test_ignore_keeps_the_state_that_was_set_before(app):
    @app.task(bind=True)
    def fail(self):
        self.update_state(state="FAILURE", meta={"exc_type": "Bad", "exc_message": ["too", "bad"]})
        raise nbqueue.Ignore

    @app.task(bind=True)
    def succeed(self):
        self.update_state(state="SUCCESS", meta="as said")
        raise nbqueue.Ignore

    @app.task(bind=True)
    def overruled(self):
        self.update_state(state="FAILURE")
        return "fine"

    with pytest.raises(nbqueue.RemoteError, match="Bad: too\nbad"):
        fail.delay().get(LIMIT)
    assert succeed.delay().get(LIMIT) == "as said"
    assert overruled.delay().get(LIMIT) == "fine"


def test_a_task_that_rejects_itself_is_run_again_and_no_retry_is_used_up(app):
    @app.task(bind=True)
    def first(self):
        if self.request.attempt == 1:
            raise nbqueue.Reject("not me", requeue=True)
        return self.request.retries, self.request.delivery_info["redelivered"]

    assert first.delay().get(LIMIT) == (0, True)


def test_dont_autoretry_for_is_an_exception_from_autoretry_for(app):
    @app.task(bind=True, autoretry_for=(Exception,), dont_autoretry_for=(KeyError,), default_retry_delay=0)
    def fail(self, kind):
        raise kind(self.request.retries)

    with pytest.raises(KeyError, match="0"):
        fail.delay(KeyError).get(LIMIT)
    with pytest.raises(ValueError, match="3"):
        fail.delay(ValueError).get(LIMIT)
