"""The broker as a process of its own: sockets on one side, ``nbqueue.core`` on the other."""
