"""For tests of code that uses nbqueue: a cluster in this process.

::

    with InProcessCluster() as cluster:
        app = App(broker=cluster.url)
"""

from nbqueue.testing.cluster import InProcessCluster

__all__ = ["InProcessCluster"]
