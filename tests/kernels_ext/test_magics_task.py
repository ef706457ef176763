"""``%%task``: the cell runs as written, and its functions become tasks."""

import warnings

import pytest
from IPython.core.error import UsageError

from nbqueue.client.task import Task


def test_a_function_becomes_a_task_that_runs_here_when_called(cells):
    cells.run("%%task\ndef double(x):\n    return 2 * x")
    assert isinstance(cells.namespace["double"], Task)
    assert cells.namespace["double"].name == "double"
    assert cells.run("double(2)") == 4


def test_the_rest_of_the_cell_runs_as_written(cells, capsys):
    value = cells.run("%%task\nclass C: pass\nk = 3\ndef f(): return k\nprint('hi')\nf() + 1")
    assert value == 4
    assert "hi" in capsys.readouterr().out
    assert not isinstance(cells.namespace["C"], Task)


def test_async_functions_and_decorated_ones_become_tasks(cells):
    cells.run("%%task\nimport functools\nasync def f(): pass\n@functools.cache\ndef g(): return 5")
    assert isinstance(cells.namespace["f"], Task)
    assert cells.run("g()") == 5


def test_only_named_functions_become_tasks(cells):
    cells.run("%%task f, g\ndef f(): pass\ndef g(): pass\ndef h(): pass")
    kinds = [isinstance(cells.namespace[name], Task) for name in "fgh"]
    assert kinds == [True, True, False]


def test_functions_below_top_level_are_left_alone(cells):
    cells.run("%%task\nif True:\n    def f(): pass\ndef g():\n    def h(): pass\n    return h")
    assert not isinstance(cells.namespace["f"], Task)
    assert not isinstance(cells.run("g()"), Task)


def test_await_works_at_top_level(cells):
    assert cells.run("%%task\nimport asyncio\nasync def f(): return 7\nx = await f()\nx") == 7


def test_options_are_the_tasks(cells):
    cells.run("%%task --queue gpu --priority 7 f --time-limit 60 --soft-time-limit 50.5\ndef f(): pass")
    call = cells.namespace["f"]._call
    assert call == {"queue": "gpu", "priority": 7, "time_limit": 60.0, "soft_time_limit": 50.5}


def test_retries_mean_retry_on_any_exception_with_a_growing_pause(cells):
    cells.run("%%task --retries 3\ndef f(): pass")
    options = cells.namespace["f"].options
    assert (options.autoretry_for, options.max_retries, options.retry_backoff) == ((Exception,), 3, 1)


def test_bind_gives_the_named_functions_self(cells):
    cells.run("%%task f --bind\ndef f(self, x): return self.name, x")
    assert cells.run("f(1)") == ("f", 1)


def test_a_task_may_be_named(cells):
    cells.run("%%task --name my.task\ndef f(): pass")
    assert cells.namespace["f"].name == "my.task"


def test_values_of_options_are_taken_from_the_notebook(cells):
    cells.run("lane = 'gpu'")
    cells.run("%%task --queue {lane}\ndef f(): pass")
    assert cells.namespace["f"]._call == {"queue": "gpu"}


def test_a_redefined_function_is_a_new_task(cells):
    cells.run("%%task\ndef f(): return 1")
    first = cells.namespace["f"]
    cells.run("%%task\ndef f(): return 2")
    assert cells.namespace["f"] is not first
    assert cells.run("f()") == 2


def test_magics_inside_of_the_cell_work(cells):
    assert cells.run("%%task\nx = %pwd\ndef f(): pass\nx") == cells.run("%pwd")


@pytest.mark.parametrize("outer", ["%%time", "%%capture"])
def test_it_works_below_other_cell_magics(cells, outer):
    cells.run(f"{outer}\n%%task\ndef f(): pass")
    assert isinstance(cells.namespace["f"], Task)


def test_it_works_when_called_as_in_an_exported_script(cells):
    cells.shell.run_cell_magic("task", "--queue gpu", "k = 1\ndef f(): return k\n_ = f()")
    assert cells.namespace["f"]._call == {"queue": "gpu"}
    with pytest.raises(ZeroDivisionError):
        cells.shell.run_cell_magic("task", "", "def f(): pass\n1 / 0")


def test_an_error_in_the_cell_shows_its_own_line(cells, capsys):
    error = cells.fails("%%task\ndef f():\n    pass\n\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    assert error.__traceback__.tb_next.tb_lineno == 5
    shown = capsys.readouterr().out
    assert "----> 5" in shown
    assert "/ 0" in shown
    assert "kernels_ext" not in shown


def test_an_error_in_a_function_shows_the_line_in_the_cell(cells, capsys):
    cells.run("%%task\n@staticmethod\ndef f(x):\n    # a comment\n    return 1 / x")
    assert cells.namespace["f"].run.__wrapped__.__code__.co_firstlineno == 2
    cells.fails("f(0)")
    assert "----> 5" in capsys.readouterr().out


def test_a_syntax_error_is_shown_as_in_any_cell(cells, capsys):
    error = cells.fails("%%task\ndef f():\n    return (")
    assert isinstance(error, SyntaxError)
    assert error.lineno == 3


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("%%task\nx = 1", "%%submit"),
        ("%%task\n# nothing", "%%submit"),
        ("%%task g, h\ndef f(): pass\ndef g(): pass", "no function h; it defines f, g"),
        ("%%task --bind\ndef f(self): pass", "%%task f --bind"),
        ("%%task --name n\ndef f(): pass\ndef g(): pass", "one function"),
        ("%%task --quue q\ndef f(): pass", "--quue"),
        ("%%task --retries -1\ndef f(): pass", "--retries"),
        ("%%task --retries many\ndef f(): pass", "'many' is not a whole number"),
        ("%%task --time-limit 0\ndef f(): pass", "'0' is not a positive number of seconds"),
        ("%%task --time-limit nan\ndef f(): pass", "'nan'"),
        ("%%task --queue 'q\ndef f(): pass", "quotation"),
        ("%%task\n%%time\ndef f(): pass", "below"),
        ("%%task", "empty"),
    ],
)  # fmt: skip
def test_misuse_is_a_usage_error_and_the_cell_does_not_run(cells, source, told, capsys):
    error = cells.fails(source)
    assert type(error) is UsageError
    assert told in str(error)
    assert "Traceback" not in capsys.readouterr().out
    assert not {"f", "x"} & set(cells.namespace)


def test_help_shows_options_and_an_example(cells):
    text = cells.shell.object_inspect_text("%%task")
    for part in ("--queue", "--retries", "--bind", "train.delay(0.1)"):
        assert part in text


def test_a_terminal_asks_for_more_lines_after_the_first(cells):
    for source, status in {
        "%%task": "incomplete",
        "%%task\ndef f():\n    pass": "incomplete",
        "%%task\ndef f():\n    pass\n\n": "complete",
    }.items():
        assert cells.shell.check_complete(source)[0] == status


def test_no_transformer_is_dropped_for_an_error_of_ours(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells.fails("%%task --nonsense\ndef f(): pass")
        cells.run("%%task\ndef f(): pass")


def test_what_a_task_demands_and_how_often_it_starts_may_be_said(cells):
    cells.run(
        "%%task --tag gpu --tag fast --resource gpu=1 --memory 2GB --rate-limit 6/m\ndef f(): pass",
    )
    call = cells.namespace["f"]._call
    assert call["tags"] == ["fast", "gpu"]
    assert call["resources"] == {"gpu": 1.0, "memory": 2e9}
    assert call["rate_limit"] == pytest.approx(0.1)


def test_a_resource_without_an_amount_is_refused(cells):
    with pytest.raises(UsageError, match="gpu=1"):
        cells.run("%%task --resource gpu\ndef f(): pass")
