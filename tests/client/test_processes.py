"""Kernels that die, restart and meet: real processes around a real local cluster."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import nbqueue
from nbqueue import App
from nbqueue.client.cluster import Cluster
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
    assert "the last of 3" in out
    assert out.endswith("fine\n")


def test_get_ends_with_a_clear_error_when_the_broker_is_gone() -> None:
    kernel = script("""
        nbqueue.start(1)
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
    psutil.Process(attach().status()["broker"]["pid"]).kill()
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


def test_with_another_broker_in_the_environment_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("NBQUEUE_BROKER", "zmq://far:7001")
        with pytest.raises(nbqueue.ConfigurationError, match="NBQUEUE_BROKER is set to 'zmq://far:7001'"):
            nbqueue.start(1)
    with pytest.raises(nbqueue.ConnectionLostError, match=r"nbqueue\.start"):
        attach()


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


def test_a_kernel_gets_a_new_cluster_when_its_own_has_died() -> None:
    out = output_of(script("""
        import psutil
        @nbqueue.task
        def pid():
            return os.getpid()
        cluster = nbqueue.start(1)
        waiting = pid.apply_async(countdown=60).future()
        psutil.Process(cluster.status()["broker"]["pid"]).kill()
        time.sleep(1)
        print(pid.delay().get(20) > 0)
    """))  # fmt: skip
    assert out == "True\n"


def test_a_future_fails_when_the_broker_ends() -> None:
    out = output_of(script("""
        from nbqueue.launch import teardown
        @nbqueue.task
        def sleep():
            time.sleep(60)
        future = sleep.delay().future()
        time.sleep(0.5)
        teardown.stop()
        began = time.monotonic()
        print(type(future.exception(20)).__name__, time.monotonic() - began < 5)
    """))  # fmt: skip
    assert out == "ConnectionLostError True\n"
