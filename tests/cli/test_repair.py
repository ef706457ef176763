"""``nbqueue broker --repair`` as a person runs it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from nbqueue import messages as m
from nbqueue.broker.journal import Journal
from nbqueue.broker.logfile import FRAME_BYTES, HEADER_BYTES
from nbqueue.cli.main import cli
from nbqueue.core.entries import Forgot, Took, encode
from nbqueue.core.records import Sender
from nbqueue.platform import FileLock


def took(*ids: str) -> bytes:
    return encode([Took(0, 0.0, Sender("me"), [m.Task(id, "f", "", b"") for id in ids])])


#: three tasks of which one was forgotten, one that will be lost, and one that is known already
TURNS = (took("1", "2", "3"), took("second"), took("2"), encode([Forgot(["3"])]))


def run(*arguments):
    return CliRunner().invoke(cli, ["broker", "--repair", *arguments])


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file of a journal of four turns."""
    made = Journal(tmp_path / "journal")
    list(made.recover())
    for turn in TURNS:
        made.append(turn)
    made.close()
    return tmp_path / "journal" / "0000000001.log"


def damage(journal):
    """The second turn is changed."""
    journal.write_bytes(journal.read_bytes().replace(b"second", b"sXcond"))


def test_a_journal_that_is_whole_is_said_to_be(journal, tmp_path):
    result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 0
    size = sum(map(len, TURNS))
    kept = f"3 tasks in 4 turns, {size} bytes"
    assert result.output == f"The journal in {tmp_path}/journal is not damaged: {kept}.\n"


def test_what_was_kept_and_what_was_dropped_is_said_in_plain_words(journal, tmp_path):
    damage(journal)
    result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 0
    at, size = HEADER_BYTES + FRAME_BYTES + len(TURNS[0]), FRAME_BYTES + len(TURNS[1])
    damaged, kept, dropped, lost, saved, originals, goes_on = result.output.splitlines()
    assert damaged.startswith(
        f"The journal is damaged ({journal}, at byte {at}: turn 2 is not as it was written"
    )
    assert kept == f"  Kept     2 tasks in 3 turns, {sum(map(len, TURNS)) - len(TURNS[1])} bytes"
    assert dropped == f"  Dropped  {size} bytes of 0000000001.log, from byte {at}"
    assert lost.split() == ["Lost", "1", "turn", "at", "least"]
    assert str(next(tmp_path.glob("dropped-*.bin"))) in saved
    assert str(next(tmp_path.glob("journal-*"))) in originals
    assert "`nbqueue broker`" in goes_on
    again = Journal(tmp_path / "journal")
    assert list(again.recover()) == [turn for turn in TURNS if turn != TURNS[1]]
    again.close()


def test_without_an_option_it_is_the_local_clusters(folders, monkeypatch, journal, tmp_path):
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path))
    damage(journal)
    assert "Kept     2 tasks in 3 turns" in run().output


def test_a_running_broker_is_not_disturbed(journal, tmp_path):
    damage(journal)
    before = journal.read_bytes()
    with FileLock(tmp_path / "broker.lock"):
        result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 73
    assert "stop it first" in result.stderr
    assert journal.read_bytes() == before


def test_a_folder_without_a_journal_is_an_error(tmp_path):
    result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 74
    assert result.stderr.startswith(f"Error: there is no journal in {tmp_path}")
