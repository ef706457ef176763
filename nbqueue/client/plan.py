"""How a task is sent: what @task, its class, the settings and their annotations say, put together once.

What wins over what, the last one first::

    settings (task_time_limit, …) ◀ task_routes ◀ the class's options ◀ @task ◀ task_annotations ◀ the call
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from nbqueue.client.backends import Backend
from nbqueue.client.options import CallOptions, rate, routed, split, text
from nbqueue.client.routes import Routes, annotations
from nbqueue.client.zones import naive_zone
from nbqueue.settings import Settings
from nbqueue.wire.payload import Definer, TaskOptions

#: settings that are defaults of options
_DEFAULTS_OF_CALLS = (
    ("task_ignore_result", "ignore_result"),
    ("task_default_rate_limit", "rate_limit"),
    ("task_time_limit", "time_limit"),
    ("task_soft_time_limit", "soft_time_limit"),
    ("task_serializer", "serializer"),
    ("task_acks_late", "acks_late"),
    ("task_publish_retry", "retry"),
)


class Plan(NamedTuple):
    """See the module's docstring."""

    #: of the settings that it was made by
    version: int
    options: TaskOptions
    #: of a call that says nothing itself
    call: CallOptions
    #: what is sent of the function; None if workers have to have the task
    definer: Definer | None
    queue: str
    priority: int
    #: "" for pickled
    result_serializer: str
    #: run it here instead of sending it
    eager: bool
    #: tasks that it submits have its priority
    inherits_priority: bool
    #: of times that have none; None: they must have one
    zone: datetime.tzinfo | None
    #: what keeps values, None for the broker
    backend: Backend | None
    #: as its URL travels with the task
    backend_url: str
    #: values are not kept at all
    keeps_nothing: bool
    #: asked at each call, None if that is not needed
    routes: Routes | None
    #: options by the settings, and by the task: what routes stand between
    base: Mapping[str, Any]
    said: Mapping[str, Any]

    def options_of(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: CallOptions
    ) -> CallOptions:
        """Those of a call that says ``given``, when routes have to be asked."""
        if self.routes is None:
            return cast(CallOptions, {**self.call, **given}) if given else self.call
        route = routed(self.routes.options(name, args, kwargs, {**self.said, **given}))
        return cast(CallOptions, {**self.base, **route, **self.said, **given})


def make_plan(
    task: Any, function: Callable[..., Any] | None, said: Mapping[str, Any], settings: Settings
) -> Plan:
    """The plan of a task (for its name) by the settings as they are now.

    Raises
    ------
    TypeError, ConfigurationError
        An annotation, a route or a setting cannot be.
    """
    version = settings.version
    said = {**said, **annotations(settings.task_annotations, task)}
    options, own = split({"name": task.name, **said})
    base = _base(settings)
    routes = Routes(settings.task_routes)
    asks = routes.depend_on_calls
    route = {} if asks else routed(routes.options(task.name, (), {}, {}))
    serializer = settings.result_serializer
    backend = Backend(settings.backend, settings.broker)
    return Plan(
        version=version,
        options=options,
        call=cast(CallOptions, {**base, **route, **own}),
        definer=None if function is None else Definer(function, options),
        queue=text("task_default_queue", settings.task_default_queue),
        priority=settings.task_default_priority,
        result_serializer="" if serializer == "cloudpickle" else serializer,
        eager=settings.task_always_eager,
        inherits_priority=settings.task_inherit_parent_priority,
        zone=naive_zone(settings),
        backend=backend if backend.url else None,
        backend_url="" if backend.disabled else backend.url,
        keeps_nothing=backend.disabled,
        routes=routes if asks else None,
        base=base,
        said=own,
    )


def _base(settings: Settings) -> dict[str, Any]:
    """What settings say of every call, if it is not what is meant anyway."""
    looked_up = ((option, *settings.lookup(setting)) for setting, option in _DEFAULTS_OF_CALLS)
    said = {option: value for option, value, source in looked_up if source != "default" and value is not None}
    if "rate_limit" in said:
        said["rate_limit"] = rate("task_default_rate_limit", said["rate_limit"])
    return said
