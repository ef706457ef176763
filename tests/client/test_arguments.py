"""Calls are checked before they are sent."""

import functools
from typing import Any

import pytest

from nbqueue.client.arguments import checker


def plain(a: int, b: "list[Nowhere]" = object(), /, *args: int, key: Any = lambda: 0, **kwargs: Any) -> None:  # noqa: F821, B008
    """Every kind of parameter."""


def test_a_right_call_passes() -> None:
    checker(plain, bound=False)(1, 2, 3, key=4, other=5)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [((), {}, "missing 1 required"), ((), {"a": 1}, "missing 1 required")],
)
def test_a_wrong_call_raises_pythons_own_error(
    args: tuple[int, ...], kwargs: dict[str, int], message: str
) -> None:
    with pytest.raises(TypeError, match=rf"plain\(\) {message}"):
        checker(plain, bound=False)(*args, **kwargs)


def test_a_bound_function_is_called_without_self() -> None:
    def f(self: Any, x: int) -> None: ...

    check = checker(f, bound=True)
    check(1)
    with pytest.raises(TypeError):
        check(1, 2)


def test_lambdas_partials_and_builtins_are_checked_as_far_as_they_can_be() -> None:
    checker(lambda x: x, bound=False)(1)
    checker(functools.partial(plain, 1), bound=False)(2)
    checker(print, bound=False)(1)
    checker(dict, bound=False)(1, 2, 3)
