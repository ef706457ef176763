"""Examples of Celery's own documentation (5.4), page by page: only ``from celery import Celery`` is
``from nbqueue import App as Celery``, and the broker is that of the test.

What the pages show as output is compared; ids, and names of workers, are not.
"""

import datetime
import time
from collections.abc import Iterator
from typing import Any

import pytest

import nbqueue
from nbqueue import App as Celery
from nbqueue import Task, chain, chord, group, signals, signature
from nbqueue.canvas import StampingVisitor
from nbqueue.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
)
from nbqueue.schedules import crontab
from nbqueue.testing import InProcessCluster
from nbqueue.utils.log import get_task_logger

LIMIT = 20.0


class Proj:
    """The tasks that the pages share: ``proj/tasks.py``."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.add = app.task(_add, name="proj.tasks.add")
        self.mul = app.task(_mul, name="proj.tasks.mul")
        self.xsum = app.task(_xsum, name="proj.tasks.xsum")


def _add(x: int, y: int) -> int:
    return x + y


def _mul(x: int, y: int) -> int:
    return x * y


def _xsum(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    with InProcessCluster(executors=3, queues=("default", "lopri", "hipri", "priority.high")) as cluster:
        made = Celery("proj", broker=cluster.url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def proj(app: Celery) -> Proj:
    return Proj(app)


@pytest.fixture
def own() -> Iterator[Celery]:
    """An application whose settings a test may change."""
    with InProcessCluster(queues=("default", "feeds", "images", "web")) as cluster:
        made = Celery("own", broker=cluster.url)
        yield made
        made.close()


# ── Next steps ───────────────────────────────────────────────────────────────────────────────────


def test_next_steps_calling_tasks(proj: Proj) -> None:
    add = proj.add
    assert add.delay(2, 2).get(timeout=LIMIT) == 4
    assert add.apply_async((2, 2)).get(timeout=LIMIT) == 4
    assert add.apply_async((2, 2), queue="lopri", countdown=0.05).get(timeout=LIMIT) == 4
    assert add(2, 2) == 4

    res = add.delay("2", 2)
    with pytest.raises(TypeError):
        res.get(timeout=LIMIT)
    assert isinstance(res.get(propagate=False), TypeError)
    assert (res.failed(), res.successful(), res.state) == (True, False, "FAILURE")


def test_next_steps_designing_workflows(proj: Proj) -> None:
    add, mul, xsum = proj.add, proj.mul, proj.xsum
    assert repr(add.signature((2, 2), countdown=10)) == "proj.tasks.add(2, 2)"
    s1 = add.s(2, 2)
    assert s1.delay().get(timeout=LIMIT) == 4
    s2 = add.s(2)
    assert s2.delay(8).get(timeout=LIMIT) == 10
    assert group(add.s(i, i) for i in range(10))().get(timeout=LIMIT) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    g = group(add.s(i) for i in range(10))
    assert g(10).get(timeout=LIMIT) == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert chain(add.s(4, 4) | mul.s(8))().get(timeout=LIMIT) == 64
    assert (add.s(4) | mul.s(8))(4).get(timeout=LIMIT) == 64
    assert chord((add.s(i, i) for i in range(10)), xsum.s())().get(timeout=LIMIT) == 90
    assert (group(add.s(i, i) for i in range(10)) | xsum.s())().get(timeout=LIMIT) == 90


# ── Calling tasks ────────────────────────────────────────────────────────────────────────────────


def test_calling_on_message(app: Celery) -> None:
    @app.task(bind=True)
    def hello(self: Any, a: int, b: int) -> str:
        time.sleep(0.1)
        self.update_state(state="PROGRESS", meta={"progress": 50})
        time.sleep(0.2)
        self.update_state(state="PROGRESS", meta={"progress": 90})
        time.sleep(0.2)
        return f"hello world: {a + b}"

    bodies: list[Any] = []
    r = hello.apply_async(args=(1, 1))
    assert r.get(on_message=bodies.append, propagate=False) == "hello world: 2"
    told = [
        (body["status"], body["result"]) for body in bodies if body["status"] not in ("PENDING", "STARTED")
    ]
    assert told == [
        ("PROGRESS", {"progress": 50}),
        ("PROGRESS", {"progress": 90}),
        ("SUCCESS", "hello world: 2"),
    ]


def test_calling_link_and_link_error(app: Celery, proj: Proj) -> None:
    heard: list[Any] = []

    @app.task
    def error_handler(request: Any, exc: Any, traceback: Any) -> str:
        return f"Task {request.id} raised exception: {exc!r}"

    @app.task
    def divide(x: int, y: int) -> float:
        return x / y

    res = proj.add.apply_async((2, 2), link=proj.add.s(16))
    assert res.get(timeout=LIMIT) == 4
    (child,) = res.children
    assert child.get(timeout=LIMIT) == 20

    res = divide.apply_async((2, 0), link_error=error_handler.s(), link=[proj.add.s(16)])
    assert isinstance(res.get(timeout=LIMIT, propagate=False), ZeroDivisionError)
    values = {one.name: one.get(timeout=LIMIT, propagate=False) for one in res.children}
    heard.append(values[error_handler.name])
    assert heard == [f"Task {res.id} raised exception: ZeroDivisionError('division by zero')"]


def test_calling_eta_and_expiration(proj: Proj) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.2)
    began = time.monotonic()
    assert proj.add.apply_async((2, 2), eta=soon).get(timeout=LIMIT) == 4
    assert time.monotonic() - began > 0.1
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert proj.add.apply_async((10, 10), expires=later).get(timeout=LIMIT) == 20
    with pytest.raises(TaskRevokedError, match="expired"):
        proj.add.apply_async((10, 10), queue="nobody's", expires=0.05).get(timeout=LIMIT)


def test_calling_serializers_queues_and_results_options(proj: Proj) -> None:
    assert proj.add.apply_async((10, 10), serializer="json").get(timeout=LIMIT) == 20
    assert proj.add.apply_async(queue="priority.high", args=(1, 1)).queue == "priority.high"
    assert proj.add.apply_async((1, 2), ignore_result=True).get(timeout=LIMIT) is None
    assert proj.add.apply_async((1, 2), ignore_result=False).get(timeout=LIMIT) == 3
    with pytest.warns(UserWarning, match="retry_policy has no effect"):
        result = proj.add.apply_async(
            (2, 2),
            retry=True,
            retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
        )
    assert result.get(timeout=LIMIT) == 4


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_basics_and_names(app: Celery) -> None:
    logger = get_task_logger(__name__)

    @app.task(bind=True, name="sum-of-two-numbers")
    def add(self: Any, x: int, y: int) -> tuple[int, str]:
        logger.info(self.request.id)
        return x + y, f"Executing task id {self.request.id}, args: {self.request.args!r}"

    assert add.name == "sum-of-two-numbers"
    result = add.delay(8, 8)
    assert result.get(timeout=LIMIT) == (16, f"Executing task id {result.id}, args: (8, 8)")
    with pytest.raises(TypeError):
        add.delay(8)

    @app.task(typing=False)
    def unchecked(x: int, y: int) -> int:
        return x + y

    assert isinstance(unchecked.delay(8).get(timeout=LIMIT, propagate=False), TypeError)


class Twitter:
    class FailWhaleError(Exception):
        """The page's own error."""

    class LoginError(Exception):
        """Another."""


def test_tasks_retrying(app: Celery) -> None:
    @app.task(bind=True, default_retry_delay=0.01)
    def send_twitter_status(self: Any, oauth: str, tweet: str) -> int:
        try:
            if self.request.retries < 2:
                raise Twitter.LoginError
            return int(self.request.retries)
        except (Twitter.FailWhaleError, Twitter.LoginError) as exc:
            raise self.retry(exc=exc) from exc

    assert send_twitter_status.delay("a", "b").get(timeout=LIMIT) == 2

    @app.task(autoretry_for=(Twitter.FailWhaleError,), retry_kwargs={"max_retries": 2}, retry_backoff=0.01)
    def refresh_timeline(user: str) -> None:
        raise Twitter.FailWhaleError(user)

    result = refresh_timeline.delay("me")
    with pytest.raises(Twitter.FailWhaleError):
        result.get(timeout=LIMIT)
    assert result.retries == 2

    @app.task(bind=True, max_retries=1, default_retry_delay=0.01)
    def exhausted(self: Any) -> None:
        try:
            raise self.retry()
        except self.MaxRetriesExceededError as error:
            raise KeyError("spent") from error

    with pytest.raises(KeyError, match="spent"):
        exhausted.delay().get(timeout=LIMIT)
    assert issubclass(MaxRetriesExceededError, Exception)


def test_tasks_retry_backoff_without_jitter(app: Celery) -> None:
    @app.task(bind=True, autoretry_for=(ValueError,), retry_backoff=0.2, retry_jitter=False)
    def flaky(self: Any) -> float:
        if self.request.retries == 0:
            raise ValueError(time.time())
        return time.time()

    result = flaky.delay()
    while (failure := result.failure) is None:  # of the run that was retried
        time.sleep(0.005)
    assert result.get(timeout=LIMIT) - float(failure.message) >= 0.2


def test_tasks_ignore_and_reject(app: Celery) -> None:
    @app.task(bind=True)
    def some_task(self: Any) -> None:
        self.update_state(state="FAILURE", meta="reason for failure")
        raise Ignore

    @app.task(bind=True)
    def render_scene(self: Any, path: str) -> None:
        raise Reject("out of memory", requeue=False)

    result = some_task.delay()
    with pytest.raises(Exception, match="reason for failure"):
        result.get(timeout=LIMIT)
    with pytest.raises(Reject, match="out of memory"):
        render_scene.delay("x").get(timeout=LIMIT)


def test_tasks_custom_states(app: Celery) -> None:
    @app.task(bind=True)
    def upload_files(self: Any, filenames: list[str]) -> None:
        for i, _ in enumerate(filenames):
            if not self.request.called_directly:
                self.update_state(state="PROGRESS", meta={"current": i, "total": len(filenames)})
        time.sleep(0.5)

    result = upload_files.delay(["a", "b"])
    deadline = time.monotonic() + LIMIT
    while result.state != "PROGRESS" or result.info["current"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert result.info == {"current": 1, "total": 2}
    upload_files(["a"])


class DebugTask(Task):
    """From the page."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return f"TASK STARTING: {self.name}[{self.request.id}]", self.run(*args, **kwargs)


class NaiveAuthenticateServer(Task):
    """A class with state, from the page."""

    def __init__(self) -> None:
        self.users = {"george": "password"}

    def run(self, username: str, password: str) -> bool:
        return self.users.get(username) == password


def test_tasks_custom_classes(app: Celery) -> None:
    @app.task(base=DebugTask)
    def add(x: int, y: int) -> int:
        return x + y

    result = add.delay(1, 2)
    assert result.get(timeout=LIMIT) == (f"TASK STARTING: {add.name}[{result.id}]", 3)
    authenticate = app.register_task(NaiveAuthenticateServer())
    assert app.tasks[authenticate.name] is authenticate
    assert authenticate.delay("george", "password").get(timeout=LIMIT) is True
    assert authenticate.delay("george", "x").get(timeout=LIMIT) is False


def test_tasks_time_limits(app: Celery) -> None:
    @app.task(soft_time_limit=0.2)
    def mytask() -> str:
        try:
            time.sleep(10)
            return "done"
        except SoftTimeLimitExceeded:
            return "cleaned up in a hurry"

    assert mytask.delay().get(timeout=LIMIT) == "cleaned up in a hurry"


# ── Canvas ───────────────────────────────────────────────────────────────────────────────────────


def test_canvas_signatures(proj: Proj) -> None:
    add = proj.add
    s = signature("proj.tasks.add", args=(2, 2), kwargs={"debug": True}, countdown=10)
    assert (s.args, s.kwargs, s.options) == ((2, 2), {"debug": True}, {"countdown": 10})
    assert repr(add.s(2, 2, debug=True)) == "proj.tasks.add(2, 2, debug=True)"
    assert add.s(2, 2)() == 4
    assert ~add.s(2, 2) == 4
    assert add.s(2).delay(4).get(timeout=LIMIT) == 6
    assert add.s(2).clone(args=(4,), kwargs={"debug": True}).args == (4, 2)
    assert add.si(2, 2).clone(args=(4,)).args == (2, 2)


def test_canvas_primitives(proj: Proj) -> None:
    add, mul, xsum = proj.add, proj.mul, proj.xsum
    res = chain(add.s(2, 2), add.s(4), add.s(8))()
    assert (res.get(LIMIT), res.parent.get(LIMIT), res.parent.parent.get(LIMIT)) == (16, 8, 4)
    res = (add.si(2, 2) | add.si(4, 4) | add.si(8, 8))()
    assert (res.get(LIMIT), res.parent.get(LIMIT), res.parent.parent.get(LIMIT)) == (16, 8, 4)
    c1 = add.s(4) | mul.s(8)
    assert c1(16).get(LIMIT) == 160
    c3 = group(add.s(i, i) for i in range(10)) | xsum.s()
    assert c3().get(LIMIT) == 90
    c4 = add.s(16) | group(add.s(i) for i in range(4))
    assert c4(1).get(LIMIT) == [17, 18, 19, 20]
    assert ~xsum.map([list(range(10)), list(range(100))]) == [45, 4950]
    assert ~add.starmap(zip(range(10), range(10), strict=True)) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    res = add.chunks(zip(range(20), range(20), strict=True), 10)()
    assert res.get(LIMIT) == [[*range(0, 20, 2)], [*range(20, 40, 2)]]


def test_canvas_groups_and_chords(app: Celery, proj: Proj) -> None:
    add, xsum = proj.add, proj.xsum

    @app.task
    def raising_task() -> None:
        raise ValueError("something went wrong")

    result = group(add.s(n, n) for n in (2, 4, 8, 16, 32)).apply_async()
    assert result.get(LIMIT) == [4, 8, 16, 32, 64]
    assert (result.ready(), result.successful(), result.completed_count()) == (True, True, 5)
    assert chord(add.s(i, i) for i in range(100))(xsum.s()).get(LIMIT) == 9900
    c = chord([add.s(4, 4), raising_task.s(), add.s(8, 8)])
    with pytest.raises(nbqueue.ChordError, match="something went wrong"):
        c(xsum.s()).get(LIMIT)


def test_canvas_graphs(proj: Proj) -> None:
    res = (proj.add.s(2, 2) | proj.mul.s(8) | proj.mul.s(10)).apply_async()
    assert res.get(LIMIT) == 320
    assert len([value for _, value in res.parent.parent.collect()]) == 3
    assert "proj.tasks.mul" in repr(res.parent.parent.graph)


def test_canvas_stamping(app: Celery, proj: Proj) -> None:
    class MonitoringIdStampingVisitor(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"monitoring_id": "42", "stamped_headers": ["monitoring_id"]}

    @app.task(bind=True)
    def seen(self: Any) -> Any:
        return self.request.stamps["monitoring_id"]

    g = group(seen.s(), seen.s())
    g.stamp(visitor=MonitoringIdStampingVisitor())
    assert g.apply_async().get(timeout=LIMIT) == [["42"], ["42"]]
    sig1 = proj.add.si(2, 2)
    sig1_res = sig1.freeze()
    res = group(sig1, proj.add.si(3, 3)).stamp(stamp="your_custom_stamp").apply_async()
    assert res.get(timeout=LIMIT) == [4, 6]
    assert sig1_res.get(timeout=LIMIT) == 4


# ── Routing, periodic tasks, configuration ───────────────────────────────────────────────────────


def route_task(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any
) -> dict[str, Any] | None:
    if name == "myapp.tasks.compress_video":
        return {"exchange": "video", "exchange_type": "topic", "queue": "web"}
    return None


@pytest.mark.filterwarnings("ignore:the option exchange")
def test_routing(own: Celery) -> None:
    own.conf.task_routes = (
        route_task,  # exchanges have no effect, and say so
        [("feed.tasks.*", {"queue": "feeds"}), ("web.tasks.*", {"queue": "web"})],
        {"images.compress": "images"},
    )
    queues = {
        name: own.task(len, name=name, typing=False).delay([1]).queue
        for name in (
            "feed.tasks.import_feed",
            "web.tasks.x",
            "images.compress",
            "other",
            "myapp.tasks.compress_video",
        )
    }
    assert queues == {
        "feed.tasks.import_feed": "feeds", "web.tasks.x": "web", "images.compress": "images",
        "other": "default", "myapp.tasks.compress_video": "web",
    }  # fmt: skip


def test_periodic_tasks(own: Celery) -> None:
    @own.task
    def add(x: int, y: int) -> int:
        return x + y

    own.conf.beat_schedule = {
        "add-every-30-seconds": {"task": add.name, "schedule": 30.0, "args": (16, 16)},
        "add-every-monday-morning": {
            "task": add.name,
            "schedule": crontab(hour=7, minute=30, day_of_week=1),
            "args": (16, 16),
        },
    }
    own.conf.timezone = "UTC"
    assert {entry.name: entry.schedule for entry in own.beat()} == {
        "add-every-30-seconds": "every 30 seconds",
        "add-every-monday-morning": "30 7 * * 1",
    }


def test_configuration_annotations(own: Celery) -> None:
    @own.task(name="tasks.add")
    def add(x: int, y: int) -> int:
        return x + y

    own.conf.task_annotations = {"tasks.add": {"rate_limit": "10/s"}}
    assert add.rate_limit == 10.0
    own.conf.task_annotations = {"*": {"priority": 3}}
    assert add.priority == 3


def test_application(own: Celery) -> None:
    own.conf.update(enable_utc=True, timezone="Europe/London")
    assert own.conf.timezone == "Europe/London"
    assert own.conf.table(with_defaults=False, censored=True)["timezone"] == "Europe/London"
    assert "timezone: 'Europe/London'" in own.conf.humanize(with_defaults=False, censored=True).splitlines()

    class MyBaseTask(Task):
        queue = "feeds"

    own.Task = MyBaseTask

    @own.task
    def add(x: int, y: int) -> int:
        return x + y

    assert (isinstance(add, MyBaseTask), add.queue) == (True, "feeds")


# ── Workers, signals ─────────────────────────────────────────────────────────────────────────────


def test_workers_remote_control(app: Celery, proj: Proj) -> None:
    reply = app.control.broadcast(
        "rate_limit", {"task_name": "myapp.mytask", "rate_limit": "200/m"}, reply=True
    )
    assert reply == [{"in-process": {"ok": "new rate limit set successfully"}}]
    assert app.control.broadcast("rate_limit", {"task_name": "a", "rate_limit": "1/s"}) is None
    reply = app.control.time_limit("tasks.crawl_the_web", soft=60, hard=120, reply=True)
    assert reply == [{"in-process": {"ok": "time limits set successfully"}}]
    first, second = (proj.add.apply_async((1, 1), countdown=60) for _ in range(2))
    first.wait_accepted(LIMIT)
    second.wait_accepted(LIMIT)
    app.control.revoke([first.id, second.id])
    for result in (first, second):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=LIMIT)
    assert set(app.control.inspect().revoked()["in-process"]) >= {first.id, second.id}
    assert app.control.ping(timeout=LIMIT) == [{"in-process": {"ok": "pong"}}]
    assert app.control.inspect(["worker1.local"]).active_queues() is None
    assert app.control.enable_events(reply=True) == [{"in-process": {"ok": "task events already enabled"}}]
    assert app.control.disable_events(reply=True) == [{"in-process": {"ok": "task events disabled"}}]
    assert app.control.enable_events(reply=True) == [{"in-process": {"ok": "task events enabled"}}]


def test_signals(proj: Proj) -> None:
    sent: list[str] = []

    @signals.after_task_publish.connect(sender="proj.tasks.add")
    def task_sent_handler(sender: Any = None, headers: Any = None, body: Any = None, **kwargs: Any) -> None:
        info = headers if "task" in headers else body
        sent.append(info["id"])

    result = proj.add.delay(1, 1)
    assert result.get(timeout=LIMIT) == 2
    assert sent == [result.id]
