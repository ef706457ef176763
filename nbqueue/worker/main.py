"""A worker from its start to its end: what is around the supervisor's loop."""

import logging
import os
import signal
import sys
from typing import Any, Final

from nbqueue import signals
from nbqueue.exceptions import ConfigurationError, ConnectionLostError
from nbqueue.launch import apps
from nbqueue.platform import import_from
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.worker import banner, log, registry
from nbqueue.worker import options as worker_options
from nbqueue.worker.logfile import LogFile
from nbqueue.worker.options import WorkerOptions
from nbqueue.worker.pidfile import AlreadyRunning, pidfile
from nbqueue.worker.supervisor import FAILED, Supervisor

#: exit code, EX_CANTCREAT: another worker holds the pidfile
HELD: Final = 73


def main(options: WorkerOptions) -> int:
    """Run a worker until it is told to stop; returns the exit code.  Takes over the process' signals."""
    problem = ""
    registered = registry.Registry([], Settings())
    failed: Exception | None = None
    options = worker_options.remember(options)
    os.environ["NBQUEUE_BROKER"] = options.url  # whoever listens to signals may submit tasks
    import_from(os.getcwd())
    try:
        if options.logfile:
            LogFile(options.logfile, options.nodename).take_over()
        worker_options.checked(options)
        # signals of the worker are sent here, so who listens to them has to be here too, as in Celery
        registered = registry.load(options.app)
    except ConfigurationError as error:
        problem = str(error)
    except Exception as error:  # executors try it too, and say more of it
        failed = error
    signals.celeryd_init.send(
        options.nodename, instance=None, conf=registered.settings, options=_as_dict(options)
    )
    own = log.set_up(options)
    if problem:
        own.error("%s", problem)
        return FAILED
    if failed is not None:
        own.warning("-A %s cannot be imported here: %r", options.app, failed)
    try:
        with pidfile(options.pidfile):
            return _main(options, own, registered)
    except AlreadyRunning as error:
        own.error("%s", error)
        return HELD
    except (ConfigurationError, ConnectionLostError) as error:
        own.error("%s", error)
        return FAILED


def _main(options: WorkerOptions, own: logging.Logger, registered: registry.Registry) -> int:
    tasks, settings = [task.name for task in registered.tasks], registered.settings
    if own.isEnabledFor(logging.INFO) and options.log_format != log.JSON:
        print(banner.text(options, tasks), file=sys.stderr, flush=True)
    way = worker_options.way_to_broker(options)
    connection = keys.find(options.url) if options.url.startswith(keys.SCHEME) else None
    supervisor = Supervisor(options, way.connect(), own, connection)
    supervisor.app = apps.find(options.app) if tasks else None
    signals.celeryd_after_setup.send(options.nodename, instance=supervisor, conf=settings)
    signals.worker_init.send(supervisor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, supervisor.on_signal)
    try:
        return supervisor.run()
    finally:
        signals.worker_shutdown.send(supervisor)
        way.close()
        sys.stderr.flush()


def _as_dict(options: WorkerOptions) -> dict[str, Any]:
    """What those who listen to ``celeryd_init`` may see: all but the keys."""
    secret = ("connection", "signing_key")
    return {name: getattr(options, name) for name in options.__struct_fields__ if name not in secret}
