"""Why a broker does not start, each with the exit code of its process (see sysexits.h); and why its journal
takes no more."""

from typing import ClassVar

from nbqueue.exceptions import NBQueueError


class BrokerStartError(NBQueueError):
    """The broker cannot start; the message says what to do."""

    exit_code: ClassVar[int] = 78


class DataFolderInUse(BrokerStartError):
    """Another broker runs on that data folder: use that one, stop it, or name another folder."""

    exit_code = 73


class AddressUnavailable(BrokerStartError):
    """The broker cannot listen there: another program does, or the address is not of this machine."""

    exit_code = 69


class FolderUnusable(BrokerStartError):
    """A file that the broker needs cannot be written: the disk is full, or the folder is not ours."""

    exit_code = 74


class JournalCorrupt(BrokerStartError):
    """What the journal has recorded cannot be read in full; the message names where, and the way out."""

    exit_code = 65


class JournalFull(NBQueueError):
    """A record was not taken: the disk is full or cannot be written.  Nothing of it counts; try again."""
