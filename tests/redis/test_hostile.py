"""Somebody else writes into our Redis: nothing of it is unpickled, it is reported, and does no harm."""

import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import nbqueue
from nbqueue import App
from nbqueue import messages as m
from nbqueue.core import inputs
from nbqueue.core.limits import TimeLimits
from nbqueue.transports.redis import records
from nbqueue.transports.redis.names import entry_of, lane_of
from nbqueue.transports.redis.records import Envelope, Kept, Sealed, Summons, Tuned
from nbqueue.wire.signing import Signer, signing_key
from tests.redis.conftest import Keys
from tests.redis.stage import Stage
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until
from tests.worker.cluster import PYTHON

LIMIT = 10.0


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return self.path.touch, ()


@pytest.fixture
def bomb(tmp_path: Path) -> bytes:
    return pickle.dumps(((Bomb(tmp_path / "exploded"),), {}))


def forged(key: bytes = b"not the signing key, but long enough") -> Sealed:
    return Sealed(Signer(key, "default"))


def put(keys: Keys, task: m.Task, envelope: bytes) -> None:
    """Queue a task as a client would."""
    lane = lane_of(task)
    keys.redis.hset(keys("tasks"), task.id, envelope)
    keys.redis.rpush(keys(f"ready:{lane}:{task.priority}"), entry_of(task))
    keys.redis.hincrby(keys("lanes"), lane, 1)
    keys.redis.publish(keys("news"), lane)


@pytest.mark.parametrize("how", ["garbage", "unsigned", "another key", "another id", "altered", "empty"])
def test_a_task_that_is_not_ours_is_not_read(
    how: str, app: App, url: str, keys: Keys, bomb: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        echo.delay(1).get(LIMIT)
        genuine = _one_that_waits(app, keys)
        task = m.Task("evil", "echo", "", bomb, python=PYTHON)
        envelopes = {
            "garbage": b"\x80\x04garbage" * 20,
            "unsigned": b"\0" * 32 + msgspec.msgpack.encode(Envelope(task, "c", "", time.time())),
            "another key": forged().envelope(Envelope(task, "c", "", time.time())),
            "another id": genuine,
            "altered": genuine[:-1] + bytes([genuine[-1] ^ 1]),
            "empty": b"",
        }
        task = m.Task("evil", "echo", "x", b"", python=PYTHON)
        put(keys, task, envelopes[how])
        until(lambda: not keys.redis.hexists(keys("tasks"), "evil"))
        assert echo.delay(2).get(LIMIT) == 2
    assert not (tmp_path / "exploded").exists()
    assert "refused, unread" in caplog.text


def _one_that_waits(app: App, keys: Keys) -> bytes:
    """The envelope of a task of ours."""
    result = app.task(lambda x: x, name="waits").apply_async((1,), queue="nobody")
    result.wait_accepted(LIMIT)
    envelope: bytes = keys.redis.hget(keys("tasks"), result.id)
    return envelope


@pytest.mark.parametrize("how", ["garbage", "another key", "another id"])
def test_a_result_that_is_not_ours_is_not_read(
    how: str, app: App, url: str, keys: Keys, bomb: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        first = echo.delay(1)
        first.get(LIMIT)
    outcome = m.Outcome("evil", 1, "SUCCESS", bomb)
    results = {
        "garbage": b"garbage" * 20,
        "another key": forged().result(Kept(outcome, "echo", "default", "", 0.0, "")),
        "another id": keys.redis.get(keys(f"result:{first.id}")),
    }
    keys.redis.set(keys("result:evil"), results[how])
    with pytest.raises(nbqueue.ResultNotFoundError):
        app.AsyncResult("evil").get(LIMIT)
    assert not (tmp_path / "exploded").exists()
    assert "refused, unread" in caplog.text


def test_news_that_are_not_ours_are_not_read(
    app: App, url: str, keys: Keys, bomb: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = app.task(lambda: 1, name="f").apply_async(queue="nobody")
    result.wait_accepted(LIMIT)
    (channel,) = keys.redis.pubsub_channels(keys.prefix.replace("{", "\\{") + "c:*")
    kept = Kept(m.Outcome(result.id, 1, "SUCCESS", bomb), "f", "nobody", "", 0.0, "")
    update = m.Update(result.id, 1, "EVIL", bomb)
    for message in (
        b"r" + forged().result(kept),
        b"e" + forged().events([update]),
        b"r" + records.pack(kept),
        b"",
        b"x",
    ):
        keys.redis.publish(channel, struct.pack(">I", len(message)) + message)
    keys.redis.publish(channel, b"\xff\xff\xff\xff not a frame")
    keys.redis.publish(channel, b"\x01")
    until(lambda: caplog.text.count("refused, unread") >= 6)
    assert result.state == "PENDING"
    assert not (tmp_path / "exploded").exists()
    result.revoke()
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)


def test_a_definition_that_is_not_ours_is_not_read(
    app: App, url: str, keys: Keys, bomb: bytes, tmp_path: Path
) -> None:
    echo = app.task(lambda x: x, name="echo")
    result = echo.delay(1)
    result.wait_accepted(LIMIT)
    (blob,) = [name for name in keys.all() if name.startswith("blob:") and not is_template(name)]
    keys.redis.set(keys(blob), bomb)
    with executor(url), pytest.raises(nbqueue.SerializationError, match="no longer has"):
        result.get(LIMIT)
    assert not (tmp_path / "exploded").exists()


def is_template(name: str) -> bool:
    return name.startswith("blob:t.")


@pytest.mark.parametrize("how", ["garbage", "another key", "another name", "gone"])
def test_a_template_that_is_not_ours_is_not_read(
    how: str, app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.task(lambda x: x, name="echo")
    app.task(lambda x: -x, name="other").apply_async((1,), queue="nobody").wait_accepted(LIMIT)
    (other,) = filter(is_template, keys.all())
    result = echo.delay(1)
    result.wait_accepted(LIMIT)
    (template,) = (name for name in keys.all() if is_template(name) and name != other)
    task = m.Task("", "other", "", b"", python=PYTHON)
    name = template.partition(":")[2]
    templates = {
        "garbage": b"garbage" * 20,
        "another key": forged().template(name, Envelope(task, "c", "", 0.0)),
        "another name": keys.redis.get(keys(other)),
    }
    if how == "gone":
        keys.redis.delete(keys(template))
    else:
        keys.redis.set(keys(template), templates[how])
    with executor(url):
        until(lambda: not keys.redis.hexists(keys("tasks"), result.id))
        assert app.task(lambda x: x, name="third").delay(2).get(LIMIT) == 2
    assert "refused, unread" in caplog.text
    assert not keys.redis.exists(keys(f"result:{result.id}"))


def test_a_call_is_not_read_under_another_id(
    app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.task(lambda x: x, name="echo")
    one, two = echo.delay(1), echo.delay(2)
    two.wait_accepted(LIMIT)
    keys.redis.hset(keys("tasks"), two.id, keys.redis.hget(keys("tasks"), one.id))
    with executor(url):
        assert one.get(LIMIT) == 1
        until(lambda: not keys.redis.hexists(keys("tasks"), two.id))
    assert "refused, unread" in caplog.text


def test_orders_that_are_not_ours_are_not_followed(
    app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    nap = app.task(lambda: (time.sleep(1.0), "done")[1], name="nap")
    with executor(url):
        result = nap.delay()
        until(lambda: result.state == "STARTED")
        (held,) = [name for name in keys.all() if name.startswith("held:")]
        (token,) = keys.redis.hkeys(keys(held))
        order = forged().events([m.Interrupt(result.id, int(token), "cancel")])
        for channel in keys.redis.pubsub_channels(keys.prefix.replace("{", "\\{") + "[kxw]:*"):
            keys.redis.publish(channel, order)
            keys.redis.publish(channel, b"garbage")
        assert result.get(LIMIT) == "done"
    assert "refused, unread" in caplog.text


def test_nothing_breaks_over_garbage_in_what_is_listed(app: App, url: str, keys: Keys) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        keys.redis.hset(keys("workers"), "evil", b"garbage")
        keys.redis.zadd(keys("alive"), {"evil": time.time() + 3600})
        keys.redis.hset(keys("executors:evil"), "evil/1", b"garbage")
        keys.redis.hset(keys("lanes"), "garbage", 5)
        keys.redis.hset(keys("lanes"), b"\xff\xfe", 5)
        keys.redis.publish(keys("news"), "garbage")
        keys.redis.zadd(keys("timers"), {"garbage": 0.0, "hard:x:y": 0.0, "kill:1:nobody": 0.0, b"\xff": 0.0})
        keys.redis.zadd(keys("due"), {"garbage": 0.0})
        keys.redis.rpush(keys("recent"), b"\xff", "nothing")
        status = app.client.ask("status")
        assert [worker["name"] for worker in status["workers"]] == ["w@test"]
        assert echo.delay(1).get(LIMIT) == 1
        assert app.client.ask("tasks", limit=10)


def test_a_task_is_not_run_again_by_replaying_it(app: App, url: str, keys: Keys) -> None:
    """Whoever kept a genuine entry puts it back after the task has ended."""
    calls: list[int] = []
    echo = app.task(lambda x: x, name="echo")
    result = echo.delay(1)
    result.wait_accepted(LIMIT)
    envelope = keys.redis.hget(keys("tasks"), result.id)
    with executor(url):
        assert result.get(LIMIT) == 1
        before = keys.redis.get(keys(f"result:{result.id}"))
        lane = next(iter(keys.redis.hkeys(keys("lanes")))).decode()
        task = m.Task(result.id, "echo", "x", b"")
        keys.redis.hset(keys("tasks"), result.id, envelope)
        keys.redis.rpush(keys(f"ready:{lane}:0"), entry_of(task))
        keys.redis.hincrby(keys("lanes"), lane, 1)
        until(lambda: not keys.redis.hexists(keys("tasks"), result.id))
        assert echo.delay(2).get(LIMIT) == 2
    assert keys.redis.get(keys(f"result:{result.id}")) == before
    assert not calls


@pytest.mark.parametrize(
    "how", ["unsigned", "another key", "of another kind", "for another worker", "too old", "once more"]
)
def test_workers_obey_no_orders_but_ours(
    how: str, app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = Sealed(Signer(signing_key().encode(), keys.prefix[5:-2]))
    worker = Worker(url, "-c", "1")
    try:
        (id,) = (id.decode() for id in keys.redis.hkeys(keys("workers")))
        listener = keys.redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(keys(f"o:{id}"))
        shutdown = Summons("order", "client", id, time.time(), "shutdown", {})
        if how == "once more":  # as somebody has heard it
            grown = app.control.pool_grow(1, reply=True, timeout=LIMIT)
            assert list(grown[0].values()) == [{"ok": "pool will grow"}]
            until(lambda: len(worker.executors()) == 2)
            sealed = until(lambda: (listener.get_message(timeout=1.0) or {}).get("data"))
        else:
            sealed = {
                "unsigned": b"\0" * 32 + msgspec.msgpack.encode(shutdown),
                "another key": forged().summons(shutdown),
                "of another kind": genuine.events([m.Order(1, "shutdown"), m.Shutdown("go")]),
                "for another worker": genuine.summons(msgspec.structs.replace(shutdown, worker="other")),
                "too old": genuine.summons(msgspec.structs.replace(shutdown, at=time.time() - 100)),
            }[how]
        assert keys.redis.publish(keys(f"o:{id}"), sealed) == 2
        assert keys.redis.publish(keys(f"w:{id}"), genuine.events([m.Shutdown("go")])) == 1
        assert app.control.ping(timeout=LIMIT) == [{f"{_name(app)}": {"ok": "pong"}}]
        assert len(worker.executors()) == (2 if how == "once more" else 1)
        if how != "once more":
            worker.wait_for("refused, unread")
        listener.close()
    finally:
        worker.stop()


def _name(app: App) -> str:
    (name,) = app.control.inspect().active_queues()
    return str(name)


def test_limits_that_somebody_else_set_do_not_hold(
    app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    echo = app.task(lambda x: x, name="echo")
    tuned = Tuned("echo", TimeLimits(None, 0.0))
    for name, sealed in (("echo", forged().tuned(tuned)), ("other", b"x")):
        keys.redis.hset(keys("tuned"), name, sealed)
    with executor(url):
        assert echo.delay(1).get(LIMIT) == 1
    assert "refused, unread" in caplog.text


@pytest.mark.parametrize("how", ["garbage", "of another task", "another key"])
def test_by_what_a_task_was_replaced_is_read_only_if_we_wrote_it(
    how: str, url: str, keys: Keys, bomb: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever writes into Redis cannot make one task end as another did."""
    stage = Stage(url)
    other, third, first = stage.task(), stage.task(), stage.task(held=True)
    step = stage.after(first)
    stage.settle(other, third)
    stage.until(lambda: step in stage.accepted and stage.holds(first))
    ours = Sealed(Signer(signing_key().encode(), url.partition("app=")[2]))
    by = {
        "garbage": "?",
        "of another task": ours.replaced(third, other),
        "another key": forged().replaced(step, other),
    }
    turn = msgspec.msgpack.decode(keys.redis.hget(keys("steps"), step))
    turn |= {"by": by[how], "bad": other, "on": "BY", "after": [other]}
    keys.redis.hset(keys("steps"), step, msgspec.msgpack.encode(turn))
    keys.redis.zadd(keys("timers"), {f"step:0:{step}": 0.0})
    stage.until(lambda: "refused, unread" in caplog.text)
    assert step not in stage.outcomes
    stage.release(first)
    stage.settle(first)
    stage.close()


def test_nothing_breaks_over_garbage_in_the_books_of_workflows(url: str, keys: Keys) -> None:
    stage = Stage(url)
    first, second = stage.task(held=True), stage.task(held=True)
    step, good = stage.after(first), stage.after(second)
    stage.until(lambda: good in stage.accepted and stage.holds(first) and stage.holds(second))
    keys.redis.hset(keys("steps"), step, b"\xc1garbage")
    keys.redis.hset(keys("steps"), "evil", b"garbage")
    keys.redis.hset(keys(f"after:{second}"), mapping={"evil": "SUCCESS", "nobody": "x", "": "y"})
    keys.redis.hset(keys(f"wishes:{first}"), mapping={"evil": b"\xc1", "nobody": msgspec.msgpack.encode([1])})
    keys.redis.set(keys(f"call:{first}"), b"\xc1garbage")
    keys.redis.zadd(keys("timers"), {"step:0:evil": 0.0, "join:0:nobody": 0.0, f"step:0:{good}": 0.0})
    stage.client.send([m.Stream(first, 0, 10)])
    stage.turn_for(0.3)
    stage.release(first, second)
    assert stage.states(first, second, good) == ["SUCCESS"] * 3
    assert stage.states(stage.after(second)) == ["SUCCESS"]
    stage.close()


def test_a_step_that_somebody_lines_up_before_its_turn_gets_no_values_of_others(url: str, keys: Keys) -> None:
    stage = Stage(url)
    first = stage.task(held=True)
    step = stage.after(first, held=True)
    stage.until(lambda: step in stage.accepted and stage.holds(first))
    task = stage.tasks[step]
    lane = lane_of(task)
    keys.redis.set(keys(f"result:{first}"), forged().result(_kept(m.Outcome(first, 1, "SUCCESS", b"evil"))))
    keys.redis.rpush(keys(f"ready:{lane}:0"), entry_of(task))
    keys.redis.hincrby(keys("lanes"), lane, 1)
    stage.until(lambda: stage.holds(step))
    (given,) = (a for a in stage.given if a.task.id == step)
    assert given.inputs == []
    key = inputs.key_of(step, 0)
    stage.hands[0].main.send([m.Need(key)])
    stage.until(lambda: key in stage.defined)
    assert stage.defined[key] == b""
    stage.close()


def _kept(outcome: m.Outcome) -> Kept:
    return Kept(outcome, "f", "default", "", 0.0, "")
