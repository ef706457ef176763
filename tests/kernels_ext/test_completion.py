"""Tab in the line of a magic."""

import pytest
from IPython.core.completer import provisionalcompleter


def completions(cells, line, body=""):
    """What Tab offers at the end of a cell's first line."""
    with provisionalcompleter():
        found = cells.shell.Completer.completions(f"{line}\n{body}", len(line))
        return [completion.text for completion in found]


@pytest.mark.parametrize("magic", ["%%task", "%%submit"])
def test_options_are_completed(cells, magic):
    assert {"--queue", "--priority", "--time-limit", "--soft-time-limit"} <= set(
        completions(cells, f"{magic} --")
    )
    assert completions(cells, f"{magic} --qu") == ["--queue"]


def test_options_of_one_magic_are_not_those_of_the_other(cells):
    assert completions(cells, "%%task f --ret") == ["--retries"]
    assert "--retries" not in completions(cells, "%%submit --")


@pytest.mark.parametrize("option", ["-i", "-i a", "--outputs", "-i other -o"])
def test_names_of_the_notebook_follow_inputs_and_outputs(cells, option):
    cells.run("table_one = table_two = 1")
    assert {"table_one", "table_two"} <= set(completions(cells, f"%%submit {option} tab"))


def test_a_value_that_only_its_writer_knows_is_not_completed(cells):
    assert "--queue" not in completions(cells, "%%task --queue ")


def test_functions_of_the_cell_are_completed_for_task(cells):
    body = "def train(x): pass\nasync def trace(): pass\nclass C:\n    def travel(self): pass"
    assert completions(cells, "%%task tra", body) == ["train", "trace"]


def test_the_body_of_the_cell_is_not_completed_as_options(cells):
    with provisionalcompleter():
        found = list(cells.shell.Completer.completions("%%task\nx = -", 12))
    assert "--queue" not in [completion.text for completion in found]
