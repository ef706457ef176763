"""How an error leaves the command line: what is wrong, what to do about it, and an exit code.

The codes are those of sysexits.h, so that scripts can tell "nobody there" from "not allowed".
"""

from typing import IO, Any, NamedTuple

import click

from nbqueue.broker.errors import DataFolderInUse, FolderUnusable
from nbqueue.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    NBQueueError,
    ProtocolError,
)
from nbqueue.launch.errors import LaunchError, UnusableFolderError

OK = 0
FAILURE = 1
UNAVAILABLE = 69
CANNOT_CREATE = 73
NO_PERMISSION = 77
CONFIGURATION = 78


class Verdict(NamedTuple):
    """What the command line makes of one class of error."""

    error: type[NBQueueError]
    exit_code: int
    #: what to do about it, "" when the messages of that class say so themselves
    hint: str = ""


#: The first row whose class fits decides.
VERDICTS = (
    Verdict(
        AuthenticationError, NO_PERMISSION, "on the broker's machine, `nbqueue key` prints the right key"
    ),
    Verdict(ProtocolError, UNAVAILABLE, "install the same version of nbqueue on both sides"),
    Verdict(UnusableFolderError, CANNOT_CREATE),
    Verdict(LaunchError, UNAVAILABLE),
    Verdict(DataFolderInUse, DataFolderInUse.exit_code),
    Verdict(FolderUnusable, FolderUnusable.exit_code),
    Verdict(ConnectionLostError, UNAVAILABLE, "`nbqueue doctor` looks for the cause"),
    Verdict(ConfigurationError, CONFIGURATION),
    Verdict(NBQueueError, FAILURE),
)


def verdict(error: NBQueueError) -> Verdict:
    """The row for an error."""
    return next(row for row in VERDICTS if isinstance(error, row.error))


class CommandFailed(click.ClickException):
    """An error of nbqueue on its way to the terminal."""

    def __init__(self, error: NBQueueError) -> None:
        super().__init__(str(error))
        row = verdict(error)
        vars(self)["exit_code"] = row.exit_code  # click's types know it as the class's only
        self.hint = "" if "`nbqueue" in self.message else row.hint

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"Error: {self.message}", file=file, err=file is None)
        if self.hint:
            click.echo(f"Hint: {self.hint}", file=file, err=file is None)
