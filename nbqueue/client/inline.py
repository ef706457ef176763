"""What a task's ``self`` shows while it is run here, by a call or eagerly, instead of on a worker.

Runs may be inside of one another: those of this thread are kept in a stack, and what belongs to the
topmost one is a task's own only if it is the task's.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

#: in place of a request: the task's run is a worker's
_WORKERS = object()
#: (task, request) of each run that goes on here, the innermost last
_stack: ContextVar[tuple[tuple[Any, Any], ...]] = ContextVar("nbqueue_inline", default=())


class Inline:
    """A run here: ``with Inline(task, request): …``"""

    def __init__(self, task: Any, request: Any) -> None:
        self._entry = (task, request)
        self._token: Token[tuple[tuple[Any, Any], ...]] | None = None

    def __enter__(self) -> None:
        self._token = _stack.set((*_stack.get(), self._entry))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _stack.reset(self._token)

    @staticmethod
    def of(task: Any) -> Any:
        """The request of a task's run here, None if the innermost run is not its own, or a worker's."""
        stack = _stack.get()
        if Inline.is_called_by_worker(task):
            stack = stack[:-1]
        return stack[-1][1] if stack and stack[-1][0] is task else None

    @staticmethod
    def by_worker(task: Any) -> "Inline":
        """The next call of the task is a worker's."""
        return Inline(task, _WORKERS)

    @staticmethod
    def is_called_by_worker(task: Any) -> bool:
        stack = _stack.get()
        return bool(stack) and stack[-1] == (task, _WORKERS)
