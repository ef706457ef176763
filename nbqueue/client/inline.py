"""``self`` of a task that is called here instead of being sent."""

from typing import Any, NoReturn

from nbqueue.exceptions import Retry


class InlineRequest:
    """The fields of ``self.request`` that make sense without a worker."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.id = None
        self.args = args
        self.kwargs = kwargs
        self.retries = 0
        self.attempt = 1
        self.called_directly = True


class InlineContext:
    """Does what a worker's context does, as far as it can be done in one call."""

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name = name
        self.request = InlineRequest(args, kwargs)

    def update_state(self, state: str | None = None, meta: Any = None) -> None:
        """Nobody watches a call: nothing to report."""

    def retry(
        self, *, exc: BaseException | None = None, countdown: float | None = None, **_: Any
    ) -> NoReturn:
        """There is no later for a call: raises ``exc``, as Celery does, or Retry."""
        raise exc if exc is not None else Retry("called directly: there is nothing to retry")
