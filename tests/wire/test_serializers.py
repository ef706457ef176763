"""Values written by any serializer come back, and what is not accepted is not read."""

import datetime
import decimal
import uuid

import pytest

from nbqueue.exceptions import SerializationError
from nbqueue.messages import Task
from nbqueue.wire import payload

PLAIN = [None, True, 5, 2.5, "ä", [1, [2]], {"a": {"b": 1}}]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "", "cloudpickle"])
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_from_any_serializer(serializer, value):
    assert payload.loads(payload.dumps_value(value, serializer=serializer)) == value


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2030, 1, 2, 3, 4, 5, 6, datetime.UTC),
        datetime.date(2030, 1, 2),
        datetime.time(1, 2, 3),
        decimal.Decimal("1.10"),
        uuid.UUID(int=5),
        b"\x00\xff",
    ],
    ids=repr,
)
def test_json_knows_the_types_that_kombus_does(value):
    assert payload.loads(payload.dumps_value([value], serializer="json")) == [value]


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_what_they_cannot_write_is_told(serializer):
    with pytest.raises(SerializationError, match=f"cannot be sent as {serializer}"):
        payload.dumps_arguments((object(),), {}, "f", 0, serializer)


@pytest.mark.parametrize("serializer", ["json", "msgpack", "cloudpickle"])
def test_what_is_not_accepted_is_not_read(serializer):
    data = payload.dumps_value(5, serializer=serializer)
    assert payload.loads(data, {serializer}) == 5
    with pytest.raises(SerializationError, match=f"refused content written by {serializer}"):
        payload.loads(data, {"json", "msgpack", "cloudpickle"} - {serializer})


def test_a_definition_is_not_even_fetched_where_pickles_are_not_accepted():
    definitions = payload.Definitions(lambda key: pytest.fail("fetched"), accepted={"json"})
    with pytest.raises(SerializationError, match="only json is accepted"):
        definitions.load(Task("1", "add", "key", b""))


def test_damaged_data_is_told():
    with pytest.raises(SerializationError, match="cannot be loaded here"):
        payload.loads(b"j{")
