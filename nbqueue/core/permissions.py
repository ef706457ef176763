"""Who may say what: every peer comes by a key, every key has a role, and a role's rights stand in one table.

::

    client   a person's: submits, reads and cancels everything, and may attach workers, since it can run
             code on any of them anyway
    worker   a machine's: runs tasks.  As a client, which a task inside of it may be, it submits children of
             tasks that it runs, and deals with those that it submitted; of all others it learns nothing
    viewer   a screen's: reads everything, changes nothing

The driver knows which key a message came by; whoever comes by a guarded way without one (the unix socket, the
memory of the same process) is a client.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from nbqueue import messages as m

# Roles of a key
CLIENT: Final = "client"
WORKER: Final = "worker"
VIEWER: Final = "viewer"


class Key(NamedTuple):
    """What the core knows of the key that a peer came by."""

    name: str
    role: str

    @property
    def only_own(self) -> bool:
        """Whether it may deal with tasks of its own only."""
        return self.role != CLIENT and RIGHTS[self.role].only_own


#: of those who need no key
LOCAL: Final = Key("", CLIENT)


class Rights(NamedTuple):
    """What a role may do."""

    #: the parts that it may take by its Hello
    parts: frozenset[str]
    #: what it may say as a client
    words: frozenset[type]
    #: what it may ask
    topics: frozenset[str]
    #: only of tasks that were submitted by the same key
    only_own: bool
    #: for a person, as the end of "this is a …'s key, which …"
    summary: str


_ALL_PARTS: Final = frozenset({m.CLIENT, m.WORKER, m.EXECUTOR, m.CONTROL})
#: Whoever is there may keep and end its connection.
_COURTESIES: Final = frozenset({m.Ping, m.Goodbye})

#: A client's key is not listed: it may do everything.
RIGHTS: Final[Mapping[str, Rights]] = MappingProxyType(
    {
        WORKER: Rights(
            parts=_ALL_PARTS,
            words=_COURTESIES | {m.Define, m.Submit, m.Cancel, m.Watch, m.Forget, m.Ask, m.Stream},
            topics=frozenset({"why", "children", "noted"}),
            only_own=True,
            summary="runs tasks, and submits, reads and cancels only those that belong to the ones it runs",
        ),
        VIEWER: Rights(
            parts=frozenset({m.CLIENT}),
            words=_COURTESIES | {m.Watch, m.Ask, m.Listen},
            topics=frozenset(
                {"status", "tasks", "periodic", "why", "children", "workflow", "noted", "inspect", "overview"}
            ),
            only_own=False,
            summary="may read, and nothing else",
        ),
    }
)

ROLES: Final = (CLIENT, *RIGHTS)


def may_take(key: Key, part: str) -> bool:
    """Whether a peer may say Hello with that role."""
    return key.role == CLIENT or part in RIGHTS[key.role].parts


def may_say(key: Key, message: m.AnyMessage) -> bool:
    """Whether a client may say this; which tasks it may say it of is another question (:func:`sees`)."""
    if key.role == CLIENT:
        return True
    rights = RIGHTS[key.role]
    if isinstance(message, m.Ask):
        return message.topic in rights.topics
    return type(message) in rights.words


def sees(key: Key, owner: str) -> bool:
    """Whether it may deal with a task; ``owner`` is the name of the worker's key that submitted it, "" for
    tasks of clients."""
    return not key.only_own or owner == key.name


def stands_for(key: Key, other: Key) -> bool:
    """Whether whoever comes by ``key`` may take the place of one who came by ``other``, or join it: clients
    may, since one process may come by the unix socket and by TCP."""
    return key == other or key.role == other.role == CLIENT


def refusal(key: Key) -> str:
    """Why something is refused, for a person."""
    return f"{key.name!r} is a {key.role}'s key, which {RIGHTS[key.role].summary}"
