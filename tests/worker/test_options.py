"""What a worker is told."""

import socket

import pytest

from nbqueue.worker import options
from nbqueue.worker.options import WorkerOptions


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
    assert options.worker_identity(WorkerOptions(url="zmq://"), "id").host == "node1.example.com"


def test_a_worker_offers_its_machines_memory_unless_it_is_told_otherwise(monkeypatch):
    monkeypatch.setattr(options, "memory_size", lambda: 16e9)
    offered = WorkerOptions(url="zmq://", tags=("gpu",), resources={"gpu": 2.0})
    hello = options.worker_identity(offered, "id")
    assert (hello.tags, hello.resources) == (["gpu"], {"memory": 16e9, "gpu": 2.0})
    assert WorkerOptions(url="zmq://", resources={"memory": 1e9}).offered == {"memory": 1e9}
