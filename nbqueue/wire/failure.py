"""Exceptions on their way: taken down by a worker, raised again by a client as if they came from here.

A :class:`~nbqueue.messages.Failure` is readable by everyone.  For those who have its class it carries
the exception itself, and what it was raised from, so that ``except MyError`` works and the notebook
shows the whole chain.  For everyone else there is :class:`~nbqueue.exceptions.RemoteError`.
"""

import builtins
import functools
import pickle
from collections.abc import Collection
from types import TracebackType
from typing import Any

from nbqueue import exceptions
from nbqueue.exceptions import RemoteError
from nbqueue.messages import Failure, Frame
from nbqueue.wire import serializers, sources, tracebacks
from nbqueue.wire.pickler import PROTOCOL, dumps

#: characters
_LONGEST_MESSAGE = 10_000
#: bytes
_LARGEST_EXCEPTION = 2**20
_LARGEST_PART = 2**16
#: characters of cells that go with each failure; who submitted the task has them anyway
_LONGEST_SOURCES = 20_000
#: exceptions that were raised from one another
_LONGEST_CHAIN = 10


def capture(exc: BaseException) -> Failure:
    """Take an exception down.  Never raises."""
    return _capture(exc, _LONGEST_CHAIN)


def rebuild(failure: Failure, note: str = "", accepted: Collection[str] | None = None) -> BaseException:
    """The exception of a failure, with the worker's frames and a note added.  Never raises.

    It is of the original class if that can be loaded here, else a RemoteError; so are SystemExit,
    KeyboardInterrupt and the like, which are orders to the process that raises them.  Where pickles are not
    ``accepted`` (None: all are), nothing is loaded: the interpreter's exceptions and ours are made anew from
    their texts, others are RemoteErrors.
    """
    is_loaded = accepted is None or serializers.PICKLED in accepted
    exc = _rebuild(failure) if is_loaded else _unloaded(failure)
    if note:
        _quietly(exc.add_note, note)
    return exc


def remote_traceback(exc: BaseException) -> TracebackType | None:
    """The worker's part of the traceback of an exception that :func:`rebuild` returned."""
    return tracebacks.remote_part(exc.__traceback__)


# ── taking down ──────────────────────────────────────────────────────────────────────────────────


def _capture(exc: BaseException, links: int) -> Failure:
    frames = _quietly(tracebacks.frames_of, exc.__traceback__) or []
    message = _message(exc)
    name = type(exc).__qualname__
    whole = links == _LONGEST_CHAIN
    return Failure(
        type=name,
        module=str(type(exc).__module__),
        message=message,
        traceback=_quietly(functools.partial(tracebacks.text_of, chain=whole), exc) or f"{name}: {message}\n",
        frames=frames,
        exception=_pickled_chain(exc, links),
        sources=_sources(frames),
    )


def _message(exc: BaseException) -> str:
    try:
        text = str(exc)
    except Exception as error:
        return f"<its text cannot be had: {type(error).__name__}>"
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def _sources(frames: list[Frame]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    left = _LONGEST_SOURCES
    for filename in {frame.filename: None for frame in frames if sources.is_remembered(frame.filename)}:
        source = sources.source_of(filename)
        if source is not None and len(source[0]) <= left:
            found[filename] = source
            left -= len(source[0])
    return found


def _pickled_chain(exc: BaseException, links: int) -> bytes:
    """The exception, and what it was raised from: pickled (bytes, name of the link, Failure)."""
    data = _pickled(exc)
    link, origin = _origin(exc)
    earlier = _capture(origin, links - 1) if origin is not None and links > 1 else None
    return pickle.dumps((data, link, earlier), PROTOCOL) if data or earlier is not None else b""


def _origin(exc: BaseException) -> tuple[str, BaseException | None]:
    if exc.__cause__ is not None:
        return "__cause__", exc.__cause__
    return "__context__", None if exc.__suppress_context__ else exc.__context__


def _pickled(exc: BaseException) -> bytes:
    """The exception alone, b"" if it does not come out of a pickle as it went in."""
    return _quietly(_checked, exc, exc) or _quietly(_checked, _Remains(exc), exc) or b""


def _checked(thing: Any, exc: BaseException) -> bytes:
    data = dumps(thing, local=False)
    if len(data) > _LARGEST_EXCEPTION:
        return b""
    copy = pickle.loads(data)
    is_alike = _class_name(copy) == _class_name(exc) and (
        isinstance(thing, _Remains) or str(copy) == str(exc)
    )
    return data if is_alike else b""


def _class_name(thing: object) -> tuple[str, str]:
    return type(thing).__module__, type(thing).__qualname__


class _Remains:
    """What is left of an exception that does not pickle: its class, and of its contents what does.

    Many classes cannot be pickled because ``__init__`` takes other arguments than it hands to
    ``Exception.__init__``: so ``__init__`` is not called again.
    """

    def __init__(self, exc: BaseException) -> None:
        self._exc = exc

    def __reduce__(self) -> Any:
        args = tuple(_portable(arg) for arg in self._exc.args)
        members = {name: _portable(value) for name, value in vars(self._exc).items()}
        return _revive, (type(self._exc), args, members)


def _revive(cls: type[BaseException], args: tuple[Any, ...], members: dict[str, Any]) -> BaseException:
    exc = cls.__new__(cls, *args)
    BaseException.args.__set__(exc, args)  # type: ignore[attr-defined]  # as in _rebuild
    vars(exc).update(members)
    return exc


def _portable(value: Any) -> Any:
    """The value if it can be pickled and is not large, else what it looks like."""
    data = _quietly(dumps, value)
    if data and len(data) <= _LARGEST_PART:
        return value
    text = _quietly(repr, value) or f"<{type(value).__name__}>"
    return text[:_LONGEST_MESSAGE]


# ── raising again ────────────────────────────────────────────────────────────────────────────────


def _rebuild(failure: Failure) -> BaseException:
    sources.remember(failure.sources)
    data, link, earlier = _quietly(pickle.loads, failure.exception) or (b"", "", None)
    exc: BaseException = _quietly(_original, data) or _stand_in(failure)
    if earlier is not None:
        getattr(BaseException, link).__set__(exc, _rebuild(earlier))  # a descriptor, past a frozen class
    return exc.with_traceback(_quietly(tracebacks.build, failure.frames))


def _original(data: bytes) -> BaseException | None:
    exc: BaseException = pickle.loads(data)
    return None if _is_order(exc) else exc


def _is_order(exc: BaseException) -> bool:
    """Whether it would end this process, or pass for an interrupt or a cancellation of what runs here."""
    # asyncio's is told by its name: importing asyncio takes longer than all of this package
    return isinstance(exc, SystemExit | KeyboardInterrupt | GeneratorExit) or (
        type(exc).__name__ == "CancelledError" and not isinstance(exc, Exception)
    )


def _unloaded(failure: Failure) -> BaseException:
    """An exception made of its class's name and its text alone."""
    sources.remember(failure.sources)
    homes = {"builtins": builtins, exceptions.__name__: exceptions}
    kind = getattr(homes.get(failure.module), failure.type, None)
    exc = None
    if isinstance(kind, type) and issubclass(kind, Exception):
        exc = _quietly(kind, failure.message)
    return (exc or _stand_in(failure)).with_traceback(_quietly(tracebacks.build, failure.frames))


def _stand_in(failure: Failure) -> BaseException:
    ours = getattr(exceptions, failure.type, None) if failure.module == exceptions.__name__ else None
    if ours is not None and issubclass(ours, exceptions.TaskError):  # the broker's words: it pickles nothing
        return ours(failure.message)  # type: ignore[no-any-return]  # looked up by name
    text = f"{failure.type}: {failure.message}" if failure.message else failure.type
    return RemoteError(text, type=failure.type, module=failure.module, traceback=failure.traceback)


def _quietly(function: Any, *args: Any) -> Any:
    """The function's value, None if it raises: exceptions may have any code in them."""
    try:
        return function(*args)
    except Exception:
        return None
