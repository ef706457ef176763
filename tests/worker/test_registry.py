"""Tasks of a module that a worker is given with -A."""

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.worker import registry

MODULE = """
from nbqueue.settings import Settings
from nbqueue.wire.payload import TaskOptions

class Task:
    __nbqueue_definition__ = True
    def __init__(self, name, run):
        self.name, self.function, self.options = name, run, TaskOptions(name=name)

class App:
    def __init__(self):
        self.conf = Settings()

    tasks = {"tasks.add": Task("tasks.add", lambda a, b: a + b)}

app = App()
double = Task("double", lambda x: 2 * x)
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_tasks_of_a_module_and_of_its_apps_are_found(folder):
    (folder / "nbq_tasks_1.py").write_text(MODULE)
    tasks = {task.name: task for task in registry.load("nbq_tasks_1").tasks}
    assert sorted(tasks) == ["double", "tasks.add"]
    assert tasks["tasks.add"].function(1, 2) == 3


def test_an_attribute_names_one_app(folder):
    (folder / "nbq_tasks_2.py").write_text(MODULE)
    assert [task.name for task in registry.load("nbq_tasks_2:app").tasks] == ["tasks.add"]


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("nbq_nowhere", "there is no module 'nbq_nowhere'"),
        ("nbq_tasks_3:missing", "has no 'missing'"),
        ("nbq_tasks_3:number", "no tasks there"),
    ],
)
def test_a_mistake_in_the_name_says_what_is_wrong(folder, app, message):
    (folder / "nbq_tasks_3.py").write_text(MODULE)
    with pytest.raises(ConfigurationError, match=message):
        registry.load(app)


def test_a_module_that_lacks_what_it_imports_shows_its_own_error(folder):
    (folder / "nbq_tasks_4.py").write_text("import nbq_not_installed")
    with pytest.raises(ModuleNotFoundError, match="nbq_not_installed"):
        registry.load("nbq_tasks_4")


def test_the_tasks_of_our_own_client_are_recognised(folder):
    source = "import nbqueue\n@nbqueue.task\ndef triple(x):\n    return 3 * x\n"
    (folder / "nbq_tasks_5.py").write_text(source)
    (task,) = registry.load("nbq_tasks_5").tasks
    assert task.function(2) == 6
    assert task.name.endswith("triple")


SET_UP = """
import nbqueue
app = nbqueue.App("nbq_set_up", set_as_current=False)
made = []

@app.on_after_configure.connect
def configured(sender, source, **others):
    made.append("configured")
    sender.add_periodic_task(60.0, later, name="later")

@app.on_after_finalize.connect
def finalized(sender, **others):
    made.append("finalized")
    raise KeyError("not found")

@app.task
def later():
    return made
"""


def test_receivers_of_an_app_make_what_its_tasks_need_and_may_fail(folder, monkeypatch):
    said = []
    monkeypatch.setattr(registry._logger, "exception", lambda text, error: said.append(text % error))
    (folder / "nbq_set_up.py").write_text(SET_UP)
    tasks = {task.name: task for task in registry.load("nbq_set_up").tasks}
    assert tasks["nbq_set_up.later"].function() == ["configured", "finalized"]
    assert said == ["a receiver of on_after_configure or on_after_finalize raised KeyError('not found')"]
