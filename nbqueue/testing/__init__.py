"""For tests of code that uses nbqueue: a cluster in this process, and fixtures of pytest (``plugin``).

::

    with InProcessCluster() as cluster:
        app = App(broker=cluster.url)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbqueue.testing.cluster import InProcessCluster

__all__ = ["InProcessCluster"]


def __getattr__(name: str) -> Any:
    # pytest loads this package for its fixtures wherever nbqueue is installed: it must cost nothing
    if name == "InProcessCluster":
        from nbqueue.testing.cluster import InProcessCluster

        return InProcessCluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
