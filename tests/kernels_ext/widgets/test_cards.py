"""Cards, and the output that goes with them."""

import pytest

from kernels_ext.details import Details
from kernels_ext.widgets.cards import MAX_OUTPUT, CardFeed, age, card_of
from nbqueue.states import PENDING, RETRY, STARTED
from tests.kernels_ext.widgets.fakes import EMPTY


class Screen:
    """What a page shows of a feed."""

    def __init__(self):
        self.feed = CardFeed()
        self.text = ""

    def see(self, output):
        message = self.feed.news(EMPTY._replace(output=output), 0.0, Details())
        assert message["start"] <= len(self.text)
        self.text = self.text + message["text"] if message["start"] else message["text"]
        return message["text"]


def test_a_page_that_had_all_messages_shows_all_output():
    screen = Screen()
    for output in ("", "a", "ab\n", "ab\ncd"):
        screen.see(output)
    assert screen.text == "ab\ncd"


def test_another_run_begins_a_new_output():
    screen = Screen()
    screen.see("first run\n")
    screen.see("second")
    assert screen.text == "second"


def test_where_the_beginning_was_dropped_the_rest_goes_on():
    screen = Screen()
    lines = "".join(f"line {number}\n" for number in range(1000))
    screen.see(lines)
    assert screen.see(lines[5000:] + "new\n") == "new\n"


def test_a_page_that_opens_gets_the_end_of_a_long_output():
    message = CardFeed().everything(EMPTY._replace(output="x" * MAX_OUTPUT + "end"), 0.0, Details())
    assert message["start"] == 0
    assert len(message["text"]) == MAX_OUTPUT
    assert message["text"].endswith("end")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"state": PENDING}, None),
        ({"state": PENDING, "submitted_at": 90.0}, 10.0),
        ({"state": STARTED, "submitted_at": 90.0, "started_at": 95.0}, 5.0),
        ({"state": RETRY, "submitted_at": 101.0}, 0.0),
        ({"started_at": 95.0, "finished_at": 97.0}, 2.0),
    ],
)
def test_age_counts_from_the_start_or_else_from_the_submission(known, expected):
    assert age(EMPTY._replace(**known), 100.0) == expected


def test_a_card_names_what_a_page_needs():
    card = card_of(
        EMPTY._replace(state="DOWNLOADING", worker="w1", current=1, total=2), 0.0, Details(value="5")
    )
    assert (card["kind"], card["state"], card["value"]) == ("running", "DOWNLOADING", "5")
