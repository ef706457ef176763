"""``%%submit``: the cell runs once on a worker, and brings its names back."""

import asyncio
import threading

import pytest
from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.error import UsageError

import nbqueue
from nbqueue.exceptions import SerializationError
from tests.kernels_ext.fakes import Submitted


@pytest.fixture
def submitted(monkeypatch):
    sent = Submitted()
    monkeypatch.setattr(nbqueue, "task", sent)
    return sent


def value(result):
    """The value of a submitted cell, once it has run."""
    result.finish()
    return result.get()


# ── what runs ────────────────────────────────────────────────────────────────────────────────────


def test_the_cell_does_not_run_here_and_its_result_is_shown(cells, submitted):
    result = cells.run("%%submit\nx = 20\nx + 1")
    assert result is submitted.results[0]
    assert cells.namespace["_"] is result
    assert "x" not in cells.namespace
    assert value(result) == 21


def test_what_the_cell_reads_is_taken_along_as_it_is_now(cells, submitted):
    cells.run("k = 1\nrows = [1]\nimport math\ndef f(): return k")
    result = cells.run("%%submit\n(k, rows, math.floor(1.5), f())")
    cells.run("k = 2\nrows.append(2)\ndef f(): return None")
    assert value(result) == (1, [1], 1, 1)


def test_only_what_the_cell_reads_is_taken_along(cells, submitted):
    cells.run("import threading\nlock = threading.Lock()\nfile = lock")
    assert value(cells.run("%%submit\nwith open('/dev/null') as file:\n    file.read()\n0")) == 0


def test_names_that_ipython_keeps_stay_behind_except_for_outputs(cells, submitted):
    cells.run("40")
    assert value(cells.run("%%submit\nopen, exit, quit = 1, 2, 3\n_ + 2")) == 42
    assert value(cells.run("%%submit\nopen.__module__")) in ("_io", "io")


def test_inputs_may_be_named_and_nothing_else_goes_then(cells, submitted):
    cells.run("a, b, c = 1, 2, 3")
    result = cells.run("%%submit -i a,b -i c\nsorted(n for n in globals() if len(n) == 1)")
    assert value(result) == ["a", "b", "c"]
    result = cells.run("%%submit -i a\n(a, b)")
    with pytest.raises(NameError, match="'b'"):
        value(result)


def test_options_are_the_tasks(cells, submitted):
    cells.run("%%submit --queue gpu --priority 9 --time-limit 5 --soft-time-limit 4 --name label\n1")
    assert submitted.options == {
        "name": "label",
        "queue": "gpu",
        "priority": 9,
        "time_limit": 5.0,
        "soft_time_limit": 4.0,
    }


def test_it_is_called_after_its_cell(cells, submitted):
    cells.run("1")
    cells.run("%%submit\n1")
    assert submitted.options["name"] == "Cell In[2]"


def test_a_cell_that_only_defines_functions_is_fine(cells, submitted):
    assert value(cells.run("%%submit\ndef f(): return 1")) is None


def test_await_works_at_top_level(cells, submitted):
    assert value(cells.run("%%submit\nimport asyncio\nawait asyncio.sleep(0, 3)")) == 3


def test_an_error_is_shown_with_the_line_of_the_cell(cells, submitted, capsys):
    cells.namespace["result"] = cells.run("%%submit -o x\n\n# a comment\nx = 1 / 0")
    cells.fails("result.run_here()")
    assert "----> 4 x = 1 / 0" in capsys.readouterr().out


# ── names that come back ─────────────────────────────────────────────────────────────────────────


def turn_of_the_loop():
    """Let the kernel's loop do what waits for it."""
    get_asyncio_loop().run_until_complete(asyncio.sleep(0))


def test_outputs_are_unbound_at_submission_and_set_when_done(cells, submitted):
    cells.run("a = b = 'old'")
    result = cells.run("%%submit -o a b\na = b = 'new'\n'value'")
    assert not {"a", "b"} & set(cells.namespace)
    result.finish()
    assert "a" not in cells.namespace
    turn_of_the_loop()
    assert (cells.namespace["a"], cells.namespace["b"]) == ("new", "new")
    assert result.get() == "value"


def test_outputs_are_set_before_the_next_cell_even_if_the_loop_had_no_turn(cells, submitted):
    cells.run("%%submit -o a\na = 1").finish()
    assert cells.run("a") == 1


def test_outputs_are_not_set_in_the_middle_of_a_cell(cells, submitted):
    result = cells.run("%%submit -o a\na = 1")
    cells.namespace["finish"] = lambda: [
        t.start() or t.join() for t in [threading.Thread(target=result.finish)]
    ]
    cells.run("finish()\nget_ipython().run_cell('pass')\nseen = 'a' in globals()")
    assert cells.run("(seen, a)") == (False, 1)


def test_outputs_are_set_during_an_await(cells, submitted):
    result = cells.run("%%submit -o a\na = 1")
    cells.namespace["finish"] = result.finish
    assert cells.run(
        "import asyncio\nfinish()\nbefore = 'a' in globals()\nawait asyncio.sleep(0)\n(before, a)"
    ) == (
        False,
        1,
    )


def test_the_last_submission_wins(cells, submitted):
    first = cells.run("%%submit -o a b\na = b = 1")
    second = cells.run("%%submit -o a\na = 2")
    second.finish()
    assert cells.run("a") == 2
    first.finish()
    assert cells.run("(a, b)") == (2, 1)


def test_what_goes_in_may_come_out(cells, submitted):
    cells.run("rows = [2, 1]")
    cells.run("%%submit -o rows\nrows.sort()").finish()
    assert cells.run("rows") == [1, 2]


def test_a_failure_leaves_the_names_unbound_and_the_notebook_says_why(cells, submitted, capsys):
    cells.run("a = 'old'")
    result = cells.run("%%submit -o a\n1 / 0\na = 1")
    assert isinstance(cells.fails("a + 1"), NameError)
    assert "a comes from a submitted cell that is not done:  ◌ Cell In[2]  PENDING" in capsys.readouterr().err
    result.finish()
    assert isinstance(cells.fails("a + 1"), NameError)
    assert "a was to come from a submitted cell:  ✗ Cell In[2]  FAILURE" in capsys.readouterr().err


def test_a_name_that_came_while_the_cell_ran_is_there_when_it_is_run_again(cells, submitted, capsys):
    result = cells.run("%%submit -o a\na = 1")
    cells.namespace["finish"] = result.finish
    assert isinstance(cells.fails("finish()\na + 1"), NameError)
    told = capsys.readouterr().err
    assert told == "a has come while this cell ran, and is set when the cell ends: run it again\n"
    assert cells.run("a + 1") == 2


def test_a_name_whose_value_cannot_be_loaded_here_is_explained(cells, submitted, capsys):
    result = cells.run(
        "%%submit -o a\n"
        "class Foreign:\n"
        "    def __reduce__(self): return __import__, ('only_there',)\n"
        "a = Foreign()"
    )
    result.finish()
    assert cells.run("1") == 1
    assert isinstance(cells.fails("a"), NameError)
    assert "the module 'only_there', which is not installed here" in capsys.readouterr().err


def test_a_name_that_was_never_awaited_is_not_explained(cells, submitted, capsys):
    cells.fails("nobody_knows_it")
    assert capsys.readouterr().err == ""


def test_an_interrupted_cell_is_no_trouble(cells, capsys):
    cells.shell.events.trigger("post_run_cell", None)  # as ipykernel does after a cancelled await
    assert "Error in callback" not in capsys.readouterr().out


def test_a_submission_that_fails_leaves_names_as_they_are(cells, submitted, monkeypatch):
    cells.run("import threading\na = 1\nlock = threading.Lock()")
    error = cells.fails("%%submit -o a\nlock\na = 2")
    assert isinstance(error, SerializationError)
    assert "'lock'" in str(error)
    assert cells.run("a") == 1


# ── misuse ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("%%submit\n%time x = 1", "line 2 is a magic or a shell command"),
        ("%%submit\nx = 1\nfiles = !ls", "line 3 is a magic or a shell command"),
        ("%%submit\n%%time\nx = 1", "a magic"),
        ("%%submit -o a\nb = 1", "does not set a"),
        ("%%submit -o a-b\nb = 1", "'a-b' is not a name"),
        ("%%submit -o class\nb = 1", "'class' is not a name"),
        ("%%submit -i nowhere\n1", "the notebook has no nowhere"),
        ("%%submit --retries 3\n1", "--retries"),
        ("%%submit f\n1", "unrecognized arguments: f"),
        ("%%submit", "empty"),
    ],
)
def test_misuse_is_a_usage_error_and_nothing_is_sent(cells, submitted, source, told):
    error = cells.fails(source)
    assert type(error) is UsageError
    assert told in str(error)
    assert not submitted.results


@pytest.mark.parametrize(
    ("source", "line"), [("%%submit\n\nx = (", 3), ("%%submit\nx = 1\nreturn x", 3), ("%%submit\n  x = 1", 2)]
)
def test_a_syntax_error_is_shown_here_with_its_line(cells, submitted, source, line):
    error = cells.fails(source)
    assert isinstance(error, SyntaxError)
    assert error.lineno == line
    assert not submitted.results


def test_help_shows_options_and_an_example(cells):
    text = cells.shell.object_inspect_text("%%submit")
    for part in ("--outputs", "--inputs", "--time-limit", "%%submit -o model"):
        assert part in text
