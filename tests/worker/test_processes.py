"""Supervisor and executors as processes, behind a real broker."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from nbqueue import messages as m
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.wire import payload
from tests.worker import processes
from tests.worker.cluster import PYTHON
from tests.worker.processes import alive, starting, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers run on POSIX systems")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with processes.broker(tmp_path_factory.mktemp("broker"), max_task_deaths=2) as made:
        yield made


@pytest.fixture(scope="module")
def worker(broker, tmp_path_factory):
    """One worker for the tests that do it no harm, on a queue of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "helpers.py").write_text("def triple(x):\n    return 3 * x\n")
    with processes.worker(broker, folder, concurrency=2) as made:
        yield made


@pytest.fixture
def client(broker, worker):
    with processes.client(broker) as made:
        yield made


def pid():
    import os

    return os.getpid()


def crash(how):
    import ctypes
    import os
    import sys

    print("last words", file=sys.__stderr__, flush=True)
    if how == "segfault":
        ctypes.string_at(0)
    os._exit(int(how))


def nap(seconds):
    import time

    time.sleep(seconds)
    return seconds


# This module is not importable on a worker: its functions travel by value.
for function in (pid, crash, nap):
    function.__module__ = "__main__"


def children(client):
    return [child["pid"] for child in client.ask("status")["workers"][0]["children"]]


def test_tasks_run_in_processes_of_their_own(client, worker):
    pids = {client.value(id) for id in client.submit_many(pid, [()] * 20)}
    assert worker.process.pid not in pids
    assert os.getpid() not in pids


def test_an_executor_imports_nothing_that_it_does_not_need(client):
    def heavy():
        import sys

        names = [
            "tornado",
            "IPython",
            "ipywidgets",
            "redis",
            "asyncio",
            "psutil",
            "tqdm",
            "anywidget",
            "nbqueue.client",
        ]
        return [name for name in names if name in sys.modules]

    assert client.value(client.submit(heavy)) == []


def test_tasks_find_the_modules_of_the_workers_folder_but_not_before_the_standard_library(client):
    def use():
        import os
        import sys

        import helpers

        return helpers.triple(2), sys.path.index(os.getcwd()) > sys.path.index(os.path.dirname(os.__file__))

    assert client.value(client.submit(use)) == (6, True)


def test_tasks_submit_to_the_same_broker_and_know_its_key(client, broker):
    def where():
        import os

        from nbqueue.wire import keys

        url = os.environ["NBQUEUE_BROKER"]
        return url, keys.find(url).server_public

    assert client.value(client.submit(where)) == (broker.connection.url, broker.connection.server_public)


def test_numeric_libraries_share_the_cores_among_the_executors(client):
    def threads():
        import os

        return os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]

    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert client.value(client.submit(threads)) == (share, share)


def test_what_threads_of_a_task_print_and_log_is_its_output(client):
    def talk():
        import logging
        import threading

        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        logging.getLogger("model").info("fitted")

    id = client.submit(talk)
    client.outcome(id)
    assert client.output(id) == "from a thread\nINFO:model:fitted\n"


def test_tqdm_reports_progress(client):
    def work():
        from tqdm import tqdm

        for _ in tqdm(range(20), desc="fits"):
            pass

    id = client.submit(work)
    client.outcome(id)
    last = client.heard(m.Progress, id)[-1]
    assert (last.current, last.total, last.description) == (20.0, 20.0, "fits")
    assert client.output(id) == ""


def test_a_sleeping_task_is_cancelled_by_a_signal_and_its_process_lives_on(client):
    before = set(children(client))
    id = client.submit(nap, 60)
    client.wait_for(m.Started, id)
    client.link.send([m.Cancel([id])])
    assert client.outcome(id).state == REVOKED
    client.wait(lambda: not any(child["task"] for child in client.ask("status")["workers"][0]["children"]))
    assert set(children(client)) == before


def test_a_task_that_ignores_its_cancellation_is_killed_and_its_process_replaced(client):
    def stubborn():
        import time

        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                print("no")

    before = set(children(client))
    id = client.submit(stubborn)
    client.wait_for(m.Started, id)
    client.link.send([m.Cancel([id])])
    assert client.outcome(id).state == REVOKED
    client.wait(lambda: len(set(children(client)) - before) == 1, timeout=20)
    assert client.value(client.submit(nap, 0)) == 0


def test_what_a_killed_task_has_started_is_killed_too(client):
    def spawn():
        import contextlib
        import subprocess
        import sys
        import time

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(60)

    id = client.submit(spawn)
    client.wait_for(m.Output, id)
    grandchild = int(client.output(id))
    assert alive(grandchild)
    client.link.send([m.Cancel([id])])
    wait_until(lambda: not alive(grandchild))


def test_a_coroutine_that_sleeps_is_cancelled_too(client):
    async def doze():
        import asyncio

        print("dozing")
        try:
            await asyncio.sleep(60)
        finally:
            print("cleaned up")

    id = client.submit(doze)
    client.wait(lambda: client.output(id) == "dozing\n")
    client.link.send([m.Cancel([id])])
    assert client.outcome(id).state == REVOKED
    client.wait(lambda: client.output(id) == "dozing\ncleaned up\n")


def test_a_hard_limit_kills_and_a_soft_limit_raises(client):
    hard = client.outcome(client.submit(nap, 60, time_limit=0.3))
    assert (hard.state, hard.failure.type) == (FAILURE, "TimeLimitExceeded")
    soft = client.outcome(client.submit(nap, 60, soft_time_limit=0.3))
    assert (soft.state, soft.failure.type) == (FAILURE, "SoftTimeLimitExceeded")


@pytest.mark.parametrize(("how", "manner"), [("segfault", "11|SIGSEGV"), ("3", "exit code 3")])
def test_a_task_that_kills_its_process_is_tried_again_and_then_fails_with_the_reason(client, how, manner):
    outcome = client.outcome(client.submit(crash, how), timeout=30)
    assert (outcome.state, outcome.failure.type) == (FAILURE, "WorkerLostError")
    assert re.search(manner, outcome.failure.message)
    assert "last words" in outcome.failure.message
    assert client.value(client.submit(nap, 0)) == 0


def test_neighbours_of_a_task_that_kills_its_process_are_not_charged(client):
    client.value(client.submit(nap, 0))
    neighbours = client.submit_many(nap, [(0,)] * 50)
    client.submit(crash, "3")
    neighbours += client.submit_many(nap, [(0,)] * 50)
    assert [client.outcome(id, timeout=30).state for id in neighbours] == [SUCCESS] * 100


def test_a_forked_child_of_a_task_does_not_go_on_as_executor(client):
    def fork():
        import os

        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return child

    assert client.value(client.submit(fork)) > 0
    assert client.value(client.submit(nap, 0)) == 0


def test_a_task_that_prints_far_too_much_does_not_eat_the_memory(client):
    def chatter():
        import resource

        line = "x" * 999 + "\n"
        for _ in range(200_000):
            print(line, end="")
        print("the end")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    id = client.submit(chatter)
    assert client.value(id, timeout=60) < 200 * 1024
    assert client.output(id).endswith("the end\n")


def test_an_idle_worker_costs_nearly_nothing(client, worker):
    pids = [worker.process.pid, *children(client)]
    time.sleep(1.5)  # the control threads fall asleep
    before, began = sum(map(cpu_seconds, pids)), time.monotonic()
    time.sleep(2.0)
    used = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
    assert used < 0.02  # heartbeats are ten times as frequent here


def cpu_seconds(pid):
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


# ── ways to end ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lone(broker, tmp_path):
    """A client and a worker of its own queue, for tests that end it."""
    with (
        processes.client(broker) as client,
        processes.worker(broker, tmp_path, queues=(tmp_path.name,), loglevel="INFO", name="lone") as worker,
    ):
        yield client, worker, tmp_path.name


def test_term_finishes_what_runs_and_gives_back_the_rest(lone):
    client, worker, queue = lone
    first = client.submit(nap, 1.0, queue=queue)
    second = client.submit(nap, 0.0, queue=queue)
    client.wait_for(m.Started, first)
    worker.signal(signal.SIGTERM)
    assert client.value(first) == 1.0
    assert worker.exit_code() == 0
    assert second not in client.outcomes
    assert client.ask("status")["queues"][queue]["ready"] == 1


def test_an_idle_worker_ends_at_once(lone):
    _, worker, _ = lone
    began = time.monotonic()
    worker.signal(signal.SIGINT)
    assert worker.exit_code() == 0
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]])
def test_int_twice_or_quit_stops_now_and_the_task_goes_back(lone, signals):
    client, worker, queue = lone
    id = client.submit(nap, 60, queue=queue)
    client.wait_for(m.Started, id)
    for number in signals:
        worker.signal(number)
        time.sleep(0.2)
    assert worker.exit_code() == 0
    client.wait(lambda: client.ask("status")["queues"][queue]["ready"] == 1)
    assert id not in client.outcomes


def test_executors_end_with_their_supervisor_whatever_they_do(lone):
    client, worker, queue = lone
    running = client.submit(pid, queue=queue)
    executor = client.value(running)
    busy = client.submit(nap, 60, queue=queue)
    client.wait_for(m.Started, busy)
    worker.signal(signal.SIGKILL)
    wait_until(lambda: not alive(executor), timeout=3)


def test_the_console_tells_of_tasks_as_celery_does(lone):
    client, worker, queue = lone
    id = client.submit(nap, 0.0, queue=queue)
    client.outcome(id)
    worker.wait_said("succeeded")
    assert f"INFO/lone] task nap[{id}] received\n" in worker.said
    assert f"INFO/lone] task nap[{id}] succeeded in " in worker.said
    assert "s: 0.0\n" in worker.said
    assert "INFO/lone] lone ready.\n" in worker.said
    failing = client.submit(nap, "x", queue=queue)
    client.outcome(failing)
    worker.wait_said(f"ERROR/lone] task nap[{failing}] raised unexpected: TypeError")


def test_a_worker_of_the_local_cluster_ends_with_its_broker(tmp_path):
    with (
        processes.broker(tmp_path / "b") as broker,
        processes.client(broker) as client,
        processes.worker(broker, tmp_path, local=True, loglevel="INFO") as worker,
    ):
        client.ask("stop")
        assert worker.exit_code() == 0
        assert "the broker ends: asked to stop" in worker.said


def test_other_workers_outlive_their_broker_and_find_the_next_one(tmp_path):
    with ExitStack() as stack:
        with processes.broker(tmp_path / "b") as first:
            bind = f"127.0.0.1:{first.connection.port}"
            worker = stack.enter_context(processes.worker(first, tmp_path))
        worker.wait_said("trying on")
        second = stack.enter_context(processes.broker(tmp_path / "b", bind=bind))
        client = stack.enter_context(processes.client(second))
        assert client.value(client.submit(nap, 0.0), timeout=20) == 0.0
        assert worker.process.poll() is None
        assert worker.said.count("trying on") == 1


# ── bad starts ───────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_key_ends_the_worker_with_a_clear_message(broker, tmp_path):
    import zmq

    public, _ = zmq.curve_keypair()
    wrong = msgspec.structs.replace(broker.connection, server_public=public.decode(), ipc="")
    from nbqueue.wire import keys

    options = msgspec.structs.replace(processes.options(broker), connection=keys.encode_key(wrong))
    with starting(options, tmp_path) as worker:
        assert worker.exit_code() == 1
        assert "key" in worker.said


def test_a_missing_app_ends_the_worker_at_once(broker, tmp_path):
    with starting(processes.options(broker, app="nbq_nowhere"), tmp_path) as worker:
        assert worker.exit_code() == 1
        assert "there is no module 'nbq_nowhere'" in worker.said


def test_an_app_that_cannot_be_imported_is_tried_three_times(broker, tmp_path):
    (tmp_path / "nbq_broken.py").write_text("1 / 0\n")
    with starting(processes.options(broker, app="nbq_broken"), tmp_path) as worker:
        assert worker.exit_code(timeout=30) == 1
        assert worker.said.count("ZeroDivisionError") >= 3
        assert "executors die at their start, 3 times in a row" in worker.said


def test_tasks_of_an_app_run_by_their_names(broker, tmp_path):
    (tmp_path / "nbq_tasks.py").write_text(
        "import nbqueue\n@nbqueue.task\ndef triple(x):\n    return 3 * x\n"
    )
    with (
        processes.worker(broker, tmp_path, app="nbq_tasks", queues=("app",)),
        processes.client(broker) as client,
    ):
        task = m.Task(
            "by-name", "nbq_tasks.triple", "", payload.dumps_arguments((4,), {}), queue="app", python=PYTHON
        )
        client.link.send([m.Submit([task])])
        assert client.value("by-name") == 12


def test_a_second_worker_of_a_pidfile_is_told_so(broker, tmp_path):
    pidfile = str(tmp_path / "w.pid")
    with (
        processes.worker(broker, tmp_path, pidfile=pidfile, queues=("pid",)) as first,
        starting(processes.options(broker, pidfile=pidfile), tmp_path) as second,
    ):
        assert second.exit_code() == 73
        assert str(first.process.pid) in second.said


def test_no_options_end_it_quietly(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nbqueue.worker"], input=b"", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_executor_that_fails_does_not_wait_for_the_threads_of_tasks(tmp_path):
    code = """
        import runpy, sys, threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        timer = threading.Timer
        threading.Timer = lambda seconds, *args: timer(0.1, *args)
        runpy.run_module("nbqueue.worker.executor", run_name="__main__")
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"garbage\n")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=theirs,
            stderr=subprocess.PIPE,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert b"DecodeError" in done.stderr


def test_a_worker_that_says_little_still_tells_of_failures(broker, client, tmp_path):
    with processes.worker(broker, tmp_path, queues=("little",), loglevel="ERROR") as worker:
        client.value(client.submit(nap, 0.0, queue="little"))
        failing = client.submit(nap, "x", queue="little")
        worker.wait_said(f"task nap[{failing}] raised unexpected: TypeError")
        assert "received" not in worker.said
        assert "succeeded" not in worker.said
