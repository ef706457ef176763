"""Result backends as clients see them: ``app.backend``, ``result.backend``, and where values are."""

from collections.abc import Mapping, Sequence
from typing import Any

from nbqueue import results
from nbqueue.client.elsewhere import OF_BACKENDS, without
from nbqueue.exceptions import ResultBackendError, ResultsDisabledError
from nbqueue.settings import shown_url


class Backend:
    """Where the results of an application are kept; shows it without passwords."""

    def __init__(self, url: str | None, broker: str) -> None:
        #: "" for the broker
        self.url = "" if url is None or results.is_with_broker(url, broker) else url
        self._broker = broker
        if self.url and not self.disabled:
            results.result_backend(self.url)  # one that cannot be is told where it is first needed

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(without(f"app.backend has no {name!r}", name, OF_BACKENDS))

    @property
    def disabled(self) -> bool:
        """Whether results are not kept at all."""
        return self.url == results.DISABLED

    def as_uri(self) -> str:
        """Its URL without the password."""
        return shown_url(self.url) or "rpc://"

    def __repr__(self) -> str:
        if self.disabled:
            return "<Backend disabled://: results are not kept>"
        if self.url:
            return f"<Backend {self.as_uri()}>"
        return f"<Backend rpc://: the broker at {shown_url(self._broker) or 'the local cluster'}>"

    def check(self) -> None:
        """Raise ResultsDisabledError if results are not kept."""
        if self.disabled:
            raise ResultsDisabledError(
                "results are not kept: the application has backend='disabled://'; leave it out, and the"
                " broker keeps them"
            )


def load(stored: str, known: Mapping[str, str], id: str, token: int) -> bytes | None:
    """The value of a run that a result backend has; ``known``: full URLs by those without passwords.

    Raises
    ------
    ResultBackendError
        It cannot be asked.
    """
    url = known.get(stored)
    if url is None and (":***@" in stored or not _is_ours(stored)):
        raise ResultBackendError(
            f"the value is kept by {stored}, which no application here uses: make one with that backend, and"
            " ask for the result by its id: app.AsyncResult(id)"
        )
    try:
        return results.result_backend(url or stored).load(id, token)
    except Exception as error:
        raise ResultBackendError(
            f"{stored} cannot be asked for the value: {type(error).__name__}: {error}"
        ) from error


def _is_ours(stored: str) -> bool:
    """Whether it may be used though nobody here has named it: no code of unknown places is imported."""
    scheme = stored.partition("://")[0].partition("+")[0]
    return bool(scheme) and "." not in scheme and ":" not in scheme


def forget(known: Mapping[str, str], ids: Sequence[str]) -> None:
    """Delete values wherever they may be.

    Raises
    ------
    ResultBackendError
        They could not be deleted; try again later.
    """
    for stored, url in known.items():
        try:
            results.result_backend(url).forget(ids)
        except Exception as error:
            raise ResultBackendError(
                f"{stored} did not delete values: {type(error).__name__}: {error}"
            ) from error
