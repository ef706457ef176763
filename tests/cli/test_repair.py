"""``nbqueue broker --repair`` as a person runs it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from nbqueue.broker.journal import Journal
from nbqueue.cli.main import cli
from nbqueue.platform import FileLock


def run(*arguments):
    return CliRunner().invoke(cli, ["broker", "--repair", *arguments])


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file of a journal of three records."""
    made = Journal(tmp_path / "journal")
    list(made.recover())
    for record in (b"first", b"second", b"third"):
        made.append(record)
    made.close()
    return tmp_path / "journal" / "0000000001.log"


def damage(journal):
    journal.write_bytes(journal.read_bytes().replace(b"second", b"sXcond"))


def test_a_journal_that_is_whole_is_said_to_be(journal, tmp_path):
    result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 0
    assert result.output == f"The journal in {tmp_path}/journal is not damaged: 3 records, 16 bytes.\n"


def test_what_was_kept_and_what_was_dropped_is_said_in_plain_words(journal, tmp_path):
    damage(journal)
    result = run("--data-dir", str(tmp_path))
    assert result.exit_code == 0
    damaged, kept, dropped, lost, saved, originals, goes_on = result.output.splitlines()
    assert damaged.startswith(
        f"The journal is damaged ({journal}, at byte 70: record 2 is not as it was written"
    )
    assert kept.split() == ["Kept", "2", "records,", "10", "bytes"]
    assert dropped.split() == ["Dropped", "31", "bytes", "of", "0000000001.log,", "from", "byte", "70"]
    assert lost.split() == ["Lost", "1", "record", "at", "least"]
    assert str(next(tmp_path.glob("dropped-*.bin"))) in saved
    assert str(next(tmp_path.glob("journal-*"))) in originals
    assert "`nbqueue broker`" in goes_on
    again = Journal(tmp_path / "journal")
    assert list(again.recover()) == [b"first", b"third"]
    again.close()


def test_without_an_option_it_is_the_local_clusters(folders, monkeypatch, journal, tmp_path):
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path))
    damage(journal)
    assert "Kept     2 records" in run().output


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
