"""Why a local cluster could not be started or stopped."""

from nbqueue.exceptions import ConnectionLostError


class LaunchError(ConnectionLostError):
    """The local cluster did not start or stop; the message has the last lines of its log."""


class UnusableFolderError(LaunchError):
    """A folder for connection files, logs or sockets cannot be used: the disk is full, or it is not ours."""
