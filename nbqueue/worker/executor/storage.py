"""Where an executor puts what tasks return: to the broker with the outcome, or into a result backend.

Which one says the task, as the application that sent it is set up, and else the worker's own (``-A``).
"""

from nbqueue import results
from nbqueue.exceptions import ResultBackendError
from nbqueue.messages import Assignment, Outcome
from nbqueue.results.base import StoredValue
from nbqueue.settings import shown_url


class Storage:
    """See the module's docstring.

    Parameters
    ----------
    backend
        The worker's own.
    expires
        Seconds for which a result backend keeps values; 0: for ever.
    trusts
        Whether a task may name a class that is imported here.
    large
        The backend for values of more than so many bytes, where the broker leaves them to one.
    """

    def __init__(
        self,
        backend: str | None = None,
        expires: float = 0.0,
        *,
        trusts: bool = True,
        large: tuple[str, int] = ("", 0),
    ) -> None:
        self._own = "" if backend is None or results.is_with_broker(backend) else backend
        self._expires = expires
        self._trusts = trusts
        self._large, self._above = large

    def keep(self, assignment: Assignment, data: bytes) -> tuple[bytes, str]:
        """What of a value goes to the broker, and which backend has the rest ("" for none).

        Raises
        ------
        ResultBackendError
            It could not be stored.
        """
        url = (assignment.task.backend if self._trusts else "") or self._own
        if not url or not data or results.is_with_broker(url):
            if not self._large or len(data) <= self._above:
                return data, ""
            url = self._large
        if url == results.DISABLED:
            return b"", ""
        value = StoredValue(assignment.task.id, assignment.token, data)
        try:
            results.result_backend(url).store([value], self._expires)
        except Exception as error:
            raise ResultBackendError(
                f"the value of {assignment.task.name}() could not be kept by {shown_url(url)}:"
                f" {type(error).__name__}: {error}"
            ) from error
        return b"", shown_url(url)

    def load(self, assignment: Assignment, outcome: Outcome) -> bytes:
        """The value of another task, which a step takes, from the backend that has it.

        Raises
        ------
        ResultBackendError
            It cannot be asked, or has the value no longer.
        """
        named = assignment.task.backend if self._trusts else ""
        url = next(
            (url for url in (named, self._own, self._large) if url and shown_url(url) == outcome.stored), ""
        )
        if not url:
            raise ResultBackendError(
                f"this step takes a value that {outcome.stored} keeps, which this worker does not use"
            )
        try:
            value = results.result_backend(url).load(outcome.id, outcome.token)
        except Exception as error:
            raise ResultBackendError(
                f"{outcome.stored} cannot be asked for the value that this step takes:"
                f" {type(error).__name__}: {error}"
            ) from error
        if value is None:
            raise ResultBackendError(f"{outcome.stored} has the value that this step takes no longer")
        return value
