"""Type variables of tasks and results: ``Task[P, R]``, ``AsyncResult[R]``; left out, they are anything."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # type checkers bring it along; that a variable has a default is news to Python 3.11
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any, covariant=True)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["P", "R"]
