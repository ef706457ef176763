"""--logfile: names, and files that are moved away."""

import os
import subprocess
import sys

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.worker.logfile import LogFile, is_own, path_of


@pytest.mark.parametrize(
    ("template", "index", "path"),
    [
        ("w.log", 0, "w.log"),
        ("%n.log", 0, "worker1.log"),
        ("%h-%d.log", 0, "host.example.com-example.com.log"),
        ("%n-%i.log", 3, "worker1-3.log"),
        ("%n%I.log", 0, "worker1.log"),
        ("%n%I.log", 3, "worker1-3.log"),
        ("100%%h", 0, "100%h"),
    ],
)
def test_names_are_celerys(template, index, path):
    assert path_of(template, "worker1@host.example.com", index) == path
    assert is_own(template) == ("%i" in template or "%I" in template)


def test_what_is_written_after_the_file_was_moved_goes_to_a_new_one(tmp_path):
    file = LogFile(str(tmp_path / "w.log"), "w@h")
    file.write(b"one\n")
    (tmp_path / "w.log").rename(tmp_path / "w.log.1")
    file.write(b"two\n")
    os.close(file.fd)
    assert (tmp_path / "w.log.1").read_text() == "one\n"
    assert (tmp_path / "w.log").read_text() == "two\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no/w\.log: No such file"):
        LogFile(str(tmp_path / "no" / "w.log"), "w@h")


def test_it_takes_the_place_of_standard_output_and_error(tmp_path):
    code = "import sys; from nbqueue.worker.logfile import LogFile; LogFile('w.log', 'w@h').take_over();"
    code += "print('out', flush=True); print('err', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (tmp_path / "w.log").read_text() == "out\nerr\n"
