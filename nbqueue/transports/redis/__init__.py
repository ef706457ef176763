"""Redis as the broker: links that answer as a broker would.

There is no broker process.  Clients, executors and supervisors speak :mod:`nbqueue.messages` over a link, as
ever; the link turns what they say into calls of Lua scripts, and replies and pushes into what a broker would
answer::

    Submit([task]) ─▶ ClientPart ─ submit.lua ─▶ Redis ─ "x:EXECUTOR" ─▶ ExecutorPart ─ claim.lua ─▶ Assign
    Settle([…]) ◀── ClientPart ◀─ "c:CLIENT" ─── Redis ◀─ settle.lua ─── ExecutorPart ◀─ Settle([outcome])

What is decided about a task is decided by the same functions of the core as in the ZeroMQ broker; scripts are
storage atoms (``lua/``), and everything in Redis is described in :mod:`.names`.  What is due without
anybody's asking (a countdown that is over, a worker that was lost, a time limit) is done by whichever link
comes first (:mod:`.chores`), and none waits for more than a second without looking for work.
"""

from nbqueue.transports.redis.link import RedisTransport

__all__ = ["RedisTransport"]
