"""What many tasks have in common is kept once, as long as one of them needs it."""

from typing import Any

import msgspec
import pytest

from nbqueue import App
from nbqueue import messages as m
from nbqueue.transports.redis.records import Call, Envelope, Sealed
from nbqueue.transports.redis.templates import Plans, Templates
from nbqueue.wire.signing import ForgedError, Signer
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.waiting import until

LIMIT = 10.0


@pytest.fixture
def sealed() -> Sealed:
    return Sealed(Signer(b"k" * 32, "test"))


@pytest.fixture
def plans(sealed: Sealed) -> Plans:
    return Plans(sealed, "client", "notebook")


def task(**fields: Any) -> m.Task:
    return msgspec.structs.replace(m.Task("id", "add", "definition", b"arguments"), **fields)


def templates_of(keys: Keys) -> list[str]:
    return [name for name in keys.all() if name.startswith("blob:t.")]


def test_calls_with_other_arguments_share_a_plan(plans: Plans) -> None:
    first = plans.of(task())
    assert first is not None
    assert plans.of(task(id="b", payload=b"x", captured=b"y", group="g", parent_id="p", root_id="r")) is first
    assert plans.of(task(queue="other")) is not first
    assert plans.of(task()) is first


@pytest.mark.parametrize(
    "fields",
    [
        {"countdown": 1.0},
        {"expires": 1.0},
        {"headers": {"a": 1}},
        {"step": m.Step(["x"])},
        {"demand": m.Demand()},
    ],
)
def test_what_is_rare_has_no_template(plans: Plans, fields: dict[str, Any]) -> None:
    assert plans.of(task(**fields)) is None


def test_a_call_is_read_as_the_task_that_it_was(sealed: Sealed, plans: Plans) -> None:
    sent = task(captured=b"K = 5", group="g", parent_id="p", root_id="r", priority=3, time_limit=2.0)
    plan = plans.of(sent)
    assert plan is not None
    call = sealed.call("id", Call(plan.key, 7.0, sent.payload, sent.captured, "g", "p", "r"))
    fetched: list[str] = []

    def fetch(name: str) -> bytes | None:
        fetched.append(name)
        return plan.template

    templates = Templates(sealed, fetch)
    for _ in range(2):
        read, at, origin = templates.open("id", call)
        assert (read, at) == (sent, 7.0)
        assert (origin.client, origin.notebook) == ("client", "notebook")
        assert origin.blobs == ("definition", plan.name)
    assert fetched == [plan.name]
    with pytest.raises(ForgedError):
        templates.open("other", call)


def test_an_envelope_is_read_without_a_template(sealed: Sealed) -> None:
    sent = task(headers={"a": 1})
    templates = Templates(sealed, pytest.fail)
    read, at, origin = templates.open("id", sealed.envelope(Envelope(sent, "c", "n", 7.0)))
    assert (read, at, origin.client, origin.blobs) == (sent, 7.0, "c", ("definition",))


def test_a_template_that_has_gone_is_sent_again(app: App, url: str, keys: Keys) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        assert echo.delay(1).get(LIMIT) == 1
        keys.redis.delete(*map(keys, templates_of(keys)))
        assert echo.delay(2).get(LIMIT) == 2
        assert list(echo.map(range(300)).get(LIMIT)) == list(range(300))


def test_nothing_refers_to_a_template_once_its_tasks_have_ended(app: App, url: str, keys: Keys) -> None:
    @app.task(bind=True, max_retries=2)
    def work(self: Any, x: int) -> int:
        if x < 2:  # another call, which is written as a whole
            raise self.retry(args=(x + 1,), countdown=0, throw=True)
        return x

    revoked = work.apply_async((1,), queue="nobody")
    with executor(url):
        assert list(work.map(range(3)).get(LIMIT)) == [2, 2, 2]
    assert keys.redis.exists(keys("references"))
    revoked.revoke()
    until(lambda: not keys.redis.exists(keys("references")), lambda: keys.redis.hgetall(keys("references")))
    assert all(keys.redis.ttl(keys(name)) > 0 for name in templates_of(keys))
