"""The code of five Celery tutorials, as it stands there: only ``from celery import Celery`` is
``from nbqueue import App as Celery``, and NBQUEUE_BROKER and NBQUEUE_BACKEND say where the tasks go, for
the tutorials name RabbitMQ and Redis.

Each test is one tutorial, its code blocks in their order; what they show as output is compared.
"""

import importlib
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbqueue import App
from nbqueue.client.registry import set_current_application
from nbqueue.exceptions import ConfigurationError
from nbqueue.testing import InProcessCluster

LIMIT = 20.0
IMPORT = "from nbqueue import App as Celery\n"
#: a module is imported under the name that the tutorial gives it, and belongs to one test
MODULES = ("tasks", "celeryconfig", "celery_app", "proj", "proj.celery", "proj.tasks", "requests")


@pytest.fixture(scope="module")
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster(queues=("default", "low-priority", "myqueue")) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path, cluster: InProcessCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the tutorial works in."""
    monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)
    set_current_application(None)


def write(folder: Path, name: str, source: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source))
    importlib.invalidate_caches()


def run(source: str, **names: Any) -> dict[str, Any]:
    """The names after a block of code."""
    exec(textwrap.dedent(source), names)
    return names


def test_celery_fundamentals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = """
        app = Celery('tasks', broker='pyamqp://guest@localhost//')

        @app.task
        def add(x, y):
            return x + y
    """
    write(folder, "tasks.py", IMPORT + textwrap.dedent(tasks))
    names = run("from tasks import add\nresult = add.delay(4, 4)")
    assert names["result"].get(LIMIT) == 8
    names = run(IMPORT + "app = Celery('tasks', backend='rpc://', broker='pyamqp://')")
    names = run("from tasks import add\nresult = add.delay(4, 8)")
    result = names["result"]
    assert result.get(LIMIT) == 12
    assert result.ready()
    assert result.traceback is None


def test_first_steps(folder: Path) -> None:
    tasks = """
        app = Celery('tasks', broker='amqp://guest@localhost//')

        @app.task
        def add(x, y):
            return x + y
    """
    write(folder, "tasks.py", IMPORT + textwrap.dedent(tasks))
    add, app = (lambda module: (module.add, module.app))(importlib.import_module("tasks"))
    assert add.name == "tasks.add"
    result = add.delay(4, 4)
    assert result.get(timeout=LIMIT) == 8
    assert result.get(propagate=False) == 8
    assert result.traceback is None
    assert "rpc://" in repr(result.backend)

    app.conf.CELERY_TASK_SERIALIZER = "json"
    names = run(
        """
        app.conf.update(
            CELERY_TASK_SERIALIZER='json',
            CELERY_ACCEPT_CONTENT=['json'],  # Ignore other content
            CELERY_RESULT_SERIALIZER='json',
            CELERY_TIMEZONE='Europe/Oslo',
            CELERY_ENABLE_UTC=True,
        )
        """,
        app=app,
    )
    conf = names["app"].conf
    assert (conf.task_serializer, conf.accept_content, conf.timezone) == ("json", ("json",), "Europe/Oslo")
    assert add.delay(4, 4).get(timeout=LIMIT) == 8
    app.conf.accept_content = ["json", "pickle", "msgpack"]
    _ = app.client


CELERYCONFIG = """
    BROKER_URL = 'amqp://'
    CELERY_RESULT_BACKEND = 'rpc://'

    CELERY_TASK_SERIALIZER = 'json'
    CELERY_RESULT_SERIALIZER = 'json'
    CELERY_ACCEPT_CONTENT=['json']
    CELERY_TIMEZONE = 'Europe/Oslo'
    CELERY_ENABLE_UTC = True
"""
ROUTES = """
    CELERY_ROUTES = {
        'tasks.add': 'low-priority',
    }
"""
ANNOTATIONS = """
    CELERY_ANNOTATIONS = {
        'tasks.add': {'rate_limit': '10/m'}
    }
"""


def configured(folder: Path, config: str) -> App:
    write(folder, "celeryconfig.py", config)
    app = App("tasks")
    app.config_from_object("celeryconfig")
    return app


def test_a_configuration_module(folder: Path, cluster: InProcessCluster) -> None:
    app = configured(folder, CELERYCONFIG)
    assert app.conf.lookup("BROKER_URL") == (cluster.url, "NBQUEUE_BROKER")
    assert app.conf.lookup("task_serializer") == ("json", "celeryconfig")
    assert app.conf.timezone == "Europe/Oslo"
    checked = subprocess.run([sys.executable, "-m", "celeryconfig"], cwd=folder, capture_output=True)
    assert checked.returncode == 0


def test_routing_a_misbehaving_task(folder: Path) -> None:
    app = configured(folder, ROUTES)
    result = app.task(name="tasks.add")(lambda x, y: x + y).delay(1, 2)
    assert result.get(timeout=LIMIT) == 3
    assert result.queue == "low-priority"


def test_limiting_its_rate(folder: Path) -> None:
    app = configured(folder, ANNOTATIONS)
    add = app.task(name="tasks.add")(lambda x, y: x + y)
    first, second = add.delay(1, 2), add.delay(1, 2)
    assert first.get(timeout=LIMIT) == 3
    assert (second.state, "rate" in second.why()) == ("PENDING", True)
    second.revoke()


def test_quick_start(folder: Path) -> None:
    names = run(
        IMPORT
        + textwrap.dedent(
            """
            app = Celery('tasks', broker='pyamqp://guest@localhost//')

            @app.task
            def add(x, y):
                return x + y

            app = Celery('tasks', broker='pyamqp://', backend='rpc://',)
            """
        ),
        __name__="tasks",
    )
    result = names["add"].delay(4, 4)
    assert result.get(timeout=LIMIT) == 8
    assert result.ready()
    result.forget()


def test_a_project(folder: Path) -> None:
    write(folder, "proj/__init__.py", "")
    write(
        folder,
        "proj/celery.py",
        IMPORT
        + textwrap.dedent(
            """
            app = Celery('proj',
                         broker='amqp://',
                         backend='rpc://',
                         include=['proj.tasks'])

            # Optional configuration, see the application user guide.
            app.conf.update(
                result_expires=3600,
            )

            if __name__ == '__main__':
                app.start()
            """
        ),
    )
    write(
        folder,
        "proj/tasks.py",
        """
        from .celery import app

        @app.task
        def add(x, y):
            return x + y


        @app.task
        def mul(x, y):
            return x * y


        @app.task
        def xsum(numbers):
            return sum(numbers)
        """,
    )
    tasks: Any = importlib.import_module("proj.tasks")
    assert tasks.add(2, 2) == 4
    res = tasks.add.delay(2, 2)
    assert res.get(timeout=LIMIT) == 4
    assert isinstance(res.id, str)
    bad = tasks.add.delay(2, "2")
    with pytest.raises(TypeError):
        bad.get(timeout=LIMIT)
    assert (bad.failed(), bad.successful(), bad.state) == (True, False, "FAILURE")
    assert tasks.xsum.delay([1, 2]).get(timeout=LIMIT) == 3
    res = tasks.app.AsyncResult("this-id-does-not-exist")
    assert res.state == "PENDING"


def test_a_comprehensive_guide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = fake_requests(monkeypatch)
    names = run(
        IMPORT
        + textwrap.dedent(
            """
            app = Celery('myapp', broker='redis://localhost:6379/0')

            if __name__ == '__main__':
                app.start()

            @app.task
            def add(x, y):
                return x + y

            result = add.delay(4, 4)

            if result.ready():
                print('The result is:', result.result)
            else:
                print('The task is still running')

            from requests.exceptions import RequestException

            @app.task(autoretry_for=(RequestException,), retry_kwargs={'max_retries': 5, 'countdown': 60})
            def fetch_url(url):
                response = requests.get(url)
                response.raise_for_status()
                return response.text

            retried = fetch_url

            @app.task(bind=True, max_retries=5)
            def fetch_url(self, url):
                try:
                    response = requests.get(url)
                    response.raise_for_status()
                    return response.text
                except RequestException as e:
                    self.retry(exc=e, countdown=60)

            @app.task(priority=10)
            def important_task():
                pass

            @app.task(queue='myqueue')
            def myqueue_task():
                ## ...
                pass
            """
        ),
        __name__="celery_app",
        requests=requests,
    )
    assert names["result"].get(timeout=LIMIT) == 8
    for task in (names["retried"], names["fetch_url"]):
        assert (task.max_retries, task.apply(("fails once",)).get()) == (5, "text")
        requests.failed = False
        sent = task.delay("fails once")
        while sent.state in ("PENDING", "STARTED"):
            pass
        assert (sent.state, "in 60" in sent.why() or "59." in sent.why()) == ("RETRY", True)
        sent.revoke()
        requests.failed = False
    assert names["important_task"].priority == 9
    assert names["important_task"].delay().get(timeout=LIMIT) is None
    sent = names["myqueue_task"].delay()
    assert (sent.get(timeout=LIMIT), sent.queue) == (None, "myqueue")


def fake_requests(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for requests, whose first answer is an error."""

    class RequestException(IOError):
        pass

    class Response:
        text = "text"

        def raise_for_status(self) -> None:
            if not module.failed:
                module.failed = True
                raise RequestException("try again")

    module: Any = types.ModuleType("requests")
    module.failed = False
    module.get = lambda url: Response()
    module.exceptions = types.ModuleType("requests.exceptions")
    module.exceptions.RequestException = RequestException
    monkeypatch.setitem(sys.modules, "requests", module)
    monkeypatch.setitem(sys.modules, "requests.exceptions", module.exceptions)
    return module


# ── what they name beside their code ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "broker", ["pyamqp://guest@localhost//", "amqp://", "amqp://guest:guest@localhost:5672//", "sqs://"]
)
def test_a_broker_that_is_none_of_ours_names_the_way_out(
    broker: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NBQUEUE_BROKER")
    add = App("tasks", broker=broker).task(lambda x, y: x + y, name="tasks.add")
    with pytest.raises(ConfigurationError, match="NBQUEUE_BROKER=zmq://") as raised:
        add.delay(4, 4)
    assert "guest:guest" not in str(raised.value)


@pytest.mark.parametrize(
    "line",
    [
        "celery -A tasks worker --loglevel=info",
        "celery -A tasks worker --loglevel=INFO",
        "celery -A proj worker -l INFO",
        "celery worker --help",
        "celery --help",
        "celery -A celery_app worker --loglevel=info -Q myqueue",
        "celery -A celery_app call --help",
        "celery -A tasks control rate_limit tasks.add 10/m",
        "celery -A celery_app inspect active",
        "celery -A celery_app inspect reserved",
        "celery -A celery_app inspect scheduled",
        "celery -A celery_app control cancel",
        "celery -A celery_app control pool",
    ],
)
def test_the_command_lines_of_the_tutorials_are_understood(line: str) -> None:
    """Parsed, and no further: tests of processes run workers."""
    from nbqueue.cli.main import cli

    arguments = line.split()[1:]
    arguments = arguments if "--help" in arguments else [*arguments, "--help"]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments, prog_name="nbqueue")
    assert ended.value.code == 0
