"""Live views of results: one card for a task, one grid for a map or group.

::

    broker ─▶ client's I/O thread ─ "3 and 7 changed" ─▶ painter's thread ─ messages ─▶ page (static/*.js)
                     ▲                                      │ peek(): views
                     └──────────── cancel ◀── subshell ◀────┼──────────────────────────── button
                                                            └ frozen html, for the saved notebook

`register` is all that a kernel extension calls; what draws is imported at the first result that is shown.
"""

from kernels_ext.widgets.display import register, unregister

__all__ = ["register", "unregister"]
