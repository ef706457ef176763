"""What is written in a notebook runs in a process that has never seen it."""

import contextvars
import importlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from nbqueue.exceptions import SerializationError
from nbqueue.messages import Task
from nbqueue.wire import captures, payload
from tests.wire.cells import CELLS
from tests.wire.conftest import Notebook


@pytest.mark.parametrize("source", CELLS.values(), ids=CELLS)
def test_runs_on_the_worker_as_it_does_here(notebook: Notebook, source: str) -> None:
    def assert_equal(function: object, *args: object, **kwargs: object) -> None:
        notebook.main.f = function
        expected = function(*args, **kwargs)
        assert notebook.remote("f", *args, **kwargs) == expected

    def assert_value(function: object, value: object, *args: object) -> None:
        assert notebook.remote("f", *args) == value

    checks = {"assert_equal": assert_equal, "assert_value": assert_value}
    vars(notebook.main).update(checks)
    notebook.cell(textwrap.dedent(source))


# ── what a call sees ─────────────────────────────────────────────────────────────────────────────


def test_a_global_is_as_it_is_at_each_call(notebook: Notebook) -> None:
    notebook.cell("K = 5\ndef f(): return K")
    assert notebook.remote("f") == 5
    notebook.cell("K = 6")
    assert notebook.remote("f") == 6


def test_a_captured_value_is_no_part_of_the_definition(notebook: Notebook) -> None:
    notebook.cell("K = 5\ndef f(): return K")
    first = notebook.definer("f").shipment()
    notebook.cell("K = 6")
    second = notebook.definer("f").shipment()
    assert first.definition == second.definition
    assert first.captured != second.captured


def test_a_value_that_is_changed_in_place_reaches_the_worker(notebook: Notebook) -> None:
    notebook.cell("config = {'rate': 1}\ndef f(): return config")
    assert notebook.remote("f") == {"rate": 1}
    notebook.cell("config['rate'] = 2")
    assert notebook.remote("f") == {"rate": 2}


def test_what_a_task_does_to_a_value_is_not_seen_by_the_next(notebook: Notebook) -> None:
    notebook.cell("seen = []\ndef f():\n    seen.append(1)\n    return len(seen)")
    assert [notebook.remote("f") for _ in range(3)] == [1, 1, 1]


def test_a_closures_variable_is_as_it_is_at_each_call(notebook: Notebook) -> None:
    notebook.cell(
        "def make():\n    n = 1\n    log = []\n    def f(): return n, log\n"
        "    def put(x):\n        nonlocal n\n        n = x\n        log.append(x)\n    return f, put\n"
        "f, put = make()"
    )
    assert notebook.remote("f") == (1, [])
    notebook.cell("put(2)")
    assert notebook.remote("f") == (2, [2])


def test_a_helper_that_is_defined_anew_is_used_from_the_next_call_on(notebook: Notebook) -> None:
    notebook.cell("def g(): return 1\ndef f(): return g()")
    old = notebook.task("f")
    notebook.cell("def g(): return 2")
    assert notebook.remote("f") == 2
    assert notebook.worker.run(*old) == 1


def test_a_value_that_becomes_a_function_and_back(notebook: Notebook) -> None:
    notebook.cell("g = 1\ndef f(): return g() if callable(g) else g")
    assert notebook.remote("f") == 1
    notebook.cell("def g(): return 2")
    assert notebook.remote("f") == 2
    notebook.cell("g = 3")
    assert notebook.remote("f") == 3


def test_a_name_that_is_deleted_is_gone_on_the_worker_too(notebook: Notebook) -> None:
    notebook.cell("K = 5\ndef f(): return K")
    assert notebook.remote("f") == 5
    notebook.cell("del K")
    with pytest.raises(NameError):
        notebook.remote("f")
    notebook.cell("K = 7")
    assert notebook.remote("f") == 7


def test_a_class_attribute_that_is_set_anew_reaches_the_worker(notebook: Notebook) -> None:
    notebook.cell("class Config:\n    rate = 1\ndef f(): return Config.rate")
    assert notebook.remote("f") == 1
    notebook.cell("Config.rate = 2")
    assert notebook.remote("f") == 2


def test_a_function_whose_code_is_replaced_in_place_is_another_definition(notebook: Notebook) -> None:
    notebook.cell("def g(): return 1\ndef f(): return g()\ndef h(): return 2")
    assert notebook.remote("f") == 1
    notebook.cell("g.__code__ = h.__code__")
    assert notebook.remote("f") == 2


def test_an_object_that_gets_its_first_attribute_is_seen(notebook: Notebook) -> None:
    notebook.cell("class C: pass\nc = C()\ndef f(): return vars(c)")
    assert notebook.remote("f") == {}
    notebook.cell("c.x = 1")
    assert notebook.remote("f") == {"x": 1}


def test_methods_see_the_globals_of_the_call_whichever_task_brought_the_class(notebook: Notebook) -> None:
    notebook.cell(
        "K = 1\nclass Point:\n    def norm(self): return K\n"
        "def f(p): return p.norm()\ndef g(): return Point().norm()\np = Point()"
    )
    for k in (1, 2, 3):
        notebook.cell(f"K = {k}")
        assert notebook.remote("f", notebook["p"]) == k
        assert notebook.remote("g") == k


# ── classes ──────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_that_comes_back_is_of_the_notebooks_class(notebook: Notebook) -> None:
    notebook.cell(
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "def f(p): return Point(p.x + 1), [p], isinstance(p, Point)"
    )
    made, (returned,), known = notebook.remote("f", notebook["Point"](1))
    assert type(made) is notebook["Point"]
    assert type(returned) is notebook["Point"]
    assert known
    assert made.x == 2


def test_a_class_that_comes_back_leaves_the_notebooks_as_it_was(notebook: Notebook) -> None:
    notebook.cell("K = 1\nclass Point:\n    rate = 1\n    def norm(self): return K\ndef f(): return Point()")
    point = notebook.remote("f")
    notebook.cell("K = 2\nPoint.rate = 3")
    notebook.remote("f")
    assert point.norm() == 2
    assert notebook["Point"].rate == 3
    assert notebook["Point"].norm.__globals__ is vars(notebook.main)


def test_a_function_that_comes_back_does_not_write_into_the_notebook(notebook: Notebook) -> None:
    notebook.cell("K = 1\ndef g(): return K\ndef f():\n    global K\n    K = 99\n    return g")
    returned = notebook.remote("f")
    assert returned() == 99
    assert notebook["K"] == 1


def test_tasks_of_old_and_new_definitions_keep_their_own_class(notebook: Notebook) -> None:
    notebook.cell("class Config:\n    rate = 1\ndef f(): return Config.rate")
    old = notebook.task("f")
    notebook.cell("Config.rate = 2")
    assert notebook.remote("f") == 2
    assert notebook.worker.run(*old) == 1


# ── local modules ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "local_helpers.py").write_text(
        "import typing\nT = typing.TypeVar('T')\nSCALE = 3\n"
        "class Item:\n    def __init__(self, x): self.x = x\n"
        "    def scaled(self) -> T: return self.x * SCALE\n"
        "def scaled(x: T) -> T: return Item(x).scaled()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("local_helpers")
    del sys.modules["local_helpers"]


def test_a_local_module_goes_along(notebook: Notebook, helpers: ModuleType) -> None:
    notebook.cell("import local_helpers\ndef f(x): return local_helpers.scaled(x), local_helpers.SCALE")
    assert notebook.remote("f", 2) == (6, 3)
    helpers.SCALE = 4
    assert notebook.remote("f", 2) == (8, 4)


def test_names_imported_from_a_local_module_go_along(notebook: Notebook, helpers: ModuleType) -> None:
    notebook.cell(
        "from local_helpers import Item, scaled\ndef f(i): return scaled(i.x), Item(1), isinstance(i, Item)"
    )
    value, item, known = notebook.remote("f", helpers.Item(2))
    assert (value, known) == (6, True)
    assert type(item) is helpers.Item


def test_results_of_a_local_modules_class_go_by_name(helpers: ModuleType) -> None:
    assert b"set_class_state" not in payload.dumps_value(helpers.Item(1))
    assert b"set_class_state" in payload.dumps_arguments((helpers.Item(1),), {})


def test_modules_that_the_user_registered_go_by_value() -> None:
    assert b"make_function" not in payload.dumps_arguments((textwrap.dedent,), {})
    cloudpickle.register_pickle_by_value(textwrap)
    try:
        assert b"make_function" in payload.dumps_arguments((textwrap.dedent,), {})
    finally:
        cloudpickle.unregister_pickle_by_value(textwrap)


def test_modules_that_are_loaded_lazily_go_by_name(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lazy(ModuleType):
        pass

    lazy = Lazy("colorsys")
    monkeypatch.setitem(sys.modules, "colorsys", lazy)
    notebook.main.lazy = lazy
    notebook.cell("def f(): return lazy.rgb_to_hsv(1, 0, 0)")
    assert notebook.remote("f") == (0.0, 1.0, 1)


def test_a_worker_in_this_process_uses_the_notebooks_classes_and_its_own_globals(notebook: Notebook) -> None:
    notebook.cell(
        "K = 1\nclass Point: pass\n"
        "def f(p):\n    global K\n    K = 2\n    return isinstance(p, Point), type(p)"
    )
    task, blobs = notebook.task("f", notebook["Point"]())
    context = contextvars.copy_context()
    function = context.run(payload.Definitions(blobs.__getitem__).load, task).function
    args, _ = context.run(payload.loads, task.payload)
    assert function(*args) == (True, notebook["Point"])
    assert notebook["K"] == 1


def test_what_is_installed_goes_by_name(notebook: Notebook) -> None:
    assert payload.dumps_value(textwrap.dedent) == b"".join(
        [b"\x80\x05\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x08textwrap\x94\x8c\x06dedent\x94\x93\x94."]
    )
    notebook.cell("import textwrap\nf = textwrap.dedent")
    assert notebook.definer("f").shipment().python == ""
    assert notebook.remote("f", " a") == "a"


def test_code_that_goes_by_value_names_its_python(notebook: Notebook) -> None:
    notebook.cell("def f(): pass")
    assert notebook.definer("f").shipment().python == f"{sys.version_info.major}.{sys.version_info.minor}"


# ── cheapness ────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_pickled_anew_when_nothing_changed(notebook: Notebook) -> None:
    notebook.cell("K = 5\ndef g(): pass\ndef f(): return g, K")
    definer = notebook.definer("f")
    assert definer.shipment().captured is definer.shipment().captured
    assert definer.shipment().definition is definer.shipment().definition


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "_epoch", 0)


@pytest.mark.usefixtures("epochs")
def test_large_values_travel_once_a_cell_run_and_small_ones_with_each_call(notebook: Notebook) -> None:
    notebook.cell("data = list(range(100_000))\nlog = []\ndef f(): return len(data), data[0], log")
    payload.new_epoch()
    first = notebook.definer("f").shipment()
    assert first.captured_blob is not None
    assert len(first.captured) < 100
    notebook.cell("data[0] = 7\nlog.append(1)")
    assert notebook.definer("f").shipment().captured_blob is first.captured_blob
    assert notebook.remote("f") == (100_000, 0, [1])
    payload.new_epoch()
    assert notebook.remote("f") == (100_000, 7, [1])


@pytest.mark.usefixtures("epochs")
def test_where_no_cells_run_large_values_are_looked_at_for_each_call(notebook: Notebook) -> None:
    notebook.cell("data = list(range(100_000))\ndef f(): return data[0]")
    assert notebook.remote("f") == 0
    same = notebook.definer("f").shipment().captured_blob
    assert notebook.definer("f").shipment().captured_blob is same
    notebook.cell("data[0] = 7")
    assert notebook.remote("f") == 7


def test_a_large_value_that_is_bound_anew_may_become_small(notebook: Notebook) -> None:
    notebook.cell("data = list(range(100_000))\ndef f(): return len(data)")
    assert notebook.remote("f") == 100_000
    notebook.cell("data = [1]")
    assert notebook.definer("f").shipment().captured_blob is None
    assert notebook.remote("f") == 1


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "kwargs", "place"),
    [
        (
            (1, threading.Lock()),
            {},
            "argument 2 of train() cannot be sent: cannot pickle '_thread.lock' object",
        ),
        ((), {"lock": threading.Lock()}, "argument 'lock' of train() cannot be sent"),
        (({"a": [1, threading.Lock()]},), {}, "argument 1['a'][1] of train() cannot be sent"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_named(args: tuple, kwargs: dict, place: str) -> None:
    with pytest.raises(SerializationError) as caught:
        payload.dumps_arguments(args, kwargs, "train")
    assert str(caught.value).startswith(place)


def test_an_attribute_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\nclass Model:\n    def __init__(self): self.lock = threading.Lock()")
    with pytest.raises(SerializationError, match=r"^argument 1\.lock of f\(\) cannot be sent"):
        payload.dumps_arguments((notebook["Model"](),), {}, "f")


def test_a_global_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\nlock = threading.Lock()\nK = 1\ndef f(): return K, lock")
    with pytest.raises(SerializationError, match=r"^the global 'lock', which f\(\) reads, cannot be sent"):
        notebook.remote("f")


def test_a_part_of_a_global_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\nall = {'locks': [threading.Lock()]}\ndef f(): return all")
    with pytest.raises(
        SerializationError, match=r"^the global 'all'\['locks'\]\[0\], which f\(\) reads, cannot be"
    ):
        notebook.remote("f")


def test_a_closures_variable_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell(
        "import threading\ndef make():\n    lock = threading.Lock()\n"
        "    def f(): return lock\n    return f\nf = make()"
    )
    with pytest.raises(SerializationError, match=r"^the variable 'lock' of the function around make"):
        notebook.remote("f")


def test_a_default_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\ndef g(lock=threading.Lock()): pass\ndef f(): return g()")
    with pytest.raises(SerializationError, match=r"^a default of g\(\) cannot be sent"):
        notebook.remote("f")


def test_a_result_that_cannot_be_sent_is_named(notebook: Notebook) -> None:
    notebook.cell("import threading\ndef f(): return {'a': threading.Lock()}")
    with pytest.raises(SerializationError, match=r"^the return value\['a'\] cannot be sent"):
        notebook.remote("f")


def test_a_module_that_the_worker_lacks_is_named(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "only_here.py").write_text("def g(): return 1")
    monkeypatch.syspath_prepend(installed)
    notebook.cell("import only_here\ndef f(): return only_here.g()")
    with pytest.raises(
        ModuleNotFoundError, match="task f needs the module 'only_here', which worker w1 lacks"
    ):
        notebook.remote("f")


def test_a_value_that_cannot_be_loaded_here_says_so() -> None:
    with pytest.raises(SerializationError, match="needs the module 'nowhere'"):
        payload.loads(b"\x80\x04\x8c\x07nowhere\x8c\x01x\x93.")
    with pytest.raises(SerializationError, match="cannot be loaded here"):
        payload.loads(b"garbage")


def test_a_task_that_nobody_registered_or_defined_says_so(notebook: Notebook) -> None:
    definitions = payload.Definitions({}.__getitem__)
    with pytest.raises(SerializationError, match="no task called 'add'"):
        definitions.load(_task("add"))


def _task(name: str, definition: str = "") -> Task:
    return Task(id="1", name=name, definition=definition, payload=b"")


def test_a_registered_task_runs_whatever_definition_comes(notebook: Notebook) -> None:
    definitions = payload.Definitions({}.__getitem__)
    options = payload.TaskOptions(name="add")
    definitions.register("add", max, options)
    assert definitions.load(_task("add", "unknown")) == (max, options, None)


# ── a script ─────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
import pickle, sys
from nbqueue import messages as m
from nbqueue.wire import payload
K = 4
class Point:
    def __init__(self, x): self.x = x
class MyError(Exception): pass
def helper(p): return Point(p.x * K)
def f(p):
    assert isinstance(p, Point)
    return helper(p)
if sys.argv[1] == "send":
    definer = payload.Definer(f, payload.TaskOptions(name="f", autoretry_for=(MyError,)))
    s = definer.shipment()
    task = m.Task(id="1", name="f", definition=s.definition.key, captured=s.captured,
                  payload=payload.dumps_arguments((Point(2),), {}))
    print(pickle.dumps((task, {s.definition.key: s.definition.data})).hex())
"""
LOADER = """
import pickle, sys
from nbqueue.wire import payload
task, blobs = pickle.loads(bytes.fromhex(sys.stdin.read()))
function, options, _ = payload.Definitions(blobs.__getitem__).load(task)
args, kwargs = payload.loads(task.payload)
print(function(*args, **kwargs).x, options.autoretry_for[0].__name__, function.__module__)
"""


def test_a_scripts_functions_go_to_a_process_that_runs_another_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    sent = subprocess.run(
        [sys.executable, script, "send"], env=root, check=True, capture_output=True, text=True
    ).stdout
    answer = subprocess.run(
        [sys.executable, "-c", LOADER], env=root, input=sent, check=True, capture_output=True, text=True
    ).stdout
    assert answer == "8 MyError __main__\n"


def test_what_is_too_large_to_travel_is_refused_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbqueue.wire.codec.MAX_VALUE_BYTES", 1000)
    with pytest.raises(SerializationError, match=r"the arguments of f\(\): 2,0\d\d bytes, and at most 1,000"):
        payload.dumps_arguments((b"x" * 2000,), {}, "f")
    with pytest.raises(SerializationError, match="the return value"):
        payload.dumps_value(b"x" * 2000)


def test_an_open_file_is_refused_and_the_standard_streams_are_not(tmp_path: Path) -> None:
    with open(tmp_path / "data.txt", "w") as file, pytest.raises(SerializationError, match=r"data\.txt"):
        payload.dumps_arguments((file,), {}, "f")
    with open(tmp_path / "data.txt") as file, pytest.raises(SerializationError, match="send its name"):
        payload.dumps_arguments((file,), {}, "f")
