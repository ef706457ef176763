"""The campaigns by letter: modules with a ``LETTER``, two sizes, and ``run(folder, random, **size)``.

With Redis as the broker there are those that take ``site``, the class of their cluster."""

import inspect
from types import ModuleType

from tests.chaos.campaigns import (
    broker_killed,
    cable_cut,
    chords,
    clients_killed,
    no_faults,
    periodic_tasks,
    poison,
    processes_stopped,
    revoked,
    workers_killed,
)

CAMPAIGNS: dict[str, ModuleType] = {
    campaign.LETTER: campaign
    for campaign in (
        workers_killed,
        broker_killed,
        clients_killed,
        processes_stopped,
        cable_cut,
        poison,
        no_faults,
        revoked,
        periodic_tasks,
        chords,
    )
}


def over_redis() -> list[str]:
    """The letters of those that Redis as the broker can be put to."""
    return [letter for letter, each in CAMPAIGNS.items() if "site" in inspect.signature(each.run).parameters]
