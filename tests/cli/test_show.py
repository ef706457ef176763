import io

import pytest

from nbqueue.cli.finding import Finding
from nbqueue.cli.show import console, show_finding, show_status

BROKER = {
    "pid": 41,
    "host": "here",
    "version": "0.1",
    "address": "zmq://127.0.0.1:5560",
    "clients": 1,
    "records": 0,
    "started": 1_000.0,
    "time": 1_200.0,
}
WORKER = {
    "name": "worker@here",
    "host": "here",
    "pid": 42,
    "python": "3.11",
    "env": "/env",
    "local": True,
    "queues": ["default", "gpu"],
    "registered": [],
    "children": [{"pid": 43, "task": {"id": "f1", "name": "fit"}}, {"pid": 44, "task": None}],
}


def shown(status):
    file = io.StringIO()
    show_status(status, console(file))
    return file.getvalue()


def test_a_status_shows_broker_workers_children_and_queues_in_aligned_columns():
    queues = {
        "gpu": {"ready": 0, "scheduled": 1, "running": 0},
        "default": {"ready": 12, "scheduled": 0, "running": 1},
    }
    assert shown({"broker": BROKER, "workers": [WORKER], "queues": queues}) == (
        "Broker  nbqueue 0.1 · zmq://127.0.0.1:5560 · pid 41 · up 3 min 20 s\n"
        "\n"
        "Worker        Host   Python   Queues         PID   Task\n"
        "worker@here   here   3.11     default, gpu    42\n"
        "                                              43   fit[f1]\n"
        "                                              44   idle\n"
        "\n"
        "Queue     Ready   Scheduled   Running\n"
        "default      12           0         1\n"
        "gpu           0           1         0\n"
    )


def test_a_status_counts_tasks_that_wait_for_others_where_there_are_some():
    queues = {
        "a": {"ready": 0, "scheduled": 0, "running": 1, "waiting": 2},
        "b": dict.fromkeys(("ready", "running"), 0),
    }
    lines = shown({"broker": BROKER, "workers": [], "queues": queues}).splitlines()
    assert [line.split() for line in lines[-3:]] == [
        ["Queue", "Ready", "Scheduled", "Running", "Waiting"],
        ["a", "0", "0", "1", "2"],
        ["b", "0", "0", "0", "0"],
    ]


def test_a_status_says_how_long_the_broker_has_been_up_by_its_own_clock():
    line = shown({"broker": BROKER, "workers": [], "queues": {}}).splitlines()[0]
    assert line.endswith("up 3 min 20 s")


def test_a_status_without_workers_says_how_to_start_some():
    text = shown({"broker": BROKER, "workers": [], "queues": {}})
    assert text.splitlines()[-1] == "No workers. `nbqueue start` or `nbqueue worker` starts some."


def test_names_that_look_like_markup_are_shown_as_they_are():
    worker = {**WORKER, "name": "[bold]w[/bold]", "children": []}
    assert "[bold]w[/bold]" in shown({"broker": BROKER, "workers": [worker], "queues": {}})


def test_a_terminal_gets_colours_and_a_pipe_none(monkeypatch):
    status = {"broker": BROKER, "workers": [WORKER], "queues": {}}
    assert "\x1b[" not in shown(status)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in shown(status)


def test_a_pipe_gets_one_row_a_line_however_long(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert console().width > 1000


@pytest.mark.parametrize(
    ("finding", "lines"),
    [
        (Finding(True, "all is well"), ["✓ all is well"]),
        (Finding(False, "nobody is there", "start one"), ["✗ nobody is there", "  → start one"]),
        (Finding(None, "by the way"), ["· by the way"]),
    ],
)
def test_a_finding_is_a_sign_a_text_and_what_to_do(finding, lines):
    file = io.StringIO()
    show_finding(finding, console(file))
    assert file.getvalue().splitlines() == lines
