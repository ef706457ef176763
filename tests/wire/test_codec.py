"""Messages to bytes and back; garbage is never anything but a ProtocolError."""

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbqueue import messages as m
from nbqueue.exceptions import ProtocolError, SerializationError
from nbqueue.wire import codec

TASK = m.Task("id", "add", "definition", b"payload")
FAILURE = m.Failure("ValueError", "builtins", "no", "Traceback …", [m.Frame("f", 1, "n", "q", 1, "l")], b"x")

EXAMPLES = [
    m.Hello(m.CLIENT, "me", held=[("id", 1 << 40)], queues=["default"]),
    m.Welcome(1, "0.1", 2.0, 10.0, 1.7e9),
    m.Unknown(),
    m.Ping(),
    m.Define("key", b"\0\xff" * 10),
    m.Submit([TASK, TASK]),
    m.Ask(1, "status", {"limit": 3, "deep": {"er": [None, 1.5, "x"]}}),
    m.Answer(1, {"queues": {"default": {"ready": 1}}}),
    m.Retrying("id", 1, FAILURE, 3.5),
    m.Settle([m.Outcome("id", 1 << 33, "SUCCESS", b"value")]),
    m.Assign([m.Assignment(TASK, (1 << 32) + 1)]),
    m.Output("id", 1, 0, "stdout", "größer 🚀"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_kind_of_message_comes_back_as_it_was(message: m.AnyMessage) -> None:
    assert codec.decode(codec.encode([message])) == [message]


def test_a_batch_keeps_its_order_in_one_frame() -> None:
    frames = codec.encode(EXAMPLES)
    assert len(frames) == 1
    assert codec.decode(frames) == EXAMPLES


def test_frames_are_read_from_memory_views_too() -> None:
    assert codec.decode([memoryview(codec.encode(EXAMPLES)[0])]) == EXAMPLES


def test_no_messages_are_an_empty_batch() -> None:
    assert codec.decode(codec.encode([])) == []


def test_a_large_batch_is_cut_into_frames_that_say_the_same() -> None:
    tasks = [m.Task(str(n), "add", "", b"x" * 100_000) for n in range(100)]
    frames = codec.encode([m.Ping(), m.Submit(tasks), m.Goodbye()])
    assert max(map(len, frames)) <= codec.FRAME_BYTES + 4
    first, *submits, last = codec.decode(frames)
    assert (first, last) == (m.Ping(), m.Goodbye())
    assert [task for submit in submits if isinstance(submit, m.Submit) for task in submit.tasks] == tasks


@pytest.mark.parametrize(
    "message",
    [
        m.Watch([f"id-{n:060}" for n in range(100_000)]),
        m.Forget([f"id-{n:060}" for n in range(100_000)]),
        m.NotFound([f"id-{n:060}" for n in range(100_000)]),
        m.Accepted([f"id-{n:060}" for n in range(100_000)]),
        m.Cancel([f"id-{n:060}" for n in range(100_000)], terminate=False),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_long_list_of_ids_is_cut_too(message: Any) -> None:
    frames = codec.encode([message])
    assert len(frames) > 1
    assert max(map(len, frames)) <= codec.FRAME_BYTES + 100
    parts: list[Any] = codec.decode(frames)
    assert {type(part) for part in parts} == {type(message)}
    assert [id for part in parts for id in part.ids] == message.ids
    assert {getattr(part, "terminate", None) for part in parts} == {getattr(message, "terminate", None)}


def test_a_single_large_task_travels_whole() -> None:
    submit = m.Submit([m.Task("id", "add", "", b"x" * (3 * codec.FRAME_BYTES))])
    assert codec.decode(codec.encode([submit, m.Ping()])) == [submit, m.Ping()]


def test_a_message_past_the_limit_is_refused_with_advice() -> None:
    with pytest.raises(SerializationError, match=r"Define of .* is too large.*file"):
        codec.encode([m.Define("key", b"x" * (2 * codec.FRAME_BYTES))], limit=codec.FRAME_BYTES)


def test_text_that_utf8_cannot_carry_is_spelled_out() -> None:
    output = m.Output("id", 1, 0, "stdout", "file \udc80")
    answer = m.Answer(1, {"bad\ud800key": [b"\xff", "\udfff"]})
    assert codec.decode(codec.encode([output, answer])) == [
        m.Output("id", 1, 0, "stdout", "file \\udc80"),
        m.Answer(1, {"bad\\ud800key": [b"\xff", "\\udfff"]}),
    ]


def test_texts_of_other_classes_than_str_are_texts() -> None:
    class Text(str):
        def __str__(self) -> str:
            return self

    said = [m.Output("id", 1, 0, "stdout", Text(text)) for text in ("a", "file \udc80")]
    texts = [output.text for output in codec.decode(codec.encode(said)) if isinstance(output, m.Output)]
    assert texts == ["a", "file \\udc80"]


def test_a_refusal_is_read_by_any_version_as_its_text() -> None:
    frame = codec.encode_refusal("install the same version")
    with pytest.raises(ProtocolError, match=r"^install the same version$"):
        codec.decode([frame])


def test_another_protocol_number_is_named_with_what_to_do() -> None:
    frame = b"NBQ\x07" + codec.encode([m.Ping()])[0][4:]
    with pytest.raises(ProtocolError, match=r"protocol 7.*install the same version"):
        codec.decode([frame])


def test_what_is_not_ours_is_quoted() -> None:
    with pytest.raises(ProtocolError, match="GET / HTTP"):
        codec.decode([b"GET / HTTP/1.1\r\n\r\n"])


HEADER = codec.encode([])[0][:4]


@given(st.binary())
@example(b"")
@example(b"\x91" * 100_000)  # nesting without end
@example(b"\x91\x93\x19\x01\x81\xc0\xd6\xff\0\0\0\0")  # a time stamp
@example(b"\x91\x93\x19\x01\x81\x80\x80")  # a map as key of a map
@example(b"\xdd\xff\xff\xff\xff")  # a list that claims four billion items
@example(b"\x91\x93\x21\xa1x\xc6\xff\xff\xff\xff")  # bytes that are not there
def test_random_bytes_are_messages_or_a_protocol_error(body: bytes) -> None:
    for frame in (body, HEADER + body):
        with contextlib.suppress(ProtocolError):
            codec.decode([frame])


WHOLE = codec.encode(EXAMPLES)[0]


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_damaged_batches_are_messages_or_a_protocol_error(at: int, inserted: bytes, removed: int) -> None:
    damaged = WHOLE[:at] + inserted + WHOLE[at + removed :]
    with contextlib.suppress(ProtocolError):
        codec.decode([damaged])


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_batch_is_a_protocol_error(size: int) -> None:
    with pytest.raises(ProtocolError):
        codec.decode([WHOLE[:size]])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_answers_carry_any_plain_data(data: dict[str, Any]) -> None:
    assert codec.decode(codec.encode([m.Answer(1, data)])) == [m.Answer(1, data)]
