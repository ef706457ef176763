"""Being told of changes of many tasks, at most so often: what live views are drawn from."""

from collections.abc import Iterable

from nbqueue.client.result import AsyncResult
from nbqueue.client.subscription import OnChange, Subscription

__all__ = ["Subscription", "watch"]


def watch(results: Iterable[AsyncResult], on_change: OnChange, interval: float = 0.1) -> Subscription:
    """Call ``on_change`` with the indices of those results that changed, at most every ``interval`` seconds.

    It is called on the client's I/O thread, once more after the last change, and must not block.
    Close the subscription when nobody looks any more.
    """
    subscription = Subscription(on_change, interval)
    for index, result in enumerate(results):
        result.client.subscribe(result.record, subscription, index)
    return subscription
