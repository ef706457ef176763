"""The long fuzzing campaign: at least a million inputs, and a table of what was done.

make fuzz                           all levels
make fuzz FUZZ="--scale 10"         ten times as long
make fuzz FUZZ="--seed 7"           again, as the last one said
"""

import argparse
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from nbqueue.wire import keyring
from nbqueue.wire.keys import Connection
from tests.broker.running import answers, broker_process, over_tcp
from tests.fuzz import guided, levels

#: inputs of each level
DECODE = 700_000
UNDERSTAND = 200_000
OBEY = 120_000
KNOCK = 20_000
TALK = 60_000
GUIDED = {"codec": 100_000, "core": 1_000}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    options.add_argument("--scale", type=float, default=1.0)
    chosen = options.parse_args()
    seed, scale = chosen.seed, chosen.scale
    print(f"seed {seed}", flush=True)
    total = 0
    for name, count, run in (
        ("decode: bytes, nearly messages", DECODE, levels.decode),
        ("understand: the same, to the core", UNDERSTAND, levels.understand),
        ("obey: any messages, to the core", OBEY, levels.obey),
    ):
        total += _timed(name, int(count * scale), lambda count, run=run: _inside(run, count, seed))
    with tempfile.TemporaryDirectory(prefix="nbq-") as folder:
        total += _on_a_broker(Path(folder), seed, scale)
    for target, count in GUIDED.items():
        with tempfile.TemporaryDirectory(prefix="nbq-") as folder:
            total += _timed(
                f"guided by coverage: {target}",
                int(count * scale),
                lambda count, target=target, folder=folder: _inside(guided.run, target, count, Path(folder)),
            )
    print(f"{total:,} inputs: no crash, no growth, nobody else disturbed")


def _timed(name: str, count: int, run: Callable[[int], str]) -> int:
    began = time.monotonic()
    remark = run(count)
    print(f"{count:>10,}  {name:<40} {time.monotonic() - began:6.0f} s  {remark}", flush=True)
    return count


def _inside(run: Callable[..., object], *arguments: object) -> str:
    run(*arguments)
    return ""


def _on_a_broker(folder: Path, seed: int, scale: float) -> int:
    """The levels that need one, which is watched meanwhile."""
    keyring.ensure(folder)
    secrets_of = [keyring.find_or_add(folder, role, role).secret for role in ("client", "worker", "viewer")]
    with broker_process(folder, max_result_bytes=2**20, max_output_bytes=2**16) as (process, connection):
        tcp = over_tcp(connection)
        keys = [msgspec.structs.replace(tcp, client_secret=secret) for secret in secrets_of]
        levels.knock(500, seed, connection)
        levels.talk(5_000, seed, connection, keys)
        total = 0
        for name, count, run in (
            ("knock: bytes on the port", KNOCK, lambda count: levels.knock(count, seed, connection)),
            ("talk: peers with keys", TALK, lambda count: levels.talk(count, seed, connection, keys)),
        ):
            total += _timed(
                name, int(count * scale), lambda count, run=run: _watched(process, tcp, run, count)
            )
        return total


def _watched(
    process: "subprocess.Popen[bytes]", connection: Connection, run: Callable[[int], None], count: int
) -> str:
    """Run, and see that the broker lives, serves and has not grown."""
    broker = psutil.Process(process.pid)
    before, files = broker.memory_info().rss, broker.num_fds()
    run(count)
    assert process.poll() is None, "the broker died"
    assert answers(connection), "the broker serves nobody"
    grown = broker.memory_info().rss - before
    assert grown < 100 * 2**20, f"the broker grew by {grown:,} bytes"
    return f"memory {grown / 2**20:+.1f} MB, descriptors {broker.num_fds() - files:+d}"


if __name__ == "__main__":
    main()
