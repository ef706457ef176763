"""What Redis as the broker does not have yet is refused at once, in words that say what does have it."""

import pytest

from nbqueue import App, ConfigurationError, NBQueueError, SubmissionRefused

LIMIT = 20.0


@pytest.fixture
def add(app: App):
    return app.task(lambda x, y: x + y, name="absent.add")


@pytest.mark.parametrize(
    ("what", "options"),
    [("rate limits", {"rate_limit": "1/m"}), ("demands on workers", {"tags": ["gpu"]})],
)
def test_a_task_that_asks_for_more_is_refused(add, what, options):
    with pytest.raises(SubmissionRefused, match=what):
        add.apply_async((1, 2), **options).get(LIMIT)


def test_events_are_refused(app):
    with pytest.raises(ConfigurationError, match="events need nbqueue's own broker"):
        next(iter(app.events(timeout=1)))


def test_periodic_tasks_are_refused(app, add):
    app.add_periodic_task(10.0, add, (1, 2), name="absent")
    with pytest.raises(NBQueueError, match="periodic tasks need nbqueue's own broker"):
        app.beat()


def test_remote_control_is_refused(app):
    with pytest.raises(NBQueueError, match="'inspect' need nbqueue's own broker"):
        app.control.inspect(timeout=1).active()
