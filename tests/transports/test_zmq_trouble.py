"""Events of a socket monitor, and what they are taken to mean."""

import errno

import pytest
import zmq

from nbqueue.exceptions import AuthenticationError, ConnectionLostError, ProtocolError
from nbqueue.transports.zmq_trouble import Diagnosis

URL = "zmq://far:7001"
CLOSED = (zmq.EVENT_CLOSED, 0)
RETRIED = (zmq.EVENT_CONNECT_RETRIED, 20)
DISCONNECTED = (zmq.EVENT_DISCONNECTED, 9)
SUCCEEDED = (zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
REFUSED_KEY = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
OTHER_MECHANISM = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 0x11000002)
HUNG_UP = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EPIPE)
SILENT = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EAGAIN)


def trouble_after(*events: tuple[int, int], secured: bool = True) -> ConnectionLostError | None:
    diagnosis = Diagnosis(URL, secured=secured)
    trouble = None
    for event, value in events:
        trouble = diagnosis.after(event, value)
    return trouble


@pytest.mark.parametrize(
    ("events", "kind", "words"),
    [
        ([CLOSED, RETRIED], ConnectionLostError, "nobody listens at zmq://far:7001"),
        ([RETRIED], ConnectionLostError, "no address"),
        ([RETRIED, CLOSED, RETRIED], ConnectionLostError, "nobody listens"),
        ([SUCCEEDED, DISCONNECTED], ConnectionLostError, "broke"),
        ([SUCCEEDED, DISCONNECTED, CLOSED], ConnectionLostError, "nobody listens"),
        ([REFUSED_KEY, DISCONNECTED], AuthenticationError, "refused the key.*nbqueue key"),
        ([HUNG_UP, DISCONNECTED, RETRIED], ConnectionLostError, "hangs up"),
        (
            [HUNG_UP, DISCONNECTED, RETRIED] * 3,
            AuthenticationError,
            "not the broker of this key.*nbqueue key",
        ),
        ([OTHER_MECHANISM, DISCONNECTED], ProtocolError, "not an nbqueue broker"),
        ([DISCONNECTED], ProtocolError, "not an nbqueue broker"),
        ([CLOSED, RETRIED, DISCONNECTED], ProtocolError, "not an nbqueue broker"),
        ([SILENT, DISCONNECTED, RETRIED], ConnectionLostError, "does not answer"),
    ],
)
def test_what_events_mean(events: list[tuple[int, int]], kind: type[Exception], words: str) -> None:
    trouble = trouble_after(*events)
    assert type(trouble) is kind
    with pytest.raises(kind, match=words):
        raise trouble


def test_a_successful_handshake_ends_all_trouble() -> None:
    assert trouble_after(CLOSED, RETRIED, HUNG_UP, DISCONNECTED, SUCCEEDED) is None


def test_a_broker_that_ends_during_a_handshake_is_not_called_one_of_another_key() -> None:
    assert (
        type(trouble_after(HUNG_UP, DISCONNECTED, HUNG_UP, DISCONNECTED, CLOSED, HUNG_UP))
        is ConnectionLostError
    )


def test_a_unix_socket_that_hangs_up_has_nothing_to_do_with_keys() -> None:
    assert type(trouble_after(*[HUNG_UP, DISCONNECTED] * 5, secured=False)) is ConnectionLostError


def test_the_same_trouble_again_is_no_news() -> None:
    diagnosis = Diagnosis(URL, secured=True)
    assert diagnosis.after(*CLOSED) is diagnosis.after(*CLOSED)


def test_an_attempt_of_our_own_is_judged_afresh() -> None:
    diagnosis = Diagnosis(URL, secured=True)
    diagnosis.after(*REFUSED_KEY)
    diagnosis.after(*DISCONNECTED)
    diagnosis.begin()
    assert type(diagnosis.after(*DISCONNECTED)) is ProtocolError
