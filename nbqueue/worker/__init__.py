"""Worker processes: a supervisor, and the executors that run tasks.

::

    supervisor   python -m nbqueue.worker             heartbeats; spawns, watches, kills, replaces
      └─ executor   python -m nbqueue.worker.executor    one task at a time
           main thread      receives tasks, runs them, sends outcomes      (main link)
           control thread   reports while a task runs, interrupts it       (control link)

A process is its own connection: tasks never pass through the supervisor.  A task that hangs, holds
the GIL or kills its process takes nothing with it but that executor.
"""
