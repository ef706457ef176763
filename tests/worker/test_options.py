"""What a worker is told."""

import os
import socket

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.wire import signing
from nbqueue.worker import options
from nbqueue.worker.options import WorkerOptions, checked


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "worker@node1.example.com"),
        ("w1@%h", "w1@node1.example.com"),
        ("w1@%n", "w1@node1"),
        ("w1@%d", "w1@example.com"),
        ("100%", "100%"),
        ("%x@here", "%x@here"),
    ],
)
def test_a_name_may_hold_parts_of_the_hosts_as_in_celery(monkeypatch, name, shown):
    monkeypatch.setattr(socket, "gethostname", lambda: "node1.example.com")
    assert WorkerOptions(url="zmq://", name=name).nodename == shown


def test_the_hello_names_the_host_as_the_launcher_does(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node1.example.com")
    assert options.worker_identity(WorkerOptions(url="zmq://"), "id", []).host == "node1.example.com"


def test_a_worker_offers_its_machines_memory_unless_it_is_told_otherwise(monkeypatch):
    monkeypatch.setattr(options, "memory_size", lambda: 16e9)
    offered = WorkerOptions(url="zmq://", tags=("gpu",), resources={"gpu": 2.0})
    hello = options.worker_identity(offered, "id", [])
    assert (hello.tags, hello.resources) == (["gpu"], {"memory": 16e9, "gpu": 2.0})
    assert WorkerOptions(url="zmq://", resources={"memory": 1e9}).offered == {"memory": 1e9}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "gevent"}, "there are: processes, threads"),
        ({"autoscale": (1, 2)}, "MAX,MIN"),
        ({"autoscale": (4, 0)}, "MIN of 1 or more"),
        ({"autoscale": (4, 1), "pool": "threads"}, "no autoscale"),
        ({"concurrency_async": 5, "pool": "threads"}, "count like all others"),
        ({"time_limit": 5.0, "pool": "threads"}, "use a pool of processes"),
        ({"time_limit": 5.0, "soft_time_limit": 6.0}, "above time_limit"),
        ({"autoreload": True}, "give it with -A"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(ConfigurationError, match=words):
        checked(WorkerOptions(url=""), **options)


@pytest.mark.parametrize(
    ("options", "processes", "slots"),
    [
        ({"concurrency": 3}, 3, 1),
        ({"concurrency": 3, "pool": "threads"}, 1, 3),
        ({"concurrency": 3, "concurrency_async": 50}, 3, 50),
        ({"autoscale": (8, 2)}, 2, 1),
    ],
)
def test_how_many_processes_and_tasks_at_once(options, processes, slots):
    made = checked(WorkerOptions(url=""), **options)
    assert (made.processes, made.slots) == (processes, slots)


def test_the_signing_key_is_hidden_from_tasks_and_handed_on_to_executors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signing, "_remembered", "")
    monkeypatch.setenv(signing.VARIABLE, "a key for all that tasks return")
    told = options.remember(WorkerOptions(url="zmq://"))
    assert told.signing_key == signing.signing_key() == "a key for all that tasks return"
    assert signing.VARIABLE not in os.environ
