"""What workers reply to ``inspect`` and ``control``, by node, for programs and for eyes."""

from collections.abc import Iterable, Mapping
from typing import Any

from nbqueue.wire import peek


class Replies(dict[str, Any]):
    """Replies by node; a dict, which a notebook shows as a table."""

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Column heads and rows of text: one row for each thing that a node names, or for the node."""
        lists = [(node, item) for node, reply in self.items() for item in _items(reply)]
        dicts = [item for _, item in lists if isinstance(item, Mapping)]
        if lists and len(dicts) == len(lists):
            heads = list(dict.fromkeys(str(key) for item in dicts for key in item))
            return ["node", *heads], [
                [node, *(_text(item.get(head, "")) for head in heads)] for node, item in lists
            ]
        return ["node", "reply"], [[node, _text(item)] for node, item in lists]


def _items(reply: Any) -> Iterable[Any]:
    """The things of one reply."""
    if isinstance(reply, Mapping):
        return [reply]
    return reply if isinstance(reply, list) and reply else [""]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else repr(value)


def readable(replies: Mapping[str, Any]) -> Replies:
    """The same, with the arguments of tasks in place of what they were written as."""
    return Replies({node: _readable(reply) for node, reply in replies.items()})


def _readable(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_readable(item) for item in reply]
    if not isinstance(reply, dict):
        return reply
    if "payload" in reply and "serializer" in reply:
        args, kwargs = peek.arguments(reply["payload"], str(reply["serializer"]))
        rest = {key: value for key, value in reply.items() if key not in ("payload", "serializer")}
        head = {key: rest.pop(key) for key in ("id", "name") if key in rest}
        return {**head, "args": args, "kwargs": kwargs, **rest}
    return {key: _readable(value) for key, value in reply.items()}
