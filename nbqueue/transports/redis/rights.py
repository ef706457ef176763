"""What a user of Redis has to be allowed, and nothing more: commands, keys and channels of one application.

The list is what an administrator writes into Redis (:func:`rule`), and what ``nbqueue doctor`` tries, each
with words that harm nothing: they touch keys of its own (``doctor:*``) that are gone within a minute.
"""

from typing import Final

from nbqueue.transports.redis.names import Names

#: stand for keys of a type and for a channel
_HASH: Final = "{hash}"
_LIST: Final = "{list}"
_TEXT: Final = "{text}"
_ZSET: Final = "{zset}"
_CHANNEL: Final = "{channel}"

#: each command, as it may be tried
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "CLUSTER|SLOTS": (),
    "DEL": (_HASH, _LIST, _TEXT, _ZSET),
    "EVALSHA": ("0" * 40, "1", _TEXT),
    "EXISTS": (_TEXT,),
    "EXPIRE": (_TEXT, "60"),
    "GET": (_TEXT,),
    "GETRANGE": (_TEXT, "0", "0"),
    "HDEL": (_HASH, "field"),
    "HEXISTS": (_HASH, "field"),
    "HGET": (_HASH, "field"),
    "HGETALL": (_HASH,),
    "HINCRBY": (_HASH, "field", "0"),
    "HKEYS": (_HASH,),
    "HLEN": (_HASH,),
    "HMGET": (_HASH, "field"),
    "HSET": (_HASH, "text", "text"),
    "HSETNX": (_HASH, "field", "0"),
    "HVALS": (_HASH,),
    "INFO": ("server",),
    "LLEN": (_LIST,),
    "LPOS": (_LIST, "item"),
    "LPUSH": (_LIST, "item"),
    "LRANGE": (_LIST, "0", "0"),
    "LTRIM": (_LIST, "0", "0"),
    "PERSIST": (_TEXT,),
    "PEXPIRE": (_TEXT, "60000"),
    "PING": (),
    "PTTL": (_TEXT,),
    "PUBLISH": (_CHANNEL, ""),
    "RPUSH": (_LIST, "item"),
    "SCRIPT|EXISTS": ("0" * 40,),
    "SCRIPT|LOAD": ("return 0",),
    "SET": (_TEXT, "text"),
    "STRLEN": (_TEXT,),
    "SUBSCRIBE": (_CHANNEL,),
    "TIME": (),
    "UNLINK": (_TEXT,),
    "ZADD": (_ZSET, "0", "member"),
    "ZCARD": (_ZSET,),
    "ZCOUNT": (_ZSET, "0", "0"),
    "ZPOPMIN": (_ZSET,),
    "ZRANGE": (_ZSET, "0", "0"),
    "ZRANGEBYSCORE": (_ZSET, "0", "0"),
    "ZREM": (_ZSET, "member"),
    "ZSCORE": (_ZSET, "member"),
}
#: what is answered by a push
PUSHED: Final = ("SUBSCRIBE",)
#: what is tried last: it removes what the others have made
_LAST: Final = "DEL"


def rule(app: str) -> str:
    """What stands after ``ACL SETUSER NAME on >PASSWORD``: the least that an application needs."""
    prefix = Names(app).prefix
    commands = " ".join(f"+{command.lower()}" for command in COMMANDS)
    return f"resetkeys ~{prefix}* resetchannels &{prefix}* -@all {commands}"


def trials(app: str) -> list[tuple[str, tuple[str, ...]]]:
    """Each command, and the words by which it is tried."""
    names = Names(app)
    stand_ins = {word: names(f"doctor:{word.strip('{}')}") for word in (_HASH, _LIST, _TEXT, _ZSET, _CHANNEL)}
    tried = [
        (command, (*command.split("|"), *(stand_ins.get(word, word) for word in words)))
        for command, words in COMMANDS.items()
        if command not in (_LAST, *PUSHED)
    ]
    pushed = [(command, (command, stand_ins[_CHANNEL])) for command in PUSHED]
    keys = tuple(stand_ins[word] for word in COMMANDS[_LAST])
    return [*tried, (_LAST, (_LAST, *keys)), *pushed]
