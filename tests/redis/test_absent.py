"""What Redis as the broker does not have yet is refused at once, in words that say what does have it."""

import pytest

from nbqueue import App, ConfigurationError, NBQueueError, SubmissionRefused, chain
from nbqueue.client.signature import Signature
from tests.redis.threads import executor

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


def test_a_workflow_is_refused(add):
    with pytest.raises(SubmissionRefused, match="workflows need nbqueue's own broker"):
        chain(add.s(1, 2), add.s(3)).delay().get(LIMIT)


def test_a_task_that_wants_to_be_replaced_fails(app, url):
    @app.task(bind=True, name="absent.replaced")
    def replaced(self):
        raise self.replace(Signature("absent.other", ()))

    with executor(url), pytest.raises(NBQueueError, match="needs nbqueue's own broker"):
        replaced.delay().get(LIMIT)


def test_items_of_a_generator_are_refused(app, add):
    with pytest.raises(ConfigurationError, match="as they are yielded need nbqueue's own broker"):
        next(iter(add.delay(1, 2).stream(timeout=1)))
