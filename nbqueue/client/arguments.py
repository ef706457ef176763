"""Checking a call against a function's signature, at the price of a call."""

import inspect
from collections.abc import Callable
from typing import Any


def checker(function: Callable[..., Any], *, bound: bool) -> Callable[..., None]:
    """A function of the same signature that does nothing, so that a wrong call raises the usual TypeError.

    ``bound`` leaves the first parameter (``self`` of a task) out.  Celery does the same; binding with
    ``inspect.Signature`` costs ten times as much.  What has no signature is not checked.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return lambda *args, **kwargs: None
    parameters = list(signature.parameters.values())[1 if bound else 0 :]
    bare = [
        p.replace(annotation=inspect.Parameter.empty, default=p.empty if p.default is p.empty else _Default())
        for p in parameters
    ]
    name = getattr(function, "__name__", "task")
    name = name if name.isidentifier() else "task"
    namespace: dict[str, Any] = {}
    exec(
        f"def {name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}: pass",
        namespace,
    )
    check: Callable[..., None] = namespace[name]
    return check


class _Default:
    """Stands for any default value in source text."""

    def __repr__(self) -> str:
        return "None"
