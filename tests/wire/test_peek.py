"""A look at arguments that runs nobody's code."""

import os
import pickle
import time
from typing import Any

import pytest

from nbqueue.wire import peek
from nbqueue.wire.payload import dumps_arguments


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/nbqueue-was-here",)


def test_plain_values_come_out_as_they_are() -> None:
    payload = dumps_arguments((1, "two", 3.5, None, [True, (4,)]), {"five": {"six": b"7"}})
    assert peek.arguments(payload) == ([1, "two", 3.5, None, [True, [4]]], {"five": {"six": "b'7'"}})


def test_nothing_that_a_pickle_names_is_called() -> None:
    args, kwargs = peek.arguments(pickle.dumps(((Evil(), Evil), {"x": Evil()})))
    assert not os.path.exists("/tmp/nbqueue-was-here")
    assert args[0] == f"<{os.mkdir.__module__}.mkdir>"
    assert kwargs == {"x": f"<{os.mkdir.__module__}.mkdir>"}


def test_values_of_other_types_are_named() -> None:
    import numpy as np

    args, _ = peek.arguments(pickle.dumps(((np.float64(1.0), {1, 2}, range(3)), {})))
    assert "numpy" in args[0]
    assert args[1:] == ["{1, 2}", "<builtins.range>"]


def test_other_serializers_are_read() -> None:
    assert peek.arguments(b'[[1], {"a": 2}]', "json") == ([1], {"a": 2})
    assert peek.arguments(b"\x92\x91\x01\x80", "msgpack") == ([1], {})


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"nonsense",
        bytes(5000),
        b"\x80\x05r\xff\xff\xff\x7f.",  # a place in a table of two thousand million
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",  # bytes that are not there
        pickle.dumps(5),
    ],
)
def test_what_cannot_be_read_is_not(payload: bytes | None) -> None:
    assert peek.arguments(payload) == ("<…>", "<…>")


def test_what_would_take_for_ever_is_left_alone() -> None:
    # a tuple of twice the tuple before, sixty times; as a key it is hashed, by two steps for each level below
    levels = b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(60))
    payload = b"\x80\x04))" + levels + b"0}h\x3bK\x01s\x86."
    began = time.monotonic()
    peek.arguments(payload)
    assert time.monotonic() - began < 1.0


def test_long_values_are_shortened() -> None:
    args, _ = peek.arguments(pickle.dumps((("x" * 1000, list(range(100)), 10**30), {})))
    assert all(len(str(value)) < 130 for value in args)
