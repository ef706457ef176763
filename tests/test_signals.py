"""Signals are Celery's: who is called, with what, and what happens when a receiver fails."""

import gc
import logging
import pickle

import pytest

from nbqueue import signals
from nbqueue.signals import Signal


class Ear:
    """Remembers what it was called with."""

    def __init__(self):
        self.heard = []

    def __call__(self, sender=None, **told):
        self.heard.append((sender, told))
        return len(self.heard)

    def method(self, sender=None, **told):
        self.heard.append((sender, told))


class Task:
    """What all tasks look like to signals."""

    __nbqueue_definition__ = True

    def __init__(self, name):
        self.name = name

    def __call__(self): ...


@pytest.fixture
def signal():
    return Signal(["result"], name="test")


def test_a_receiver_gets_the_signal_the_sender_and_what_is_told(signal):
    ear = Ear()
    signal.connect(ear)
    assert signal.send("me", result=5) == [(ear, 1)]
    assert ear.heard == [("me", {"signal": signal, "result": 5})]


def test_it_connects_as_a_decorator_with_and_without_options(signal):
    heard = []

    @signal.connect
    def plain(**told):
        heard.append("plain")

    @signal.connect(sender="b")
    def of_b(**told):
        heard.append("of b")

    signal.send("a")
    signal.send("b")
    assert heard == ["plain", "plain", "of b"]


def test_a_task_is_the_same_sender_as_its_name_and_as_its_copy_in_another_process(signal):
    by_task, by_name = Ear(), Ear()
    signal.connect(by_task, sender=Task("tasks.add"))
    signal.connect(by_name, sender="tasks.add")
    signal.send(Task("tasks.add"))
    signal.send(Task("tasks.other"))
    assert (len(by_task.heard), len(by_name.heard)) == (1, 1)


def test_other_senders_are_known_by_identity(signal):
    ear, sender = Ear(), Ear()
    signal.connect(ear, sender)
    signal.send(Ear())
    signal.send(sender)
    assert [heard[0] for heard in ear.heard] == [sender]


def test_a_receiver_that_nobody_holds_is_forgotten_unless_it_is_to_be_kept(signal):
    heard = []
    signal.connect(lambda **told: heard.append("weak"))
    signal.connect(lambda **told: heard.append("kept"), weak=False)
    gc.collect()
    signal.send("me")
    assert heard == ["kept"]


def test_a_method_is_held_as_long_as_its_object(signal):
    ear = Ear()
    signal.connect(ear.method)
    signal.send("me")
    assert len(ear.heard) == 1
    del ear
    gc.collect()
    assert not signal.has_listeners()


def test_the_same_receiver_or_dispatch_uid_is_connected_once(signal):
    ear, other = Ear(), Ear()
    signal.connect(ear)
    signal.connect(ear)
    signal.connect(ear, dispatch_uid="one")
    signal.connect(other, dispatch_uid="one")
    signal.send("me")
    assert (len(ear.heard), len(other.heard)) == (2, 0)


def test_whoever_disconnects_hears_no_more(signal):
    ear = Ear()
    signal.connect(ear, sender="a")
    assert not signal.disconnect(ear)
    assert signal.disconnect(ear, sender="a")
    signal.connect(ear, dispatch_uid="uid")
    assert signal.disconnect(dispatch_uid="uid")
    signal.send("a")
    assert ear.heard == []


def test_a_receiver_that_raises_is_logged_and_the_others_are_called(signal, caplog):
    ear = Ear()

    def bad(**told):
        raise ValueError("no such luck")

    signal.connect(bad)
    signal.connect(ear)
    with caplog.at_level(logging.ERROR):
        responses = signal.send("me")
    assert [type(response) for _, response in responses] == [ValueError, int]
    assert "no such luck" in caplog.text
    assert len(ear.heard) == 1


def test_a_receiver_that_would_fail_at_the_next_version_is_refused(signal):
    with pytest.raises(ValueError, match=r"has to take \*\*kwargs"):
        signal.connect(lambda sender: None)


def test_nobody_listens_at_first_and_that_can_be_seen():
    found = [signal for signal in vars(signals).values() if isinstance(signal, Signal)]
    assert len(found) > 20
    assert all(signals.__dict__[signal.name] is signal for signal in found)


def test_a_signal_that_travels_is_the_one_of_the_process_where_it_arrives():
    assert pickle.loads(pickle.dumps(signals.task_success)) is signals.task_success


@pytest.mark.parametrize("name", signals._SILENT)
def test_a_signal_that_is_never_sent_can_be_connected_to_and_says_so_once(name):
    with pytest.warns(UserWarning, match=f"the signal {name} is never sent: "):
        signal = getattr(signals, name)
    signal.connect(Ear())
    assert getattr(signals, name) is signal
    del vars(signals)[name]


def test_what_is_no_signal_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'task_bored'"):
        _ = signals.task_bored
