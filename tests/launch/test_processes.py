import os
import sys
from pathlib import Path

import nbqueue
from nbqueue.launch.processes import Child, tail


def wait(child):
    while child.exit_code is None:
        os.sched_yield()
    return child.exit_code


def module(folder, name, source, monkeypatch):
    """A module that a child can run."""
    (folder / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return name


def test_a_child_reads_its_options_as_a_line_of_json_and_never_from_argv(tmp_path, monkeypatch):
    name = module(tmp_path, "echo_options", "import sys; print(sys.argv[1:], input())", monkeypatch)
    child = Child(name, cwd=tmp_path, log=tmp_path / "log")
    child.configure({"secret": "s3"})
    assert wait(child) == 0
    assert (tmp_path / "log").read_text() == '[] {"secret":"s3"}\n'


def test_options_for_a_child_that_died_are_dropped(tmp_path, monkeypatch):
    child = Child(
        module(tmp_path, "dies", "raise SystemExit(3)", monkeypatch), cwd=tmp_path, log=tmp_path / "log"
    )
    assert wait(child) == 3
    child.configure({"secret": "s3"})


def test_a_child_has_a_session_of_its_own(tmp_path, monkeypatch):
    name = module(tmp_path, "session", "import os; print(os.getsid(0) == os.getpid())", monkeypatch)
    child = Child(name, cwd=tmp_path, log=tmp_path / "log")
    assert wait(child) == 0
    assert (tmp_path / "log").read_text() == "True\n"


def test_a_child_finds_this_nbqueue_and_no_modules_of_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "queue.py").write_text("raise SystemExit('the wrong queue')")
    source = "import queue, nbqueue; print(nbqueue.__file__)"
    child = Child(module(tmp_path, "finds", source, monkeypatch), cwd=folder, log=tmp_path / "log")
    assert wait(child) == 0
    assert Path((tmp_path / "log").read_text().strip()) == Path(nbqueue.__file__)


def test_a_child_inherits_no_key_of_another_broker(tmp_path, monkeypatch):
    monkeypatch.setenv("NBQUEUE_KEY", "k")
    monkeypatch.setenv("NBQUEUE_KEY_FILE", "f")
    name = module(tmp_path, "keys", "import os; print([n for n in os.environ if 'KEY' in n])", monkeypatch)
    child = Child(name, cwd=tmp_path, log=tmp_path / "log")
    assert wait(child) == 0
    assert "NBQUEUE_KEY" not in (tmp_path / "log").read_text()


def test_a_log_is_appended_to_until_it_is_large_and_then_moved_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("nbqueue.launch.processes._LOG_LIMIT", 5)
    name = module(tmp_path, "talks", "print('four')", monkeypatch)
    log = tmp_path / "broker.log"
    for expected in ("four\n", "four\nfour\n", "four\n"):
        assert wait(Child(name, cwd=tmp_path, log=log)) == 0
        assert log.read_text() == expected
    assert (tmp_path / "broker.log.old").read_text() == "four\nfour\n"
    assert log.stat().st_mode & 0o077 == 0


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(100)))
    assert tail(log).splitlines()[-1] == "99"
    assert len(tail(log).splitlines()) == 12
    assert tail(log, log.stat().st_size - 6).splitlines() == ["98", "99"]


def test_the_tail_of_a_log_that_is_empty_or_not_there_says_so(tmp_path):
    (tmp_path / "log").touch()
    assert tail(tmp_path / "log") == "(it is empty)"
    assert tail(tmp_path / "none") == "(No such file or directory)"


def test_this_interpreter_runs_the_children(tmp_path, monkeypatch):
    child = Child(
        module(tmp_path, "which", "import sys; print(sys.prefix)", monkeypatch),
        cwd=tmp_path,
        log=tmp_path / "log",
    )
    assert wait(child) == 0
    assert (tmp_path / "log").read_text().strip() == sys.prefix
