"""``self`` of a task that is called here instead of being sent."""

from typing import Any, NoReturn

from nbqueue.exceptions import MaxRetriesExceededError, Retry
from nbqueue.request import Request


class InlineContext:
    """Does what a worker's context does, as far as it can be done in one call."""

    MaxRetriesExceededError = MaxRetriesExceededError

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name = name
        self.request = Request(task=name, args=args, kwargs=kwargs)

    def update_state(self, state: str | None = None, meta: Any = None) -> None:
        """Nobody watches a call: nothing to report."""

    def retry(
        self, args: Any = None, kwargs: Any = None, exc: BaseException | None = None, **options: Any
    ) -> NoReturn:
        """There is no later for a call: raises ``exc``, as Celery does, or Retry."""
        raise exc if exc is not None else Retry("called directly: there is nothing to retry")
