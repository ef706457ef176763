"""A process that is killed while it appends and compacts: what it said it had written is there."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker.journals import read

#: Appends turns that number themselves, tells each on standard output, makes one snapshot after another.
WRITER = """
import os, sys
from pathlib import Path
from nbqueue.broker.journal import Journal

journal = Journal(Path(sys.argv[1]), sync=sys.argv[2] == "sync", segment_bytes=65536, reserve_bytes=65536)
turns = list(journal.recover())
numbers = sorted({int(turn.split(b" ")[0]) for turn in turns})
assert numbers == list(range(len(numbers))), "recovered with holes"
snapshot = None
for number in range(len(numbers), 1_000_000):
    journal.append(b"%d " % number + bytes(number % 3000))
    numbers.append(number)
    os.write(1, b"%d\\n" % number)
    if snapshot is None:
        snapshot, to_add = journal.begin_snapshot(), iter(numbers[:])
    elif snapshot.done:
        assert snapshot.error is None, snapshot.error
        snapshot = None
    elif not snapshot.busy:
        for _ in range(200):
            if (one := next(to_add, None)) is None:
                if not snapshot._finishing:
                    snapshot.finish()
                break
            snapshot.add(b"%d " % one)
"""


@pytest.mark.parametrize("sync", ["sync", "none"])
def test_what_a_killed_process_has_written_is_there(tmp_path: Path, sync: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    told = -1
    snapshots = set()
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "journal"), sync]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            time.sleep(chance.random() * 0.2)
            process.kill()
            lines = process.stdout.read().splitlines(keepends=True)
            assert b"Traceback" not in process.stderr.read()
        told = max([told, *(int(line) for line in lines if line.endswith(b"\n"))])
        snapshots |= {path.name for path in (tmp_path / "journal").glob("*.snapshot")}
    numbers = {int(turn.split(b" ")[0]) for turn in read(tmp_path / "journal")}
    assert numbers >= set(range(told + 1))
    assert len(numbers) in (told + 1, told + 2)
    assert told > 50
    assert len(snapshots) > 2
