"""Applications: settings, tasks by name, shared ones, and what is current."""

import asyncio
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import App, Task, current, shared_task
from nbqueue import app as celery_app
from nbqueue import messages as m
from nbqueue.app import base as celery_base
from nbqueue.app import control as celery_control
from nbqueue.app import task as celery_task
from nbqueue.client import options
from nbqueue.client.registry import set_current_application
from nbqueue.exceptions import ConfigurationError, NotRegistered
from nbqueue.result import AsyncResult
from nbqueue.settings import Settings
from nbqueue.testing import InProcessCluster

LIMIT = 20.0
#: as a module has them that imports them
CURRENT_TASK, CURRENT_APP = nbqueue.current_task, nbqueue.current_app


@pytest.fixture(autouse=True)
def nothing_current() -> Iterator[None]:
    yield
    set_current_application(None)


@pytest.fixture(scope="module")
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster(queues=("default", "low", "feeds")) as made:
        yield made


@pytest.fixture
def app(cluster: InProcessCluster) -> App:
    return App("tasks", broker=cluster.url)


def add(x: int, y: int) -> int:
    return x + y


# ── names and options ────────────────────────────────────────────────────────────────────────────


def test_arguments_are_those_of_celery_in_its_order() -> None:
    app = App("proj", "memory://x", "rpc://", ["proj.tasks"])
    conf = app.conf
    assert (conf.broker_url, conf.result_backend, conf.include) == ("memory://x", "rpc://", ("proj.tasks",))


def test_a_task_of_main_is_named_by_the_application() -> None:
    function = type(add)(add.__code__, {"__name__": "__main__"}, "add")
    assert App("tasks").task(function).name == "tasks.add"
    assert App().task(function).name == "add"
    assert App("tasks").task(add).name == f"{__name__}.add"


def test_tasks_are_made_before_there_is_a_configuration(tmp_path: Path) -> None:
    app = App("tasks")
    app.config_from_object("nbq_no_such_config")
    task = app.task(add)
    assert task(1, 2) == 3
    with pytest.raises(ImportError, match="nbq_no_such_config"):
        task.delay(1, 2)


def test_an_unknown_task_is_an_error_that_says_what_to_do(app: App) -> None:
    with pytest.raises(NotRegistered, match=r"tasks\.nothing"):
        _ = app.tasks["tasks.nothing"]
    with pytest.raises(KeyError):
        app.tasks.unregister("tasks.nothing")


def test_options_are_read_as_attributes_and_may_be_set_later(app: App) -> None:
    task = app.task(max_retries=5, queue="low")(add)
    assert (task.max_retries, task.queue, task.time_limit, task.default_retry_delay) == (
        5,
        "low",
        None,
        180.0,
    )
    task.max_retries = 7
    assert (task.max_retries, task.options.max_retries) == (7, 7)
    with pytest.raises(ConfigurationError):
        task.max_retries = -1


def test_calls_are_checked_unless_the_task_says_otherwise(app: App) -> None:
    with pytest.raises(TypeError):
        app.task(add).delay(1)
    assert app.task(typing=False)(add).delay(1, 2).get(LIMIT) == 3


# ── classes ──────────────────────────────────────────────────────────────────────────────────────


def test_self_of_a_task_with_a_base_is_an_object_of_it_one_a_process(app: App) -> None:
    class Counting(app.Task):
        max_retries = 7
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().__call__(*args, **kwargs)

    @app.task(base=Counting, bind=True)
    def count(self: Any, x: int) -> tuple[Any, ...]:
        return x, self.calls, self.request.id, self.max_retries, type(self).__name__

    first, second = count.delay(1), count.delay(2)
    assert first.get(LIMIT) == (1, 1, first.id, 7, "Counting")
    assert second.get(LIMIT) == (2, 2, second.id, 7, "Counting")
    assert count(3) == (3, 1, None, 7, "Counting")


def test_a_class_with_a_run_is_a_task_by_itself(app: App) -> None:
    class Add(app.Task):
        queue = "low"

        def run(self, x: int, y: int) -> tuple[int, str]:
            return x + y, self.request.delivery_info["routing_key"]

    task = app.register_task(Add())
    assert task.name.endswith(".Add")
    assert app.tasks[task.name] is task
    assert task.delay(1, 2).get(LIMIT) == (3, "low")
    with pytest.raises(TypeError):
        task.delay(1)


def test_a_class_is_called_as_its_task_when_it_was_registered_and_its_children_are_not(app: App) -> None:
    class AddTask(Task):
        def run(self, x: int, y: int) -> int:
            return x + y

    class AddMore(AddTask):
        def run(self, x: int, y: int) -> int:
            return x + y + 1

    registered = app.register_task(AddTask())
    assert app.tasks[AddTask.name] is registered
    more = app.register_task(AddMore)
    assert AddMore.name == more.name
    assert more.name.endswith(".AddMore")
    assert app.tasks[AddTask.name] is registered
    assert (registered.delay(1, 2).get(LIMIT), more.delay(1, 2).get(LIMIT)) == (3, 4)
    assert app.register_task(AddTask(), name="tasks.other").name == "tasks.other" == AddTask.name


def test_what_is_no_class_of_tasks_is_refused(app: App) -> None:
    with pytest.raises(TypeError, match="subclass"):
        app.task(base=int)(add)
    with pytest.raises(TypeError, match="subclass"):
        app.register_task(add)


# ── by name ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_sent_by_name_waits_for_a_worker_that_has_it(app: App) -> None:
    result = app.send_task("elsewhere.add", (1, 2), queue="low")
    result.wait_accepted(LIMIT)
    assert result.state == "PENDING"
    assert "elsewhere.add" in result.why()
    result.revoke()


def test_a_result_is_found_by_its_id_alone_or_with_an_application(app: App) -> None:
    sent = app.task(add, name="found.add").delay(1, 2)
    assert sent.get(LIMIT) == 3
    other = App("other", broker="memory://nobody")
    assert AsyncResult(sent.id, app=app).get(LIMIT) == 3
    assert AsyncResult(sent.id, backend=app.backend, task_name="x", app=app).status == "SUCCESS"
    assert AsyncResult(sent.id).app.main == other.main
    app.set_default()
    assert AsyncResult(sent.id).get(LIMIT) == 3


@pytest.mark.parametrize(
    "option",
    ["shadow", "connection", "producer", "root_id", "parent_id", "reply_to", "mandatory", "route_name"],
)
def test_what_celerys_calls_may_say_and_ours_need_not_is_taken_with_a_word(app: App, option: str) -> None:
    options._told.discard(option)
    with pytest.warns(UserWarning, match=f"the option {option} has no effect: "):
        result = app.task(add).apply_async((1, 2), **{option: "x"})
    assert result.get(LIMIT) == 3


def test_modules_have_the_names_that_other_peoples_code_imports(app: App) -> None:
    assert (celery_app.Celery, celery_base.Celery) == (App, App)
    assert celery_app.app_or_default() is celery_app.app_or_default(app) is app
    assert isinstance(app.task(add), celery_task.Task)
    assert isinstance(app.control.inspect(), celery_control.Inspect)
    id = nbqueue.uuid()
    assert app.task(add).apply_async((1, 2), task_id=id) == id


def test_flasks_way_to_run_tasks_in_its_context(cluster: InProcessCluster) -> None:
    entered: list[str] = []

    class FlaskTask(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            entered.append(self.name)
            return self.run(*args, **kwargs)

    flask = App("flask", broker=cluster.url, task_cls=FlaskTask)
    flask.config_from_object({"task_ignore_result": False, "result_serializer": "json"})
    flask.set_default()
    shared = shared_task(ignore_result=False, name="flask.add")(add)
    assert flask.tasks["flask.add"].apply((1, 2)).get() == 3
    assert entered == ["flask.add"]
    assert shared.delay(1, 2).get(LIMIT) == 3


def test_a_function_may_mention_what_is_current(app: App) -> None:
    @app.task
    def mentions() -> tuple[str, str]:
        nbqueue.current_task.update_state(state="HALF")
        return CURRENT_TASK.request.task, type(CURRENT_APP.main).__name__

    assert mentions.delay().get(LIMIT) == (mentions.name, "str")
    assert pickle.loads(pickle.dumps(nbqueue.current_task)) is nbqueue.current_task


def test_a_shared_task_is_that_of_the_current_application(app: App) -> None:
    shared = shared_task(name="shared.add")(add)
    assert shared.delay(1, 2).get(LIMIT) == 3
    other = App("other", broker="memory://nobody")
    assert shared.app is other
    assert other.tasks["shared.add"] is not app.tasks["shared.add"]
    app.set_default()
    assert shared.app is app


def test_the_current_application_is_the_last_or_the_one_that_was_set(app: App) -> None:
    assert nbqueue.current_app == app
    assert nbqueue.current_app.main == "tasks"
    App("quiet", set_as_current=False)
    assert nbqueue.current_app == app
    set_current_application(None)
    assert nbqueue.current_app == nbqueue.default_app()
    assert not nbqueue.current_task


def test_modules_with_tasks_are_imported_when_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("nbq_feeds", "nbq_empty"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "nbq_feeds" / "tasks.py").write_text("seen = True")
    (tmp_path / "nbq_more.py").write_text("seen = True")
    monkeypatch.syspath_prepend(tmp_path)
    app = App("tasks", include=["nbq_more"])
    app.autodiscover_tasks(lambda: ["nbq_feeds", "nbq_empty"])
    assert not {"nbq_feeds.tasks", "nbq_more"} & sys.modules.keys()
    app.import_default_modules()
    assert {"nbq_feeds.tasks", "nbq_more"} <= sys.modules.keys()


# ── routes and annotations ───────────────────────────────────────────────────────────────────────


def queue_of(task: Any, **options: Any) -> str:
    result = task.apply_async((1, 2), **options)
    queue: str = result.record.queue
    assert result.get(LIMIT) == 3
    return queue


@pytest.mark.parametrize(
    "routes",
    [
        {"tasks.add": "low"},
        {"tasks.add": {"queue": "low", "routing_key": "ignored"}},
        {"tasks.*": "low"},
        [("feeds.*", "feeds"), ("tasks.*", {"queue": "low"}), ("*", "feeds")],
        [{"feeds.*": "feeds"}, {"tasks.add": "low"}],
        lambda name, args, kwargs, options, task=None, **_: {"queue": "low"} if args == (1, 2) else None,
    ],
)
def test_a_route_says_where_a_task_goes_unless_it_or_the_call_says(app: App, routes: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app.conf.task_routes = routes
        assert queue_of(app.task(name="tasks.add")(add)) == "low"
        assert queue_of(app.task(name="tasks.add")(add), queue="feeds") == "feeds"
        assert queue_of(app.task(name="tasks.add", queue="feeds")(add)) == "feeds"


def test_a_route_by_a_regular_expression(app: App) -> None:
    app.conf.task_routes = {re.compile(r"(video|image)\..*"): "low"}
    assert queue_of(app.task(name="image.add")(add)) == "low"
    assert queue_of(app.task(name="audio.add")(add)) == "default"


def test_a_route_that_cannot_be_is_told(app: App) -> None:
    app.conf.task_routes = {"tasks.add": 5}
    with pytest.raises(ConfigurationError, match="task_routes"):
        app.task(name="tasks.add")(add).delay(1, 2)


def test_annotations_win_over_what_the_task_says(app: App) -> None:
    app.conf.task_annotations = {"*": {"max_retries": 1, "queue": "low"}, "tasks.add": {"max_retries": 9}}
    task = app.task(name="tasks.add", queue="feeds", max_retries=5)(add)
    assert (task.max_retries, task.queue) == (9, "low")
    assert queue_of(task) == "low"
    app.conf.task_annotations = {"tasks.add": {"nonsense": 1}}
    with pytest.raises(TypeError, match="nonsense"):
        task.delay(1, 2)


def test_a_rate_that_tasks_have_unless_they_say_another(app: App) -> None:
    app.conf.task_default_rate_limit = "10/m"
    assert app.task(add)._call == {"rate_limit": pytest.approx(10 / 60)}
    assert app.task(rate_limit="1/s")(add)._call == {"rate_limit": 1.0}
    app.conf.task_default_rate_limit = "often"
    with pytest.raises(ConfigurationError, match="task_default_rate_limit"):
        app.task(add).delay(1, 2)


def test_settings_are_the_defaults_of_calls(app: App) -> None:
    app.conf.update(task_ignore_result=True, task_default_priority=4)
    result = app.task(add).delay(1, 2)
    assert result.get(LIMIT) is None
    app.conf.task_ignore_result = False
    assert app.task(add).delay(1, 2).get(LIMIT) == 3


def test_a_task_may_have_the_priority_of_the_one_that_submits_it(app: App) -> None:
    child = app.task(bind=True)(lambda self: self.request.delivery_info["priority"])
    current.run.enter(current.Run(m.Task("parent", "parent", "", b"", priority=6)), whole_process=False)
    try:
        assert child.delay().get(LIMIT, disable_sync_subtasks=False) == 0
        app.conf.task_inherit_parent_priority = True
        assert child.delay().get(LIMIT, disable_sync_subtasks=False) == 6
        assert child.apply_async(priority=2).get(LIMIT, disable_sync_subtasks=False) == 2
    finally:
        current.run.enter(None, whole_process=False)


# ── serializers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
def test_arguments_and_values_are_written_as_the_settings_say(app: App, serializer: str) -> None:
    app.conf.update(task_serializer=serializer, result_serializer=serializer)
    task = app.task(name="tasks.echo")(lambda x: x)
    assert task.delay({"a": [1, 2.5, None, "ä"]}).get(LIMIT) == {"a": [1, 2.5, None, "ä"]}


def test_an_argument_that_the_serializer_cannot_write_is_told_at_once(app: App) -> None:
    task = app.task(name="tasks.echo")(lambda x: None)
    with pytest.raises(TypeError, match="json"):
        task.apply_async((object(),), serializer="json")


def test_what_is_not_accepted_is_refused_before_it_is_loaded(cluster: InProcessCluster) -> None:
    app = App("tasks", broker=cluster.url, accept_content=["json"])
    result = app.task(name="tasks.two")(lambda: 2).delay()
    with pytest.raises(nbqueue.SerializationError, match="only json is accepted"):
        result.get(LIMIT)
    app.conf.accept_content = ["json", "pickle", "msgpack"]
    assert app.task(name="tasks.two")(lambda: 2).delay().get(LIMIT) == 2


def test_without_pickles_an_exception_of_the_interpreter_is_still_itself(cluster: InProcessCluster) -> None:
    app = App("tasks", broker=cluster.url, accept_content=["json"])
    with pytest.raises(ZeroDivisionError):
        app.task(name="tasks.div")(lambda: 1 / 0).delay().get(LIMIT)
    app.conf.accept_content = ["json", "pickle", "msgpack"]
    _ = app.client


# ── where it stands ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (
            "import nbqueue; nbqueue.App('x', broker='pyamqp://guest:secret@localhost//').client",
            1,
            "RabbitMQ",
        ),
        ("import nbqueue; nbqueue.App('x', broker='sqs://').client", 1, "Amazon SQS"),
    ],
)
def test_a_broker_that_we_cannot_speak_to_names_the_way_out(code: str, error: int, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == error
    assert told in done.stderr
    assert "zmq://" in done.stderr
    assert "NBQUEUE_BROKER" in done.stderr
    assert "secret" not in done.stderr


def test_python_tasks_py_is_the_command_line_of_its_application(tmp_path: Path) -> None:
    (tmp_path / "nbq_script.py").write_text(
        textwrap.dedent("""
            from nbqueue import App as Celery

            app = Celery('myapp', broker='memory://there', result_expires=77)

            if __name__ == '__main__':
                app.start()
        """)
    )
    done = subprocess.run(
        [sys.executable, "nbq_script.py", "conf"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "memory://there" in done.stdout
    assert "77.0" in done.stdout


def test_worker_main_is_for_workers() -> None:
    with pytest.raises(ValueError, match="worker"):
        App("tasks").worker_main(["status"])


def test_an_application_that_is_no_variable_cannot_be_started() -> None:
    with pytest.raises(ConfigurationError, match="variable"):
        App("tasks").start(["status"])


def test_a_task_that_is_unpickled_keeps_what_the_settings_said(app: App) -> None:
    import pickle

    app.conf.update(task_time_limit=50, task_default_queue="low")
    task = pickle.loads(pickle.dumps(app.task(name="tasks.add", max_retries=6)(add)))
    assert (task.name, task.max_retries, task.time_limit) == ("tasks.add", 6, 50.0)
    assert task._planned().queue == "low"
    assert task(1, 2) == 3


def test_settings_are_shared_by_nobody() -> None:
    assert App("a", workers=3).conf.workers == 3
    assert Settings().workers == 0


# ── results, and times ───────────────────────────────────────────────────────────────────────────


def test_a_result_knows_what_it_was_called_with_where_it_went_and_when_it_ended(app: App) -> None:
    before = datetime.now(UTC)
    result = app.task(name="tasks.add", queue="low")(add).delay(1, y=2)
    assert result.get(LIMIT) == 3
    assert (result.args, result.kwargs, result.queue) == ((1,), {"y": 2}, "low")
    assert result.date_done is not None
    assert before <= result.date_done <= datetime.now(UTC)
    assert result.date_done.utcoffset() == timedelta(0)
    assert app.AsyncResult("unknown").args is None
    assert app.AsyncResult("unknown").date_done is None
    assert result.maybe_throw() == 3


def test_a_time_without_zone_is_refused_unless_the_settings_have_one(app: App) -> None:
    task = app.task(add)
    soon = datetime(2030, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(ConfigurationError, match="time zone"):
        task.apply_async((1, 2), eta=soon)
    app.conf.timezone = "Europe/Oslo"
    result = task.apply_async((1, 2), eta=soon)
    result.wait_accepted(LIMIT)
    left = float(re.findall(r"in ([\d.]+) s", result.why())[0])
    expected = (datetime(2029, 12, 31, 23, tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    assert left == pytest.approx(expected, abs=60)
    result.revoke()
    with pytest.raises(ConfigurationError, match="ambiguous"):
        task.apply_async((1, 2), eta=datetime(2030, 10, 27, 2, 30))  # noqa: DTZ001 - as above


def test_a_call_that_does_not_wait_for_a_broker_fails_while_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "memory://away"
    app = App("tasks", broker=url, task_publish_retry=False)
    task = app.task(add)
    task.delay(1, 2)
    monkeypatch.setattr(type(app.client), "connected", property(lambda self: False))
    monkeypatch.setattr("nbqueue.client.connections.client_for", lambda *args: app._router._route.client)
    with pytest.raises(ConnectionError):
        task.delay(1, 2)
    monkeypatch.undo()
    app.close()


# ── here and now ─────────────────────────────────────────────────────────────────────────────────


def test_apply_runs_a_task_here_with_its_retries_and_hooks() -> None:
    told: list[str] = []

    class Told(nbqueue.Task):
        def on_retry(self, exc: BaseException, *args: Any) -> None:
            told.append(f"retry {exc}")

        def on_success(self, retval: Any, *args: Any) -> None:
            told.append(f"success {retval}")

        def after_return(self, status: str, *args: Any) -> None:
            told.append(status)

    @App("tasks").task(base=Told, bind=True, autoretry_for=(OSError,), max_retries=3)
    def f(self: Any, often: int) -> tuple[int, bool, bool]:
        if self.request.retries < often:
            raise OSError(str(self.request.retries))
        return self.request.retries, self.request.is_eager, self.request.called_directly

    assert f.apply((1,)).get() == (1, True, False)
    assert told == ["retry 0", "RETRY", "success (1, True, False)", "SUCCESS"]
    failed = f.apply((9,))
    assert (failed.state, failed.retries, str(failed.result)) == ("FAILURE", 3, "3")
    assert "OSError" in (failed.traceback or "")
    with pytest.raises(OSError, match="3"):
        failed.get()
    with pytest.raises(OSError, match="3"):
        f.apply((9,), throw=True)


def test_retry_asks_for_another_run_here_too() -> None:
    @App("tasks").task(bind=True, max_retries=2)
    def f(self: Any) -> None:
        self.retry(countdown=1000)

    assert isinstance(f.apply().result, nbqueue.MaxRetriesExceededError)
    with pytest.raises(nbqueue.Retry):
        f()


def test_always_eager_runs_everything_here() -> None:
    app = App("tasks", broker="memory://nobody", task_always_eager=True, task_store_eager_result=True)
    task = app.task(add)
    result = task.delay(1, 2)
    assert (result.get(), result.state, result.ready(), result.id) == (3, "SUCCESS", True, str(result))
    assert app.AsyncResult(result.id).get() == 3
    assert (result.args, result.kwargs) == ((1, 2), {})
    assert task.delay(1, "x").failed()
    app.conf.task_eager_propagates = True
    with pytest.raises(TypeError):
        task.delay(1, "x")


@pytest.mark.parametrize("loop", [False, True])
def test_coroutines_and_generators_run_to_their_ends_here(loop: bool) -> None:
    app = App("tasks")

    @app.task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @app.task
    def items(n: int) -> Iterator[int]:
        yield from range(n)

    async def both() -> tuple[int, list[int]]:
        return later.apply((3,)).get(), items.apply((3,)).get()

    direct = (later.apply((3,)).get(), items.apply((3,)).get())
    assert (asyncio.run(both()) if loop else direct) == (3, [0, 1, 2])


def test_a_task_sent_by_name_goes_to_a_worker_even_if_others_run_here(cluster: InProcessCluster) -> None:
    app = App("tasks", broker=cluster.url, task_always_eager=True)
    with pytest.warns(UserWarning, match=r"elsewhere\.add is not defined here"):
        result = app.send_task("elsewhere.add", (1, 2))
    assert not result.ready()
    result.revoke()


def test_an_application_shows_no_password_and_no_error() -> None:
    assert "secret" not in repr(App("tasks", broker="zmq://user:secret@there:1"))
    app = App("tasks")
    app.config_from_object("nbq_no_such_config")
    assert "tasks" in repr(app)


def test_a_task_finds_results_of_its_calls(app: App) -> None:
    task = app.task(add)
    assert task.AsyncResult(task.delay(1, 2).id).get(LIMIT) == 3


def test_the_current_application_is_there_before_anything_else_is() -> None:
    script = "import nbqueue; print(nbqueue.current_app.main == nbqueue.default_app().main)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "True\n", done.stderr
