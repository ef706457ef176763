import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import psutil
import pytest

import nbqueue
from nbqueue.exceptions import ConfigurationError
from nbqueue.launch import local, teardown, workers
from nbqueue.launch.ask import ask
from nbqueue.launch.errors import LaunchError, UnusableFolderError
from nbqueue.launch.processes import Child
from nbqueue.settings import Settings
from nbqueue.wire import keys

ENSURE = """
import json
from nbqueue.launch import local, workers
from nbqueue.settings import Settings
connection = local.ensure(Settings(workers=1))
status = workers.wait_ready(connection)
print(json.dumps([connection.pid, [worker["pid"] for worker in status["workers"]]]))
"""


def ensure(**settings):
    connection = local.ensure(Settings(**{"workers": 1, **settings}))
    return connection, workers.wait_ready(connection)


def start_kernel():
    """Another process that ensures the cluster."""
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def told(kernel):
    output, _ = kernel.communicate(timeout=20)
    assert kernel.returncode == 0
    return json.loads(output)


def wait_until(condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_runs_until_it_is_asked_for(folders):
    assert local.find() is None


def test_settings_that_do_not_go_together_are_refused_before_anything_starts(folders):
    with pytest.raises(ConfigurationError, match="worker_heartbeat=2, worker_lease=1: "):
        local.ensure(Settings(worker_lease=1))
    assert local.find() is None


def test_a_cluster_is_a_broker_and_a_worker_of_this_environment(folders):
    connection, status = ensure(workers=2)
    assert local.find() == connection
    assert status["broker"]["pid"] == connection.pid
    (worker,) = status["workers"]
    assert (worker["env"], worker["local"], len(worker["children"])) == (sys.prefix, True, 2)


def test_it_is_started_once_for_one_process(folders):
    first, _ = ensure()
    second, status = ensure()
    assert second == first
    assert len(status["workers"]) == 1


def test_two_kernels_that_start_at_once_share_broker_and_worker(folders):
    kernels = [start_kernel() for _ in range(3)]
    answers = [told(kernel) for kernel in kernels]
    assert answers == [answers[0]] * 3
    assert len(answers[0][1]) == 1


def test_it_outlives_the_kernels_process_group(folders):
    kernel = start_kernel()
    broker, (worker,) = told(kernel)
    with pytest.raises(ProcessLookupError):  # nobody is left in it
        os.killpg(kernel.pid, signal.SIGKILL)
    assert local.find().pid == broker
    assert psutil.pid_exists(worker)


def test_environments_have_workers_of_their_own(folders, monkeypatch):
    here = sys.prefix
    ensure()
    monkeypatch.setattr("sys.prefix", "/another")
    _, status = ensure()
    assert {worker["env"] for worker in status["workers"]} == {here, "/another"}


def test_tasks_find_the_folder_that_the_cluster_was_started_in(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, status = ensure()
    assert psutil.Process(status["workers"][0]["children"][0]["pid"]).cwd() == str(tmp_path)


def test_a_module_of_the_notebooks_folder_does_not_hide_the_librarys(folders, tmp_path, monkeypatch):
    for name in ("queue", "random", "signal", "types"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path)
    _, status = ensure()
    assert status["workers"][0]["children"]


def kill(pid):
    """End a process without a chance to say anything."""
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def options(folders):
    return msgspec.json.decode((folders.data / "launched.json").read_bytes())["options"]


def test_a_broker_that_was_killed_is_started_again_at_the_same_address_and_keeps_its_worker(folders):
    first, before = ensure()
    kill(first.pid)
    assert local.find() is None
    second, after = ensure()
    assert second.pid != first.pid
    assert (second.url, second.ipc) == (first.url, first.ipc)
    (old,), (new,) = before["workers"], after["workers"]
    assert (old["pid"], old["children"]) == (new["pid"], new["children"])


def test_a_broker_that_comes_back_at_another_address_keeps_its_worker_too(folders):
    first, before = ensure()
    kill(first.pid)
    (folders.data / "port").unlink()
    second, after = ensure()
    assert second.port != first.port
    assert [worker["pid"] for worker in after["workers"]] == [before["workers"][0]["pid"]]


def test_a_broker_is_started_again_as_it_was_whoever_does_it(folders):
    first, _ = ensure(result_expires=77.0)
    kill(first.pid)
    second, _ = ensure(result_expires=5.0)
    assert local.is_ours(second)
    assert options(folders)["settings"]["result_expires"] == 77.0


def test_a_broker_that_was_stopped_is_started_as_the_next_one_wants_it(folders):
    ensure(result_expires=77.0)
    teardown.stop()
    ensure(result_expires=5.0)
    assert options(folders)["settings"]["result_expires"] == 5.0


def test_a_worker_that_died_with_its_broker_is_replaced(folders):
    first, before = ensure()
    (old,) = before["workers"]
    kill(old["pid"])
    kill(first.pid)
    _, after = ensure()
    assert [worker["pid"] for worker in after["workers"]] != [old["pid"]]


def test_an_executor_that_dies_while_the_broker_is_away_is_replaced_all_the_same(folders):
    first, before = ensure()
    (worker,) = before["workers"]
    (child,) = worker["children"]
    kill(first.pid)
    kill(child["pid"])
    supervisor = psutil.Process(worker["pid"])
    wait_until(lambda: [c.pid for c in supervisor.children() if c.pid != child["pid"]])
    time.sleep(0.5)  # it comes up, without a broker
    _, after = ensure()
    assert after["workers"][0]["pid"] == worker["pid"]
    assert len(after["workers"][0]["children"]) == 1


def test_stop_leaves_nothing_for_clients_to_start_again(folders):
    connection, _ = ensure()
    os.kill(connection.pid, signal.SIGSTOP)
    teardown.stop(timeout=0.5)
    assert not connection.is_alive
    assert keys.left_over(folders.data) is None


def test_stop_waits_for_a_revival_that_is_under_way_and_ends_what_it_has_started(folders):
    first, _ = ensure()
    kill(first.pid)
    with local.start_lock():
        stopping = threading.Thread(target=teardown.stop)
        stopping.start()
        time.sleep(0.3)  # it has looked, and found nothing that runs
        second = local._start_broker(Settings(workers=1), "")
    stopping.join(15)
    assert not stopping.is_alive()
    assert not second.is_alive
    assert local.find() is None


def test_a_full_disk_does_not_keep_it_from_being_stopped(folders, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(folders.data))

    connection, _ = ensure()
    monkeypatch.setattr("nbqueue.platform.FileLock.acquire", full)
    assert teardown.stop() == 3
    assert not connection.is_alive


def test_a_revival_that_comes_after_a_stop_starts_nothing(folders):
    first, _ = ensure()
    kill(first.pid)
    teardown.stop()
    assert local.revive(Settings(workers=1)) is None
    assert local.find() is None
    assert not workers.recorded()


def test_a_revival_starts_what_has_died_as_it_was(folders):
    first, _ = ensure()
    kill(first.pid)
    second = local.revive(Settings(workers=1))
    assert (second.url, local.find()) == (first.url, second)


def test_a_worker_that_was_killed_is_replaced(folders):
    connection, before = ensure()
    pid = before["workers"][0]["pid"]
    psutil.Process(pid).kill()
    wait_until(lambda: not workers.is_recorded(connection))
    again, after = ensure()
    assert again == connection
    assert {worker["pid"] for worker in after["workers"]} - {pid}


def test_settings_reach_the_broker(folders):
    connection, status = ensure(idle_timeout=1.5)
    worker = psutil.Process(status["workers"][0]["pid"])
    wait_until(lambda: not connection.is_alive)
    wait_until(lambda: not worker.is_running())


def test_settings_of_executors_reach_the_worker(folders):
    connection, _ = ensure(worker_max_tasks_per_child=1)
    app = nbqueue.App("tasks", broker=connection.url)
    pid = app.task(lambda: __import__("os").getpid(), name="pid")
    assert pid.delay().get(20) != pid.delay().get(20)
    app.close()


def test_a_broker_that_does_not_start_is_an_error_with_the_end_of_its_log(folders):
    folders.data.mkdir()
    (folders.data / "boot").write_text("not a number")
    started = time.monotonic()
    with pytest.raises(LaunchError, match="should hold a number"):
        local.ensure(Settings())
    assert time.monotonic() - started < 5
    assert not workers.recorded()


def test_a_worker_that_dies_at_its_start_is_an_error_with_the_end_of_its_log(folders, monkeypatch):
    log = workers.log_path()
    monkeypatch.setattr(workers, "spawn", lambda cwd: Child("nbqueue.no_such_module", cwd=cwd, log=log))
    with pytest.raises(LaunchError, match=r"No module named nbqueue\.no_such_module"):
        ensure()


def test_a_data_folder_that_cannot_be_made_says_what_to_do(folders, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(ConfigurationError, match="NBQUEUE_DATA_DIR"):
        local.ensure(Settings())


def test_a_full_disk_says_what_to_do(folders, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(folders.data))

    monkeypatch.setattr("nbqueue.platform.FileLock.acquire", full)
    with pytest.raises(UnusableFolderError, match=r"No space left on device.*NBQUEUE_DATA_DIR"):
        local.ensure(Settings())


def test_a_start_that_hangs_elsewhere_is_an_error_that_names_the_process(folders, monkeypatch):
    monkeypatch.setattr(local, "_LOCK_PATIENCE", 0.05)
    folders.data.mkdir()
    with (
        local.FileLock(folders.data / "start.lock"),
        pytest.raises(LaunchError, match=f"process {os.getpid()} "),
    ):
        local.ensure(Settings())


def test_the_key_of_another_broker_in_the_environment_does_not_get_in_the_way(folders, monkeypatch):
    monkeypatch.setenv("NBQUEUE_KEY", "nbq1-another")
    connection, status = ensure()
    assert status["workers"]
    assert ask(connection.url, "status")["broker"]["pid"] == connection.pid


def test_a_broker_alone_has_no_worker(folders):
    connection = local.ensure_broker(Settings())
    assert ask(connection.url, "status")["workers"] == []
    assert local.ensure_broker(Settings()) == connection


def test_stop_ends_everything_and_may_be_repeated(folders):
    connection, status = ensure()
    worker = psutil.Process(status["workers"][0]["pid"])
    processes = [psutil.Process(connection.pid), worker, *worker.children()]
    assert teardown.stop() == 3
    wait_until(lambda: not any(process.is_running() for process in processes))
    assert local.find() is None
    assert teardown.stop() == 0


def test_stop_ends_what_does_not_answer_by_force(folders):
    connection, _ = ensure()
    os.kill(connection.pid, signal.SIGSTOP)
    assert teardown.stop(timeout=0.5) == 3
    assert not connection.is_alive


def test_stop_ends_a_worker_that_does_not_notice_its_brokers_death(folders):
    connection, status = ensure()
    os.kill(status["workers"][0]["pid"], signal.SIGSTOP)
    os.kill(connection.pid, signal.SIGKILL)
    wait_until(lambda: not connection.is_alive)
    assert teardown.stop(timeout=0.5) == 2
    assert not workers.recorded()
