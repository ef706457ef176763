"""The options that ``%%task`` and ``%%submit`` have in common, and how they are read."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument
from IPython.utils.process import arg_split

from nbqueue.conversions import Unexpected, count, period

Magic = TypeVar("Magic", bound=Callable[..., Any])


def _option(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """The conversion of a text, as the parser of options calls it."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except Unexpected as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {error.wanted}") from None

    return converted


natural = _option(count)
seconds = _option(period)


def share(text: str) -> tuple[str, str]:
    """An option's resource, ``gpu=2``."""
    name, _, amount = text.partition("=")
    if not name or not amount:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=AMOUNT, such as gpu=1")
    return name, amount


_COMMON = (
    argument("--queue", metavar="Q", help="queue that the task waits in; workers choose theirs with -Q"),
    argument("--priority", metavar="P", type=natural, help="0 to 9, 9 first"),
    argument("--time-limit", metavar="S", type=seconds, help="kill the task after so many seconds"),
    argument(
        "--soft-time-limit",
        metavar="S",
        type=seconds,
        help="raise SoftTimeLimitExceeded in the task after so many seconds, so that it can clean up",
    ),
    argument("--tag", metavar="T", action="append", dest="tags", help="of the worker; may be given again"),
    argument(
        "--resource", metavar="NAME=N", type=share, action="append", help="of what its worker has: gpu=1"
    ),
    argument("--memory", metavar="SIZE", help="of its worker's, while it runs: 2GB"),
)


def common_arguments(magic: Magic) -> Magic:
    """Decorate a magic with the options of every task."""
    for option in reversed(_COMMON):
        magic = option(magic)
    return magic


def parse(magic: Any, line: str) -> argparse.Namespace:
    """The options of a cell magic; names may stand before, between and after them.

    Raises
    ------
    UsageError
        They are not options of that magic.
    """
    magic.parser.allow_abbrev = False  # a misspelt --queu must not pass for --queue
    try:
        namespace: argparse.Namespace = magic.parser.parse_intermixed_args(arg_split(line))
    except (UsageError, ValueError) as error:
        name = f"%%{magic.parser.prog}"
        raise UsageError(f"{name}: {error}; {name}? shows its options") from None
    return namespace


def task_options(args: argparse.Namespace) -> dict[str, Any]:
    """The common options that were given, as keyword arguments of ``nbqueue.task``."""
    names = ("name", "queue", "priority", "time_limit", "soft_time_limit", "tags")
    given = {name: getattr(args, name) for name in names}
    resources = dict(args.resource or ())
    if args.memory:
        resources["memory"] = args.memory
    return {name: value for name, value in given.items() if value is not None} | (
        {"resources": resources} if resources else {}
    )


def split_names(words: Sequence[str]) -> list[str]:
    """Names given as ``a b``, ``a,b`` or both, each once."""
    return list(dict.fromkeys(name for word in words for name in word.split(",") if name))
