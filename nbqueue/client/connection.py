"""Celery's way to the broker itself: ``app.connection()``.

A process has one connection, which is made and kept by itself; whoever asks for it wants to know whether the
broker is there.
"""

from collections.abc import Callable
from typing import Any, Self

from nbqueue.client.client import Client
from nbqueue.exceptions import ConnectionLostError
from nbqueue.settings import shown_url


class BrokerConnection:
    """The connection of this process, which others use as well: it stays when this is closed."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<BrokerConnection {self.as_uri()}>"

    def as_uri(self, include_password: bool = False, **_: Any) -> str:
        """The broker's URL, without the password that it may hold."""
        url = self._client().url
        return url if include_password else shown_url(url)

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as is known just now."""
        try:
            return bool(self._client().connected)
        except ConnectionLostError:
            return False

    def ensure_connection(
        self,
        errback: Callable[[BaseException, float], object] | None = None,
        max_retries: int | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Self:
        """Ask the broker whether it is there, within ``timeout`` (``connect_timeout``) seconds.

        Parameters
        ----------
        errback
            Called with the error and 0 when it is not.
        max_retries
            Taken for Celery's sake: the connection is made again by itself.

        Raises
        ------
        ConnectionLostError
            It is not.
        """
        try:
            self._client().ask("status", timeout=timeout)
        except Exception as error:
            if errback is not None:
                errback(error, 0.0)
            if isinstance(error, ConnectionLostError):
                raise
            raise ConnectionLostError(str(error)) from error
        return self

    connect = ensure_connection

    def release(self) -> None:
        """Nothing: the connection is that of the process."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
