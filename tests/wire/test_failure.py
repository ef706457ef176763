"""An exception that was raised on a worker looks, here, as if it had been raised here."""

import pickle
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import nbqueue
from nbqueue import exceptions
from nbqueue.exceptions import RemoteError, SerializationError
from nbqueue.messages import Failure
from nbqueue.wire import failure
from tests.wire.conftest import Notebook


def captured(function: Callable[[], Any]) -> Failure:
    """What is taken down of the exception that a function raises."""
    try:
        function()
    except BaseException as exc:
        return failure.capture(exc)
    raise AssertionError("nothing was raised")


def raised(notebook: Notebook, source: str, *args: Any) -> BaseException:
    """The exception that ``f`` of a cell raises on the worker, as it arrives here."""
    notebook.cell(textwrap.dedent(source))
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        notebook.remote("f", *args)
    return caught.value


def shown(exc: BaseException) -> str:
    tb = failure.remote_traceback(exc)
    return "".join(traceback.format_exception(type(exc), exc, tb))


# ── the traceback ────────────────────────────────────────────────────────────────────────────────

CELL = """\
    # a comment
    def divide(a, b):
        return a / b

    class Model:
        def fit(self, x):
            total = 1
            return divide(total, x)

    def f(x):
        return Model().fit(x)
"""


def test_python_shows_the_lines_of_the_cell(notebook: Notebook) -> None:
    exc = raised(notebook, CELL, 0)
    assert type(exc) is ZeroDivisionError
    assert shown(exc) == textwrap.dedent("""\
        Traceback (most recent call last):
          File "/tmp/ipykernel_1/1.py", line 11, in f
            return Model().fit(x)
          File "/tmp/ipykernel_1/1.py", line 8, in fit
            return divide(total, x)
          File "/tmp/ipykernel_1/1.py", line 3, in divide
            return a / b
        ZeroDivisionError: division by zero
    """)


def test_the_text_of_a_failure_names_the_cells(notebook: Notebook) -> None:
    notebook.cell(textwrap.dedent(CELL))
    text = captured(lambda: notebook["f"](0)).traceback
    assert "  Cell In[1], line 3, in divide\n    return a / b\n" in text
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_ipython_shows_the_lines_of_the_cell(notebook: Notebook) -> None:
    ultratb = pytest.importorskip("IPython.core.ultratb")
    exc = raised(notebook, CELL, 0)
    for mode in ("Context", "Verbose", "Plain"):
        formatter = ultratb.FormattedTB(mode=mode, theme_name="nocolor")
        text = formatter.stb2text(
            formatter.structured_traceback(type(exc), exc, failure.remote_traceback(exc), tb_offset=0)
        )
        assert "return divide(total, x)" in text
        assert "ZeroDivisionError: division by zero" in text
        if mode != "Plain":
            assert "----> 3     return a / b" in text
            assert "in divide" in text
            assert "---> 11     return Model().fit(x)" in text


def test_frames_carry_qualified_names(notebook: Notebook) -> None:
    exc = raised(notebook, CELL, 0)
    entry = failure.remote_traceback(exc).tb_next
    code = entry.tb_frame.f_code
    assert (code.co_name, code.co_qualname, code.co_firstlineno) == ("fit", "Model.fit", 6)


def test_frames_of_nbqueue_do_not_stand_before_the_tasks(notebook: Notebook) -> None:
    notebook.cell(textwrap.dedent(CELL))
    namespace: dict[str, Any] = {}
    source = "def call(f):\n    try: f(0)\n    except Exception as exc: return capture(exc)\n"
    exec(compile(source, nbqueue.__file__, "exec"), {"capture": failure.capture}, namespace)
    failed = namespace["call"](notebook["f"])
    assert [frame.name for frame in failed.frames] == ["f", "fit", "divide"]
    assert "nbqueue" not in failed.traceback


def test_raising_it_several_times_piles_up_no_frames(notebook: Notebook) -> None:
    exc = raised(notebook, CELL, 0)
    depths = []
    for _ in range(3):
        try:
            raise exc.with_traceback(failure.remote_traceback(exc))
        except ZeroDivisionError as again:
            depths.append(len(traceback.extract_tb(again.__traceback__)))
    assert depths == [4, 4, 4]


def test_lines_of_a_worker_that_this_process_lacks_come_along(notebook: Notebook) -> None:
    notebook.cell(textwrap.dedent(CELL))
    failed = captured(lambda: notebook["f"](0))
    script = (
        "import pickle, sys, traceback\nfrom nbqueue.wire import failure\n"
        "exc = failure.rebuild(pickle.load(sys.stdin.buffer))\n"
        "print(''.join(traceback.format_exception(exc)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(failed),
        capture_output=True,
        check=True,
        env={"PYTHONPATH": nbqueue.__path__[0] + "/.."},
    ).stdout.decode()
    assert "line 8, in fit\n    return divide(total, x)" in output


def test_a_very_deep_traceback_loses_its_middle(notebook: Notebook) -> None:
    notebook.cell("def g(n): return h(n + 1)\ndef h(n): return g(n + 1)\ndef f(): return g(0)")
    failed = captured(notebook["f"])
    assert failed.type == "RecursionError"
    assert len(failed.frames) == 100
    assert "frames left out]" in failed.traceback
    assert isinstance(failure.rebuild(failed), RecursionError)


def test_long_messages_are_cut(notebook: Notebook) -> None:
    exc = raised(notebook, "def f(): raise ValueError('x' * 10_000_000)")
    assert type(exc) is ValueError
    failed = captured(notebook["f"])
    assert len(failed.message) < 20_000
    assert len(failed.traceback) < 200_000
    assert len(failed.exception) < 200_000


# ── the exception ────────────────────────────────────────────────────────────────────────────────


def test_a_class_of_the_notebook_is_caught_by_its_name(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        class MyError(Exception):
            def __init__(self, code, hint):
                super().__init__(f"code {code}")
                self.code, self.hint = code, hint
        def f(): raise MyError(7, hint="look")
        """,
    )
    assert type(exc) is notebook["MyError"]
    assert (exc.code, exc.hint, str(exc)) == (7, "look", "code 7")


def test_a_constructor_is_not_applied_to_its_own_text(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        class MyError(Exception):
            def __init__(self, name): super().__init__(f"bad {name}")
        def f(): raise MyError("x")
        """,
    )
    assert str(exc) == "bad x"


def test_what_cannot_be_pickled_of_an_exception_is_replaced_by_its_looks(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        import threading
        def f():
            error = ValueError("broken", threading.Lock())
            error.lock = threading.Lock()
            error.kept = 3
            raise error
        """,
    )
    assert type(exc) is ValueError
    assert exc.args[0] == "broken"
    assert exc.args[1].startswith("<unlocked _thread.lock")
    assert exc.lock.startswith("<unlocked _thread.lock")
    assert exc.kept == 3


@pytest.mark.parametrize(
    "source",
    [
        "class E(Exception):\n    def __reduce__(self): raise OSError('no')\ndef f(): raise E('text')",
        "class E(Exception):\n    def __reduce__(self): return int, ()\ndef f(): raise E('text')",
        "class E(Exception):\n    def __init__(self, *, key): pass\ndef f(): raise E(key=1)",
        "class E(Exception):\n    def __str__(self): raise OSError('no')\ndef f(): raise E('text')",
        "class E(Exception):\n    def __repr__(self): raise OSError('no')\ndef f(): raise E('text')",
        "class E(Exception):\n    __slots__ = ('a',)\ndef f(): raise E('text')",
        "from dataclasses import *\n@dataclass(frozen=True)\nclass E(Exception): a: int\ndef f(): raise E(1)",
    ],
)
def test_strange_exceptions_keep_their_class(notebook: Notebook, source: str) -> None:
    exc = raised(notebook, source)
    assert type(exc) is notebook["E"]
    assert failure.remote_traceback(exc) is not None


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "asyncio.CancelledError"]
)
def test_orders_to_the_worker_are_not_carried_out_here(notebook: Notebook, name: str) -> None:
    exc = raised(notebook, f"import asyncio\ndef f(): raise {name}('3')")
    assert type(exc) is RemoteError
    assert exc.type == name.rpartition(".")[2]
    assert str(exc) == f"{exc.type}: 3"


def test_other_base_exceptions_arrive(notebook: Notebook) -> None:
    exc = raised(notebook, "class Stop(BaseException): pass\ndef f(): raise Stop(1)")
    assert type(exc) is notebook["Stop"]


def test_groups_arrive(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        class MyError(Exception): pass
        def f(): raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [MyError(2)])])
        """,
    )
    assert isinstance(exc, ExceptionGroup)
    assert exc.subgroup(notebook["MyError"]) is not None


def test_notes_arrive(notebook: Notebook) -> None:
    exc = raised(notebook, "def f():\n    e = ValueError('x')\n    e.add_note('mind the gap')\n    raise e")
    assert exc.__notes__ == ["mind the gap"]


def test_the_note_says_where_it_was_raised() -> None:
    failed = captured(lambda: 1 / 0)
    assert failure.rebuild(failed, "in task f on w1").__notes__ == ["in task f on w1"]
    assert not hasattr(failure.rebuild(failed), "__notes__")


# ── causes ───────────────────────────────────────────────────────────────────────────────────────

CHAIN = """\
    def read():
        return {}["key"]

    def f(how):
        try:
            read()
        except KeyError as error:
            if how == "from":
                raise ValueError("bad input") from error
            if how == "none":
                raise ValueError("bad input") from None
            raise ValueError("bad input")
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [("from", "was the direct cause of the following"), ("during", "During handling of the above")],
)
def test_what_it_was_raised_from_is_shown_with_its_own_lines(
    notebook: Notebook, how: str, words: str
) -> None:
    text = shown(raised(notebook, CHAIN, how))
    assert "line 2, in read\n    return {}[\"key\"]\nKeyError: 'key'\n" in text
    assert words in text


def test_what_it_was_raised_from_none_of_is_not_shown(notebook: Notebook) -> None:
    exc = raised(notebook, CHAIN, "none")
    assert exc.__suppress_context__ or exc.__context__ is None
    assert "KeyError" not in shown(exc)


def test_what_it_was_raised_from_is_shown_when_its_own_class_is_lost(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        class E(Exception):
            def __new__(cls, *, key): return super().__new__(cls)
            def __init__(self, *, key): pass
        def f():
            try: {}["key"]
            except KeyError as error: raise E(key=1) from error
        """,
    )
    assert type(exc) is RemoteError
    assert "KeyError: 'key'\n" in shown(exc)


def test_exceptions_that_cause_one_another_in_a_circle_end(notebook: Notebook) -> None:
    exc = raised(
        notebook,
        """
        def f():
            a, b = ValueError("a"), ValueError("b")
            a.__cause__, b.__cause__ = b, a
            raise a
        """,
    )
    assert str(exc) == "a"
    assert str(exc.__cause__) == "b"


# ── without its class ────────────────────────────────────────────────────────────────────────────


def test_an_exception_without_its_class_here_shows_its_text_and_lines() -> None:
    failed = Failure(
        type="FancyError",
        module="fancy",
        message="no luck",
        traceback="Traceback …\n  line\nFancyError: no luck\n",
        frames=captured(lambda: 1 / 0).frames,
        exception=pickle.dumps((b"\x80\x05\x8c\x05fancy\x8c\x0aFancyError\x93.", "__cause__", None)),
    )
    exc = failure.rebuild(failed, "in task f")
    assert isinstance(exc, RemoteError)
    assert (exc.type, exc.module, exc.traceback) == ("FancyError", "fancy", failed.traceback)
    assert str(exc) == "FancyError: no luck"
    assert "in captured" in "".join(traceback.format_exception(exc))
    assert exc._render_traceback_() == ["Traceback …", "  line", "FancyError: no luck", "in task f"]


def test_garbage_in_place_of_an_exception_is_no_harm() -> None:
    exc = failure.rebuild(Failure(type="E", module="m", message="", traceback="", exception=b"garbage"))
    assert type(exc) is RemoteError


def test_what_the_broker_says_of_a_task_has_the_class_that_it_names() -> None:
    failed = Failure(type="WorkerLostError", module="nbqueue.exceptions", message="exit code 9", traceback="")
    exc = failure.rebuild(failed)
    assert type(exc) is exceptions.WorkerLostError
    assert str(exc) == "exit code 9"


@pytest.mark.parametrize("error", [KeyError("x"), SerializationError("y"), OSError("z")], ids=repr)
def test_where_pickles_are_not_accepted_exceptions_of_the_interpreter_and_ours_are_themselves(error):
    rebuilt = failure.rebuild(failure.capture(error), accepted={"json"})
    assert (type(rebuilt), str(error) in str(rebuilt)) == (type(error), True)


def test_other_exceptions_are_told_there_and_not_loaded():
    class Loud(Exception):
        def __reduce__(self):
            return pytest.fail, ("it was loaded",)

    taken = failure.capture(ValueError("x"))
    made = msgspec.structs.replace(taken, type="Loud", module="here", exception=pickle.dumps(Loud()))
    rebuilt = failure.rebuild(made, accepted={"json", "msgpack"})
    assert (type(rebuilt).__name__, rebuilt.type) == ("RemoteError", "Loud")
