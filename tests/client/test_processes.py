"""Kernels that die, restart and meet: real processes around a real local cluster."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import psutil
import pytest

import nbqueue
from nbqueue import App
from nbqueue.client.cluster import Cluster
from nbqueue.launch import local
from tests.launch.isolation import Folders

LIMIT = 20.0


def script(source: str, **environment: str) -> "subprocess.Popen[str]":
    """Another kernel, so to speak: its ``__main__`` is the source."""
    code = "import nbqueue, sys, time, os\n" + textwrap.dedent(source)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NBQUEUE_WORKERS": "2", **environment},
        start_new_session=True,
    )


def output_of(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def attach() -> Cluster:
    """The cluster, as a restarted kernel finds it."""
    return nbqueue.attach()


@pytest.fixture(autouse=True)
def leave(folders: Folders) -> "object":
    """Disconnect this process from the cluster of a test before that is ended."""
    yield
    app = nbqueue.default_app()
    if app.conf.broker:
        app.close()
    app.conf.broker = None


def test_a_process_that_ends_at_once_leaves_its_task_behind() -> None:
    out = output_of(script("""
        @nbqueue.task
        def add(x, y):
            return x + y
        print(add.delay(4, 4).id)
    """))  # fmt: skip
    result = nbqueue.AsyncResult(out.strip(), attach().client)
    assert result.get(LIMIT) == 8


def test_a_restarted_kernel_finds_what_the_killed_one_had_started() -> None:
    kernel = script("""
        @nbqueue.task
        def work(n):
            for i in nbqueue.progress(range(n)):
                print("step", i)
                time.sleep(0.1)
            return n
        group = work.map([1, 10])
        while not group[1].progress or group[1].progress.current < 3:
            time.sleep(0.01)
        print("now", flush=True)
        time.sleep(60)
    """)
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == "now\n"
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    cluster = attach()
    short, long = cluster.results()
    assert (short.name, long.name) == ("work", "work")
    assert short.get(LIMIT) == 1
    assert short.output == "step 0\n"
    assert long.get(LIMIT) == 10
    assert long.output == "".join(f"step {i}\n" for i in range(10))
    (group,) = cluster.groups()
    assert group.get(LIMIT) == [1, 10]


def test_without_a_cluster_there_is_nothing_to_attach_to() -> None:
    with pytest.raises(nbqueue.ConnectionLostError, match=r"nbqueue\.start"):
        attach()


def test_a_forked_child_has_a_client_of_its_own() -> None:
    out = output_of(script("""
        @nbqueue.task
        def double(x):
            return 2 * x
        print(double.delay(1).get(20), flush=True)
        child = os.fork()
        if child == 0:
            print(double.delay(2).get(20), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(double.delay(3).get(20))
    """))  # fmt: skip
    assert out.split() == ["2", "4", "6"]


def test_a_task_that_kills_its_worker_fails_with_the_reason_and_the_next_one_runs() -> None:
    out = output_of(script("""
        @nbqueue.task
        def crash():
            print("about to crash", file=sys.__stderr__, flush=True)
            os.kill(os.getpid(), 11)
        result = crash.delay()
        try:
            result.get(30)
        except nbqueue.WorkerLostError as error:
            print(error)
        @nbqueue.task
        def fine():
            return "fine"
        print(fine.delay().get(20))
    """))  # fmt: skip
    assert "SIGSEGV" in out
    assert "It died 3 times, and the task was started again after each death but the last" in out
    assert "max_task_deaths" in out
    assert "the last lines of its standard error:\nabout to crash\n" in out
    assert out.endswith("fine\n")


def test_get_ends_with_a_clear_error_when_a_broker_that_is_not_ours_to_start_is_gone() -> None:
    kernel = script("""
        from nbqueue.launch import local
        nbqueue.connect(local.ensure(nbqueue.default_app().conf).url)
        @nbqueue.task
        def sleep():
            time.sleep(60)
        result = sleep.delay()
        result.wait_accepted(20)
        print("now", flush=True)
        try:
            result.get(30)
        except nbqueue.ConnectionLostError as error:
            print(error)
    """, NBQUEUE_WORKER_LEASE="1", NBQUEUE_WORKER_HEARTBEAT="0.2")  # fmt: skip
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == "now\n"
    broker = local.find()
    assert broker is not None
    psutil.Process(broker.pid).kill()
    began = time.monotonic()
    assert "zmq://127.0.0.1" in output_of(kernel)
    assert time.monotonic() - began < 15


def test_nobody_listening_is_said_within_seconds(tmp_path: Path) -> None:
    app = App(broker="zmq://127.0.0.1:9", connect_timeout=1.0)
    began = time.monotonic()
    with pytest.raises(nbqueue.ConnectionLostError):
        app.task(print).delay()
    assert time.monotonic() - began < 5


def test_two_kernels_share_one_broker() -> None:
    source = "print(nbqueue.start(1).status()['broker']['pid'])"
    kernels = [script(source), script(source)]
    assert len({output_of(kernel) for kernel in kernels}) == 1


@pytest.mark.parametrize("workers", ["two", "2", 0, -1, 1.5, True])
def test_what_is_no_number_of_processes_starts_nothing(workers: object, folders: Folders) -> None:
    with pytest.raises(nbqueue.ConfigurationError, match="workers is a number of processes, 1 or more"):
        nbqueue.start(workers)
    assert not folders.data.exists()


def test_a_start_that_finds_another_number_of_processes_says_so() -> None:
    nbqueue.start(1)
    with pytest.warns(UserWarning, match="already, with 1 process: nbqueue.stop.. first for 2") as caught:
        cluster = nbqueue.start(2)
    assert caught[0].filename == __file__
    assert len(cluster.workers[0]["children"]) == 1
    with pytest.raises(nbqueue.ConfigurationError):  # that one runs does not make it one
        nbqueue.start("two")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nbqueue.start(1)
        nbqueue.start()


def test_a_start_says_how_many_processes_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKERS", "1")
    assert len(nbqueue.start(2).workers[0]["children"]) == 2


def test_a_start_heeds_the_settings_of_the_default_application() -> None:
    app = nbqueue.default_app()
    app.conf.workers = 2
    try:
        assert len(nbqueue.start().workers[0]["children"]) == 2
    finally:
        app.conf.workers = None


def test_with_another_broker_in_the_environment_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("NBQUEUE_BROKER", "zmq://far:7001")
        with pytest.raises(nbqueue.ConfigurationError, match="NBQUEUE_BROKER is set to 'zmq://far:7001'"):
            nbqueue.start(1)
    with pytest.raises(nbqueue.ConnectionLostError, match=r"nbqueue\.start"):
        attach()


def test_a_broker_is_connected_to_by_host_and_port_alone() -> None:
    url = nbqueue.start(1).client.url
    assert nbqueue.connect(url.removeprefix("zmq://")).client.url == url
    assert nbqueue.default_app().conf.broker == url
    with pytest.raises(nbqueue.ConfigurationError, match="'zmq://HOST:PORT' is expected"):
        nbqueue.connect(5)


def test_the_local_cluster_is_stopped_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = psutil.Process(nbqueue.start(1).status()["broker"]["pid"])
    with monkeypatch.context() as patch:
        patch.setenv("NBQUEUE_BROKER", "zmq://far:7001")
        nbqueue.stop()
    # whose child it is may not have asked yet how it ended
    assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE


def test_a_cluster_that_is_started_again_is_used_again() -> None:
    @nbqueue.task
    def double(x: int) -> int:
        return 2 * x

    nbqueue.start(1)
    assert double.delay(1).get(LIMIT) == 2
    nbqueue.stop()
    assert double.delay(2).get(LIMIT) == 4


def test_a_cluster_that_is_stopped_again_and_again_leaves_one_client_and_its_results_hear_the_rest() -> None:
    out = output_of(script("""
        import threading
        @nbqueue.task
        def double(x):
            return 2 * x
        go = os.environ["NBQUEUE_DATA_DIR"] + "/go"
        @nbqueue.task
        def wait():
            while not os.path.exists(go):
                time.sleep(0.01)
            return 8
        held = wait.delay()
        held.wait_accepted(20)
        for n in range(3):
            nbqueue.stop()
            try:
                held.get(20)
            except nbqueue.ConnectionLostError as error:
                print("has ended" in str(error))
            result = double.delay(n)
            print(result.get(20), result.client is held.client)
        open(go, "w").close()
        print(held.get(20))
        print(sum(thread.name == "nbqueue I/O" for thread in threading.enumerate()))
    """))  # fmt: skip
    assert out.split() == [*["True", "0", "True", "True", "2", "True", "True", "4", "True"], "8", "1"]


def test_a_broker_that_died_is_started_again_and_what_it_had_not_accepted_runs() -> None:
    out = output_of(script("""
        import psutil
        @nbqueue.task
        def pid():
            return os.getpid()
        cluster = nbqueue.start(1)
        before = pid.delay().get(20)
        broker = psutil.Process(cluster.status()["broker"]["pid"])
        began = time.monotonic()
        broker.kill()
        broker.wait()
        results = [pid.delay() for _ in range(100)]
        print({result.get(20) for result in results} == {before})
        print(results[0].client is cluster.client, time.monotonic() - began < 5)
    """, NBQUEUE_WORKERS="1"))  # fmt: skip
    assert out == "True\nTrue True\n"


def test_a_broker_that_broke_down_is_started_again() -> None:
    out = output_of(script(f"""
        import signal
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from nbqueue.launch import local, processes
        class Crashing(processes.Child):
            def __init__(self, module, **options):
                super().__init__(module.replace("nbqueue.broker", "tests.broker.crashing"), **options)
        local.Child = Crashing
        @nbqueue.task
        def double(x):
            return 2 * x
        nbqueue.start(1)
        print(double.delay(1).get(20))
        late = double.apply_async((2,), countdown=1)
        late.wait_accepted(20)
        os.kill(local.find().pid, signal.SIGUSR1)
        print(late.get(20))
    """))  # fmt: skip
    assert out == "2\n4\n"


def test_two_kernels_start_one_broker_again_and_go_on() -> None:
    source = """
        nbqueue.start(1)
        @nbqueue.task
        def double(x):
            return 2 * x
        print(double.delay(1).get(20), flush=True)
        while not os.path.exists(sys.argv[1]):
            time.sleep(0.01)
        print(nbqueue.default_app().client.ask("status", timeout=20)["broker"]["pid"])
        print(double.delay(2).get(20))
    """
    folder = Path(os.environ["NBQUEUE_DATA_DIR"])
    kernels = [script(source.replace("sys.argv[1]", repr(str(folder / "go")))) for _ in range(2)]
    for kernel in kernels:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "2\n"
    dead = local.find()
    assert dead is not None
    psutil.Process(dead.pid).kill()
    deadline = time.monotonic() + LIMIT
    while local.find() is None:  # nobody asked for anything
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (folder / "go").touch()
    first, second = (output_of(kernel).split() for kernel in kernels)
    assert first == second
    assert first[0] != str(dead.pid)
    assert first[1] == "4"


def test_a_broker_that_keeps_dying_is_given_up_with_a_clear_error_and_the_next_use_starts_it_anew() -> None:
    out = output_of(script("""
        import psutil
        from nbqueue.launch import local
        @nbqueue.task
        def nap(seconds):
            time.sleep(seconds)
        nbqueue.start(1)
        result = nap.apply_async((60,), countdown=60)
        result.wait_accepted(20)
        client, dead = result.client, 0
        for _ in range(4):
            while (broker := local.find()) is None or broker.pid == dead or not client.connected:
                time.sleep(0.01)
            dead = broker.pid
            psutil.Process(dead).kill()
        try:
            result.get(20)
        except nbqueue.ConnectionLostError as error:
            print("died 4 times within 60 s" in str(error), "broker.log" in str(error))
        print(nap.delay(0).get(20))
    """))  # fmt: skip
    assert out == "True True\nNone\n"


def test_a_cluster_that_was_stopped_is_not_started_again_behind_ones_back() -> None:
    out = output_of(script("""
        import signal, psutil
        from nbqueue.launch import local, teardown
        @nbqueue.task
        def nap(seconds):
            time.sleep(seconds)
        nbqueue.start(1)
        result = nap.delay(60)
        result.wait_accepted(20)
        os.kill(local.find().pid, signal.SIGSTOP)  # so that it cannot tell us that it ends
        teardown.stop(0.5)
        try:
            result.get(20)
        except nbqueue.ConnectionLostError as error:
            print("was stopped" in str(error))
        time.sleep(1)
        print(local.find())
    """))  # fmt: skip
    assert out == "True\nNone\n"


def test_a_worker_that_died_is_replaced_when_there_are_tasks_for_it() -> None:
    out = output_of(script("""
        import psutil
        from nbqueue.launch import workers
        @nbqueue.task
        def ppid():
            return os.getppid()
        nbqueue.start(1)
        first = ppid.delay().get(20)
        supervisor = psutil.Process(first)
        dying = [supervisor, *supervisor.children()]
        supervisor.kill()
        psutil.wait_procs(dying, 10)
        print(ppid.delay().get(20) not in {process.pid for process in dying})
    """, NBQUEUE_WORKER_HEARTBEAT="0.5", NBQUEUE_WORKER_LEASE="2"))  # fmt: skip
    assert out == "True\n"


def test_a_task_goes_on_while_its_broker_is_away_and_its_outcome_comes() -> None:
    out = output_of(script("""
        import psutil
        from nbqueue.launch import local
        @nbqueue.task
        def work():
            for i in nbqueue.progress(range(10)):
                print("step", i)
                time.sleep(0.2)
            return os.getpid()
        nbqueue.start(1)
        before = work.delay()
        waiting = [work.delay() for _ in range(2)]
        while not before.progress or before.progress.current < 3:
            time.sleep(0.01)
        psutil.Process(local.find().pid).kill()
        pid = before.get(20)
        print(before.output == "".join(f"step {i}\\n" for i in range(10)), before.progress.current)
        print({result.get(20) for result in waiting} == {pid})
    """, NBQUEUE_WORKERS="1"))  # fmt: skip
    assert out == "True 10.0\nTrue\n"
