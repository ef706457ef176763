"""What Redis as the broker does not have yet is refused at once, in words that say what does have it."""

import pytest

from nbqueue import App, SubmissionRefused

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
