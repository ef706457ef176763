"""The commands as a person runs them: real processes, a broker and workers of the test's own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import zmq

from nbqueue.launch import local
from nbqueue.settings import Settings
from nbqueue.wire.keys import Connection, encode_key


def nbqueue(*arguments, **environment):
    command = [sys.executable, "-m", "nbqueue", *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=60
    )


def succeed(*arguments, **environment):
    result = nbqueue(*arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def foreground(folders):
    """Start a command that stays; it is interrupted at the end."""
    started = []

    def start(*arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "nbqueue", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT if "worker" in process.args else signal.SIGTERM)
        process.communicate(timeout=20)


def wait_for(process, pattern):
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"ended without {pattern!r}, with code {process.wait()}")


@pytest.fixture
def broker(folders):
    return local.ensure_broker(Settings())


def status():
    return json.loads(succeed("status", "--json"))


def test_start_shows_what_runs_and_stop_ends_it(folders):
    shown = succeed("start", "-n", "2")
    assert shown.count("idle") == 2
    assert shown.endswith("`nbqueue stop` ends it.\n")
    assert succeed("stop") == "Stopped 4 processes.\n"
    assert succeed("stop") == "Nothing was running.\n"


def test_start_again_uses_what_runs_and_says_so(folders):
    succeed("start", "-n", "1")
    before = status()
    assert "It ran already, with 1 process: `nbqueue stop` first for 2." in succeed("start", "-n", "2")
    assert status()["workers"] == before["workers"]


def test_start_counts_a_worker_that_was_started_by_hand(foreground):
    wait_for(foreground("worker", "-c", "2"), "ready")
    assert "It ran already" not in succeed("start", "-n", "2")


def test_a_worker_says_which_broker_it_uses_and_that_it_started_it(foreground):
    first = foreground("worker", "-c", "1")
    assert first.stdout.readline() == "No broker is running here: starting one, which `nbqueue stop` ends.\n"
    using = first.stdout.readline()
    broker = status()["broker"]
    assert using == f"Using the broker at {broker['address']}, pid {broker['pid']} on {broker['host']}.\n"
    assert foreground("worker", "-c", "1").stdout.readline() == using


def test_stop_counts_a_broker_that_a_worker_started_once(foreground):
    wait_for(foreground("worker", "-c", "1"), "ready")
    assert succeed("stop") == "Stopped 3 processes.\n"


def test_status_as_json_has_the_documented_shape(folders):
    succeed("start", "-n", "1")
    found = status()
    assert set(found) == {"broker", "workers", "queues"}
    assert {"pid", "address", "version"} <= set(found["broker"])
    (worker,) = found["workers"]
    assert {"name", "host", "pid", "children", "queues", "python"} <= set(worker)
    assert [set(child) for child in worker["children"]] == [{"pid", "task"}]
    assert found["queues"] == {"default": {"ready": 0, "scheduled": 0, "running": 0}}


def test_status_without_a_broker_exits_69(folders):
    result = nbqueue("status")
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr == "Error: no local cluster is running; `nbqueue start` starts one\n"


def test_doctor_finds_nothing_wrong_with_a_running_cluster(folders):
    succeed("start", "-n", "1")
    report = succeed("doctor")
    assert "✗" not in report
    assert "1 process, 0 busy" in report


def test_doctor_exits_1_and_says_what_to_do_without_workers(broker):
    result = nbqueue("doctor")
    assert result.returncode == 1
    assert "✗ no worker is connected\n  → `nbqueue start`" in result.stdout


def test_key_is_one_line_and_a_warning_when_only_this_machine_can_use_it(broker):
    result = nbqueue("key")
    key = encode_key(broker)
    assert result.stdout == f"NBQUEUE_KEY={key} nbqueue worker --connect 127.0.0.1:{broker.port}\n"
    assert "nbqueue start --bind 0.0.0.0" in result.stderr


def test_key_without_a_broker_exits_69(folders):
    result = nbqueue("key")
    assert (result.returncode, result.stdout) == (69, "")
    assert "`nbqueue start` starts one" in result.stderr


def test_a_broker_in_the_foreground_is_the_local_one_until_it_is_interrupted(foreground):
    process = foreground("broker")
    wait_for(process, "ready")
    assert status()["broker"]["pid"] == process.pid
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert nbqueue("status").returncode == 69


def test_a_broker_with_a_data_folder_of_its_own_has_a_key_of_its_own(foreground, tmp_path):
    wait_for(foreground("broker", "--data-dir", str(tmp_path / "own")), "ready")
    assert succeed("key", "--data-dir", str(tmp_path / "own")).startswith("NBQUEUE_KEY=nbq1-")
    assert nbqueue("key").returncode == 69


def test_a_broker_on_a_port_that_is_taken_says_so(foreground):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = nbqueue("broker", "--bind", f"127.0.0.1:{port}")
    assert result.returncode == 69
    assert f"port {port} is taken" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_line_of_key_starts_a_worker_and_no_command_line_has_the_secret(foreground, broker, tmp_path):
    assignment, command = succeed("key").split(" ", 1)
    key = assignment.removeprefix("NBQUEUE_KEY=")
    arguments = command.split()[1:]
    process = foreground(*arguments, "-c", "1", "-n", "w7", "-Q", "gpu,default", NBQUEUE_KEY=key)
    wait_for(process, r"w7 ready\.")
    (worker,) = status()["workers"]
    assert (worker["name"], worker["queues"], worker["pid"]) == ("w7", ["gpu", "default"], process.pid)
    for pid in (process.pid, *(child["pid"] for child in worker["children"])):
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            assert key.encode() not in arguments.read()
    with open(f"/proc/{worker['children'][0]['pid']}/environ", "rb") as environment:
        assert key.encode() not in environment.read()


def test_a_worker_by_key_waits_for_the_next_broker_when_this_one_is_stopped(foreground, broker):
    address = f"127.0.0.1:{broker.port}"
    process = foreground("worker", "--connect", address, "-c", "1", NBQUEUE_KEY=encode_key(broker))
    wait_for(process, r"ready\.")
    succeed("stop")
    assert "the broker ends: asked to stop; waiting for the next one" in process.stdout.readline()
    foreground("broker", "--bind", address)
    assert "the broker is there again" in process.stdout.readline()  # and nothing of a connection that broke


def test_a_worker_without_an_address_joins_the_local_cluster(foreground):
    process = foreground("worker", "-c", "1")
    wait_for(process, r"ready\.")
    (worker,) = status()["workers"]
    assert (worker["pid"], worker["local"]) == (process.pid, True)
    succeed("stop")
    assert process.wait(10) == 0


def test_a_worker_takes_the_key_from_a_file(foreground, broker, tmp_path):
    file = tmp_path / "key"
    file.write_text(encode_key(broker))
    file.chmod(0o600)
    address = f"127.0.0.1:{broker.port}"
    process = foreground("worker", "--connect", address, "--key-file", str(file), "-c", "1")
    wait_for(process, r"ready\.")


def test_a_worker_refuses_a_key_file_that_others_can_read(broker, tmp_path):
    file = tmp_path / "key"
    file.write_text(encode_key(broker))
    file.chmod(0o644)
    result = nbqueue("worker", "--connect", f"127.0.0.1:{broker.port}", "--key-file", str(file))
    assert result.returncode == 77
    assert "chmod 600" in result.stderr


def strange_key():
    server, client = zmq.curve_keypair()[0].decode(), zmq.curve_keypair()[1].decode()
    return encode_key(Connection(host="127.0.0.1", port=1, server_public=server, client_secret=client))


def quickly(*arguments, **environment):
    started = time.monotonic()
    result = nbqueue(*arguments, **environment)
    assert time.monotonic() - started < 7
    assert "Traceback" not in result.stderr
    return result


def test_a_worker_with_a_wrong_key_exits_77_within_seconds(broker):
    result = quickly("worker", "--connect", f"127.0.0.1:{broker.port}", NBQUEUE_KEY=strange_key())
    assert result.returncode == 77
    assert result.stderr.startswith("Error: ")
    assert "`nbqueue key`" in result.stderr


def test_a_worker_without_a_key_exits_77_and_says_where_to_get_one(folders):
    result = quickly("worker", "--connect", "192.0.2.1:5560")
    assert result.returncode == 77
    assert "`nbqueue key`" in result.stderr


def test_a_worker_for_a_port_where_nobody_listens_exits_69_within_seconds(folders):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = quickly("worker", "--connect", f"127.0.0.1:{port}", NBQUEUE_KEY=strange_key())
    assert result.returncode == 69
    assert "nobody listens" in result.stderr


def test_a_worker_for_a_port_that_says_nothing_exits_69_within_seconds(folders):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        result = quickly("worker", "--connect", f"127.0.0.1:{port}", NBQUEUE_KEY=strange_key())
    assert result.returncode == 69
    assert "does not answer" in result.stderr


def test_a_worker_for_an_application_that_is_not_there_exits_78(folders):
    result = quickly("worker", "-A", "no_such_module")
    assert result.returncode == 78
    assert "no_such_module" in result.stderr


def test_a_worker_that_would_serve_no_queue_exits_2(folders):
    result = quickly("worker", "-Q", " , ")
    assert result.returncode == 2
    assert "name at least one queue" in result.stderr


def test_the_application_may_stand_before_the_subcommand(foreground, broker, tmp_path):
    (tmp_path / "shop.py").write_text(
        "from nbqueue import App\napp = App('shop')\n@app.task\ndef add(x, y):\n    return x + y\n"
    )
    wait_for(foreground("-A", "shop", "worker", "-c", "1", PYTHONPATH=path_with(tmp_path)), r"ready\.")
    assert status()["workers"][0]["registered"] == ["shop.add"]


def path_with(folder):
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))


def test_a_second_worker_on_a_pidfile_exits_73_and_names_the_first(foreground, broker, tmp_path):
    pidfile = str(tmp_path / "worker.pid")
    first = foreground("worker", "-c", "1", "--pidfile", pidfile)
    wait_for(first, r"ready\.")
    result = nbqueue("worker", "-c", "1", "--pidfile", pidfile)
    assert result.returncode == 73
    assert str(first.pid) in result.stderr


def test_a_name_that_is_no_setting_in_the_environment_changes_nothing_but_a_bad_value_exits_78(folders):
    result = nbqueue("conf", NBQUEUE_WORKERS="many")
    assert result.returncode == 78
    assert "NBQUEUE_WORKERS='many'" in result.stderr


def test_conf_shows_each_value_and_where_it_comes_from(folders):
    rows = {line.split()[0]: line.split()[1:3] for line in succeed("conf", NBQUEUE_WORKERS="3").splitlines()}
    assert rows["workers"] == ["3", "NBQUEUE_WORKERS"]
    assert rows["drain_timeout"] == ["10.0", "default"]


def test_conf_warns_of_a_variable_that_nothing_reads(folders):
    assert not nbqueue("conf", NBQUEUE_WORKERS="3", NBQUEUE_KEY="nbq1-x", NBQUEUE_DEBUG="1").stderr
    warning = "Warning: NBQUEUE_WORKER is set, but nothing reads it; did you mean NBQUEUE_WORKERS?\n"
    assert nbqueue("conf", NBQUEUE_WORKER="2").stderr == warning


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def key_of(line):
    return re.fullmatch(r"NBQUEUE_KEY=(nbq1-\S+) nbqueue (\w+) --connect (\S+)\n", line).groups()


def elsewhere(folders, **environment):
    """As on another machine: nothing but what is handed over."""
    return {
        "NBQUEUE_DATA_DIR": str(folders.data.parent / "elsewhere"),
        "NBQUEUE_RUNTIME_DIR": str(folders.data.parent / "e"),
        **environment,
    }


def test_a_key_line_is_that_of_the_default_key_until_asked_otherwise(broker):
    line = succeed("key")
    assert key_of(line)[:2] == (encode_key(broker), "worker")
    assert succeed("key", "--role", "client") == line
    assert succeed("key", "--role", "worker") == succeed("key", "--role", "worker") != line


def test_a_viewers_key_shows_the_status_and_stops_nothing(broker, folders):
    key, command, address = key_of(succeed("key", "--role", "viewer", "--name", "wall"))
    assert command == "status"
    there = elsewhere(folders, NBQUEUE_KEY=key)
    assert "Broker" in succeed("status", "--connect", address, **there)
    result = nbqueue("worker", "--connect", address, "-c", "1", **there)
    assert result.returncode != 0
    assert "'wall' is a viewer's key" in result.stderr


def test_keys_are_listed_without_their_secrets(broker):
    key = key_of(succeed("key", "--role", "worker", "--name", "gpu"))[0]
    listed = succeed("key", "list")
    assert re.search(r"^Key\s+Role\s+Created$", listed, re.MULTILINE)
    assert re.search(r"^default\s+client\s+\d{4}-", listed, re.MULTILINE)
    assert re.search(r"^gpu\s+worker\s+\d{4}-", listed, re.MULTILINE)
    assert key not in listed
    assert broker.client_secret not in listed


def test_a_revoked_key_does_not_open_any_more(broker, folders):
    key, _, address = key_of(succeed("key", "--role", "viewer"))
    assert succeed("key", "revoke", "viewer") == "Revoked viewer.\n"
    assert "viewer" not in succeed("key", "list")
    result = quickly("status", "--connect", address, **elsewhere(folders, NBQUEUE_KEY=key))
    assert result.returncode == 77


def test_rotating_prints_the_new_line_and_local_commands_go_on(broker, folders):
    old, _, address = key_of(succeed("key"))
    new = key_of(succeed("key", "rotate"))[0]
    assert new != old
    assert key_of(succeed("key"))[0] == new
    assert "Broker" in succeed("status")
    assert "Broker" in succeed("status", "--connect", address, **elsewhere(folders, NBQUEUE_KEY=new))
    result = quickly("status", "--connect", address, **elsewhere(folders, NBQUEUE_KEY=old))
    assert result.returncode == 77


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["revoke", "default"], "nbqueue key rotate"),
        (["revoke", "nobody"], "no key is called 'nobody'; there are: default"),
        (["rotate", "nobody"], "no key is called 'nobody'"),
        (["--role", "viewer", "--name", "default"], "'default' is a client's key"),
        (["--name", "a b"], "cannot name a key"),
    ],
)
def test_what_cannot_be_done_with_keys_exits_78(broker, arguments, said):
    result = nbqueue("key", *arguments)
    assert result.returncode == 78
    assert said in result.stderr


def test_keys_of_a_broker_that_never_was(folders):
    for arguments, code in ((["key"], 69), (["key", "list"], 78), (["key", "revoke", "x"], 78)):
        result = nbqueue(*arguments)
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)
        assert "`nbqueue start`" in result.stderr


def test_the_roles_of_the_command_line_are_those_of_the_core():
    from nbqueue.cli import key
    from nbqueue.core.permissions import ROLES

    assert key._ROLES == ROLES


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_real_worker_obeys_remote_control(foreground):
    worker = foreground(
        "worker", "-c", "1", "-n", "w1", "--tag", "gpu", "--resource", "gpu=2", "--memory", "8GB"
    )
    wait_for(worker, r"w1 ready\.")
    assert succeed("inspect", "ping") == "->  w1: OK\n    pong\n\n1 node online.\n"
    stats = json.loads(succeed("inspect", "stats", "-j"))["w1"]
    assert stats["pid"] == worker.pid
    assert stats["resources"] == {"gpu": 2.0, "memory": 8e9}
    assert set(map(str, [worker.pid, *stats["pool"]["processes"]])) == set(stats["memory"])
    assert "pool will grow" in succeed("control", "pool", "grow", "-d", "w1")
    until(lambda: len(status()["workers"][0]["children"]) == 2)
    succeed("control", "add_consumer", "more")
    until(lambda: status()["workers"][0]["queues"] == ["default", "more"])
    refused = nbqueue("control", "pool_shrink", "9")
    assert (refused.returncode, refused.stdout.splitlines()[0]) == (1, "->  w1: ERROR")
    assert "w1" in succeed("top", "--once")
    assert "shutting down" in succeed("control", "shutdown")
    assert worker.wait(30) == 0
    gone = nbqueue("inspect", "ping", "-t", "0.2")
    assert (gone.returncode, gone.stdout) == (69, "")
    assert "No nodes replied within time constraint" in gone.stderr
