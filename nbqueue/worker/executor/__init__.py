"""The process that runs tasks (``python -m nbqueue.worker.executor``), and :class:`Executor` for threads."""

from nbqueue.worker.executor.loop import Executor

__all__ = ["Executor"]
