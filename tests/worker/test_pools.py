"""Pools of threads, pools that change, and what surrounds a worker: real processes behind a real broker."""

import itertools
import json
import os
import signal
import sys
import textwrap

import pytest

from nbqueue import messages as m
from nbqueue.states import FAILURE, REVOKED
from tests.worker import processes
from tests.worker.processes import alive, starting, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers run on POSIX systems")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with processes.broker(tmp_path_factory.mktemp("broker"), max_task_deaths=2) as made:
        yield made


@pytest.fixture
def client(broker):
    with processes.client(broker) as made:
        yield made


def pid():
    import os

    return os.getpid()


def meet(path, count):
    """Wait until so many are here at once."""
    import os
    import threading
    import time

    open(f"{path}/{threading.get_ident()}", "w").close()
    deadline = time.monotonic() + 20
    while len(os.listdir(path)) < count:
        assert time.monotonic() < deadline, "alone"
        time.sleep(0.01)
    return os.getpid()


def span():
    """When it ran, and where."""
    import os
    import time

    began = time.monotonic()
    time.sleep(0.05)
    return began, time.monotonic(), os.getpid()


def spin():
    import time

    while True:
        time.sleep(0.01)


def blocked():
    """In C, where no exception of Python's gets in."""
    import time

    time.sleep(3600)


def crash():
    import os

    os._exit(7)


def test_threads_of_one_process_run_tasks_at_once(broker, client, tmp_path):
    (tmp_path / "here").mkdir()
    with processes.worker(broker, tmp_path, pool="threads", concurrency=3, queues=("threads",)):
        ids = client.submit_many(meet, [(str(tmp_path / "here"), 3)] * 3, queue="threads")
        pids = {client.value(id, 30.0) for id in ids}
    assert len(pids) == 1


def test_a_solo_pool_is_one_process_with_one_task_at_a_time(broker, client, tmp_path):
    with processes.worker(
        broker, tmp_path, pool="solo", concurrency=4, queues=("solo",), loglevel="INFO"
    ) as worker:
        worker.wait_said("1 (solo)")
        ids = client.submit_many(span, [()] * 3, queue="solo")
        spans = sorted(client.value(id, 30.0) for id in ids)
    assert len({pid for _, _, pid in spans}) == 1
    assert all(end <= begin for (_, end, _), (begin, _, _) in itertools.pairwise(spans))


def test_a_thread_that_cannot_be_interrupted_keeps_its_neighbours_and_goes_when_it_is_alone(
    broker, client, tmp_path
):
    with processes.worker(broker, tmp_path, pool="threads", concurrency=2, queues=("stuck",)) as worker:
        stuck = client.submit(blocked, queue="stuck")
        beside = client.submit(spin, queue="stuck")
        for id in (stuck, beside):
            client.wait_for(m.Started, id)
        client.link.send([m.Cancel([stuck])])
        assert client.outcome(stuck).state == REVOKED
        worker.wait_said("goes when nothing else runs there")
        assert beside not in client.outcomes
        client.link.send([m.Cancel([beside])])
        assert client.outcome(beside).state == REVOKED
        worker.wait_said("killed by signal 15")
        assert isinstance(client.value(client.submit(pid, queue="stuck"), 30.0), int)


def test_all_that_ran_in_a_process_that_died_is_charged_and_the_innocent_run_again(broker, client, tmp_path):
    with processes.worker(broker, tmp_path, pool="threads", concurrency=2, queues=("crash",)):
        outcome = client.outcome(client.submit(crash, queue="crash"), 30.0)
        assert (outcome.state, outcome.failure.type) == (FAILURE, "WorkerLostError")
        assert isinstance(client.value(client.submit(pid, queue="crash"), 30.0), int)


def test_a_process_is_replaced_after_so_many_tasks(broker, client, tmp_path):
    with processes.worker(broker, tmp_path, max_tasks_per_child=2, queues=("share",)) as worker:
        pids = [client.value(client.submit(pid, queue="share"), 30.0) for _ in range(5)]
        assert [len(set(pids[:2])), len(set(pids[2:4])), len(set(pids))] == [1, 1, 3]
        assert "the next one starts in" not in worker.said


def test_a_process_that_has_grown_is_replaced_after_its_task(broker, client, tmp_path):
    def grow():
        import os

        return len(bytearray(80_000_000)) and os.getpid()

    with processes.worker(broker, tmp_path, max_memory_per_child=100_000, queues=("grown",)):
        first, second = (client.value(client.submit(pid, queue="grown"), 30.0) for _ in range(2))
        assert first == second
        assert client.value(client.submit(grow, queue="grown"), 30.0) == first
        assert client.value(client.submit(pid, queue="grown"), 30.0) != first


def test_a_workers_limits_are_those_of_tasks_that_have_none(broker, client, tmp_path):
    def nap(seconds):
        import time

        time.sleep(seconds)

    with processes.worker(broker, tmp_path, time_limit=0.5, queues=("limit",)):
        outcome = client.outcome(client.submit(nap, 30, queue="limit"), 30.0)
        assert (outcome.state, outcome.failure.type) == (FAILURE, "TimeLimitExceeded")
        assert "0.5 s" in outcome.failure.message
        assert client.value(client.submit(nap, 1, queue="limit", time_limit=20.0), 30.0) is None


def test_async_tasks_of_one_process_run_together(broker, client, tmp_path):
    async def meet():
        import asyncio
        import builtins

        builtins.here = [*getattr(builtins, "here", []), mine := asyncio.Event()]
        if len(builtins.here) == 20:
            for event in builtins.here:
                event.set()
        await mine.wait()
        return "met"

    with processes.worker(broker, tmp_path, concurrency_async=20, queues=("async",)):
        ids = client.submit_many(meet, [()] * 20, queue="async")
        assert {client.value(id, 30.0) for id in ids} == {"met"}


def test_the_logfile_takes_the_place_of_standard_error_and_has_lines_of_json_if_wanted(
    broker, client, tmp_path
):
    options = processes.options(broker, logfile="%n.log", log_format="json", loglevel="INFO", queues=("log",))
    with starting(options, tmp_path) as worker:
        file = tmp_path / "w.log"
        wait_until(lambda: file.exists() and "ready." in file.read_text(), 20)
        id = client.submit(pid, queue="log")
        value = client.value(id)
        lines = wait_until(lambda: [ln for ln in file.read_text().splitlines() if "succeeded" in ln], 10)
        told = json.loads(lines[-1])
        assert (told["worker"], told["level"], told["event"]) == ("w@test", "INFO", "succeeded")
        assert (told["task_id"], told["task_name"], told["pid"]) == (id, "pid", value)
        assert all(json.loads(line) for line in file.read_text().splitlines())
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert worker.said == ""


def test_each_executor_has_a_logfile_of_its_own_if_the_name_says_so(broker, client, tmp_path):
    def crash():
        import os
        import sys

        print("last words", file=sys.__stderr__, flush=True)
        os._exit(1)

    options = processes.options(broker, logfile="w%I.log", loglevel="INFO", queues=("logs",))
    with starting(options, tmp_path):
        file = tmp_path / "w.log"
        wait_until(lambda: file.exists() and "ready." in file.read_text(), 20)
        assert client.outcome(client.submit(crash, queue="logs"), 30.0).state == FAILURE
        assert "last words" in (tmp_path / "w-1.log").read_text()
        assert "last words" not in file.read_text()


APP = """
    import os

    import nbqueue
    from nbqueue import signals
    from nbqueue.utils.log import get_task_logger

    app = nbqueue.App("tasks")
    logger = get_task_logger(__name__)

    def note(sender=None, signal=None, **told):
        if signal is signals.worker_ready:
            assert sender.app is app
        with open("signals", "a") as file:
            file.write(f"{signal.name} {os.getpid()}\\n")

    for name in ("celeryd_init", "worker_init", "worker_ready", "worker_shutting_down", "worker_shutdown",
                 "worker_process_init", "worker_process_shutdown", "task_received", "task_prerun",
                 "task_success", "task_postrun", "after_setup_logger", "after_setup_task_logger"):
        getattr(signals, name).connect(note)

    @app.task(throws=(KeyError,))
    def add(a, b):
        logger.info("adding %s and %s", a, b)
        if b < 0:
            raise KeyError("as expected")
        return a + b
"""


def test_signals_are_sent_in_the_processes_where_things_happen(broker, client, tmp_path):
    (tmp_path / "tasks.py").write_text(textwrap.dedent(APP))
    with processes.worker(broker, tmp_path, app="tasks", loglevel="INFO", queues=("app",)) as worker:
        id = client.submit(lambda: None, queue="app")
        client.value(id)
        task = m.Task("named", "tasks.add", "", client_payload(1, 2), queue="app")
        client.link.send([m.Submit([task])])
        assert client.value("named") == 3
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        supervisor = worker.process.pid
    told = [line.split() for line in (tmp_path / "signals").read_text().splitlines()]
    of_supervisor = [name for name, process in told if int(process) == supervisor]
    of_executor = [name for name, process in told if int(process) != supervisor]
    assert of_supervisor == [
        "celeryd_init", "after_setup_logger", "worker_init", "worker_ready", "worker_shutting_down",
        "worker_shutdown",
    ]  # fmt: skip
    run = ["task_received", "task_prerun", "task_success", "task_postrun"]
    assert of_executor == [
        "after_setup_logger", "after_setup_task_logger", "worker_process_init", *run, *run,
        "worker_process_shutdown",
    ]  # fmt: skip


def client_payload(*args):
    from nbqueue.wire import payload

    return payload.dumps_arguments(args, {})


def test_the_console_has_the_banner_what_task_loggers_say_and_expected_errors_in_one_line(
    broker, client, tmp_path
):
    (tmp_path / "tasks.py").write_text(textwrap.dedent(APP))
    with processes.worker(broker, tmp_path, app="tasks", loglevel="INFO", queues=("console",)) as worker:
        for id, b in (("c1", 2), ("c2", -1)):
            client.link.send([m.Submit([m.Task(id, "tasks.add", "", client_payload(1, b), queue="console")])])
            client.outcome(id)
        worker.wait_said("tasks.add[c1]: adding 1 and 2")
        worker.wait_said("task tasks.add[c2] raised expected: KeyError")
        assert "Traceback" not in worker.said
        assert "  . tasks.add\n" in worker.said
        assert "1 (processes)" in worker.said
        client.wait(lambda: "adding 1 and 2" in client.output("c1"))


def test_code_that_changes_runs_with_the_next_task(broker, client, tmp_path):
    source = "import nbqueue\napp = nbqueue.App('tasks')\n@app.task\ndef version():\n    return {}\n"
    file = tmp_path / "tasks.py"
    file.write_text(source.format(1))
    with processes.worker(broker, tmp_path, app="tasks", autoreload=True, queues=("reload",)) as worker:

        def version(id):
            client.link.send([m.Submit([m.Task(id, "tasks.version", "", client_payload(), queue="reload")])])
            return client.value(id)

        assert version("v1") == 1
        file.write_text(source.format(2))
        os.utime(file, (2e9, 2e9))
        worker.wait_said("tasks.py has changed")
        numbers = iter(range(1000))
        assert wait_until(lambda: version(f"v2-{next(numbers)}") == 2, 20)


def test_all_processes_end_with_a_pool_of_threads(broker, client, tmp_path):
    with processes.worker(broker, tmp_path, pool="threads", concurrency=2, queues=("end",)) as worker:
        child = client.value(client.submit(pid, queue="end"))
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        assert not alive(child)


def test_a_thread_fetches_what_a_step_takes_from_others(broker, client, tmp_path):
    def large():
        return b"x" * 200_000

    def size(data):
        return len(data)

    with processes.worker(broker, tmp_path, pool="threads", concurrency=2, queues=("steps",)):
        before = client.submit(large, queue="steps")
        steps = [client.submit(size, queue="steps", step=m.Step([before], takes=0)) for _ in range(4)]
        assert [client.value(id, 30.0) for id in steps] == [200_000] * 4
