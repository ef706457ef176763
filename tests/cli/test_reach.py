import socket

import pytest

from nbqueue.cli.reach import host_and_port, is_loopback, reachable_host


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.3", False),
        ("node7", False),
    ],
)
def test_only_loopback_addresses_are_for_this_machine_alone(host, answer):
    assert is_loopback(host) is answer


def test_an_address_that_was_asked_for_is_what_others_connect_to():
    assert reachable_host("10.0.0.3") == "10.0.0.3"


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_for_all_addresses_others_get_one_that_is_not_loopback(everywhere):
    host = reachable_host(everywhere)
    assert host == socket.gethostname() or not is_loopback(host)


def test_ipv6_addresses_are_bracketed():
    assert host_and_port("::1", 5) == "[::1]:5"
    assert host_and_port("node7", 5) == "node7:5"
