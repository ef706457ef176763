"""The fuzzing campaign in short; `make fuzz` is the long one.  A failure says the seed that replays it."""

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import pytest

from nbqueue.wire import keyring
from nbqueue.wire.keys import Connection
from tests.broker.running import answers, broker_process, over_tcp
from tests.fuzz import guided, levels

#: bytes by which a broker may grow: what is kept of tasks and peers that are still there
GROWTH = 60 * 2**20


class Running(NamedTuple):
    """A broker in a process of its own, and the ways in for keys of each role."""

    process: "subprocess.Popen[bytes]"
    connection: Connection
    keys: list[Connection]

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    keyring.ensure(tmp_path)
    made = [keyring.find_or_add(tmp_path, role, role) for role in ("client", "worker", "viewer")]
    with broker_process(tmp_path, max_result_bytes=2**20, max_output_bytes=2**16) as (process, connection):
        tcp = over_tcp(connection)
        ways = [msgspec.structs.replace(tcp, client_secret=key.secret) for key in made]
        yield Running(process, connection, ways)
        assert process.poll() is None, "the broker died"
        assert answers(tcp)


@pytest.fixture
def seed() -> int:
    """A new one each time, shown when the test fails."""
    chosen = secrets.randbelow(2**32)
    print(f"{chosen=}")
    return chosen


def test_bytes_are_decoded_or_refused(seed: int) -> None:
    levels.decode(30_000, seed)


def test_whatever_can_be_decoded_is_dealt_with(seed: int) -> None:
    levels.understand(20_000, seed)


def test_whatever_peers_say_the_books_agree_and_rights_are_kept(seed: int) -> None:
    levels.obey(12_000, seed)


def test_noise_and_broken_handshakes_on_the_port_harm_nobody(running: Running, seed: int) -> None:
    levels.knock(100, seed, running.connection)
    before = running.memory
    levels.knock(1_000, seed + 1, running.connection)
    assert running.memory < before + GROWTH


def test_whatever_peers_with_keys_say_others_are_served(running: Running, seed: int) -> None:
    levels.talk(500, seed, running.connection, running.keys)
    before = running.memory
    levels.talk(3_000, seed + 1, running.connection, running.keys)
    assert running.memory < before + GROWTH


@pytest.mark.parametrize(("target", "inputs"), [("codec", 1000), ("core", 60)])
def test_a_fuzzer_that_is_guided_by_coverage_finds_nothing(target: str, inputs: int, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    guided.run(target, inputs, tmp_path)
