"""Entries of schedules and their firings, in a broker that is talked to by hand."""

from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core.actions import Keep, Send
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import AnyEntry, Defined, Fired, Scheduled, Took, Unscheduled, decode, encode
from nbqueue.core.firings import MAX_CATCH_UP, MAX_ENTRIES
from nbqueue.core.periodic import AGAIN
from nbqueue.core.permissions import VIEWER, WORKER, Key
from nbqueue.core.records import DONE
from nbqueue.states import SUCCESS
from nbqueue.testing import invariants

#: Unix time at the broker's time 0: eight o'clock in the morning, UTC
EPOCH = 1_800_000_000.0
DEFINE = m.Define("d", b"definition")
DAILY = m.Timetable(
    minute=(30,),
    hour=(8,),
    day_of_week=tuple(range(7)),
    day_of_month=tuple(range(1, 32)),
    month_of_year=tuple(range(1, 13)),
    text="30 8 * * *",
)


def every(seconds: float) -> m.Timetable:
    return m.Timetable(every=seconds, text=f"every {seconds:g} seconds")


class House:
    """A broker; what it writes down is what the next one reads."""

    def __init__(
        self,
        kept: list[list[AnyEntry]] | None = None,
        now: float = 0.0,
        *,
        define: bool = True,
        **settings: Any,
    ) -> None:
        self.now = now
        self.kept = kept if kept is not None else []
        self.said: list[Any] = []
        self.core = BrokerCore(BrokerSettings(**settings), boot=len(self.kept) + 1, epoch=EPOCH)
        recovery = self.core.recovery()
        for turn in self.kept:
            recovery.read(decode(encode(turn)))
        recovery.finish(now)
        self.kept.append([self.core.began])
        self.numbers = iter(range(1, 1000))
        self.say(m.Hello(m.CLIENT, "client", notebook="n.ipynb"))
        if define:
            self.say(DEFINE)

    def say(self, message: m.AnyMessage, peer: str = "client", **by: Any) -> None:
        self._perform(self.core.receive(peer, message, self.now, **by))

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, doing what is due when it is."""
        end = self.now + seconds
        while (due := self.core.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._perform(self.core.tick(self.now))
        self.now = end
        self._perform(self.core.tick(end))

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Keep):
                self.kept.append(action.entries)
            elif isinstance(action, Send):
                self.said.append(action.message)
        invariants.check(self.core)

    def schedule(self, *entries: m.Periodic, app: str = "app", complete: bool = False, **by: Any) -> str:
        """Register; returns the error."""
        number = next(self.numbers)
        self.say(m.Schedule(number, app, list(entries), complete), **by)
        (answer,) = [a for a in self.said if isinstance(a, m.Answer | m.Noted) and a.number == number]
        return answer.error if isinstance(answer, m.Answer) else ""

    def ask(self, **args: Any) -> list[dict[str, Any]]:
        self.say(m.Ask(next(self.numbers), "periodic", args))
        rows: list[dict[str, Any]] = self.said[-1].data
        return rows

    @property
    def fired(self) -> list[str]:
        return [record.task.id for record in self.core.tasks.records]

    def next_house(self, down: float, **settings: Any) -> "House":
        """The broker is killed; another one starts after so many seconds."""
        return House(self.kept, self.now + down, **settings)


def entry(name: str = "tidy", timetable: m.Timetable | None = None, **fields: Any) -> m.Periodic:
    options = {k: fields.pop(k) for k in ("missed", "skip_if_running") if k in fields}
    task = m.Task("", **{"name": "f", "definition": "d", "payload": b"", "acks_late": False, **fields})
    return m.Periodic(name, timetable or every(10.0), task, **options)


def at(seconds: float, name: str = "app/tidy") -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{name}:2027-01-15T08:{int(minutes):02}:{int(seconds):02}Z"


# ── registering ──────────────────────────────────────────────────────────────────────────────────


def test_an_entry_fires_every_so_many_seconds_after_its_registration() -> None:
    house = House()
    house.tick(3)
    assert not house.schedule(entry())
    house.tick(9.9)
    assert house.fired == []
    house.tick(20.1)
    assert house.fired == [at(13), at(23), at(33)]


def test_however_its_registration_is_rounded_it_does_not_fire_at_once() -> None:
    house = House()
    for n, moment in enumerate((0.0004, 0.0005, 0.0006, 0.9999)):
        house.tick(moment)
        house.schedule(entry(str(n)))
    house.tick(8)
    assert house.fired == []


def test_a_calendar_fires_by_the_clock_on_the_wall() -> None:
    house = House()
    house.schedule(entry(timetable=DAILY))
    house.tick(30 * 60)
    assert house.fired == [at(30 * 60)]


def test_whoever_registers_the_same_again_changes_nothing() -> None:
    house = House()
    for _ in range(3):
        assert not house.schedule(entry())
        house.tick(4)
    house.tick(10)
    assert house.fired == [at(10), at(20)]
    assert sum(isinstance(e, Scheduled) for turn in house.kept for e in turn) == 1


def test_a_changed_task_keeps_its_times_and_a_changed_timetable_begins_anew() -> None:
    house = House()
    house.schedule(entry())
    house.tick(4)
    house.schedule(entry(payload=b"other"))
    house.tick(6)
    assert house.fired == [at(10)]
    (record,) = house.core.tasks.records
    assert record.task.payload == b"other"
    house.schedule(entry(timetable=every(7.0)))
    house.tick(7)
    assert house.fired == [at(10), at(17)]


def test_entries_that_are_not_in_the_schedule_any_more_go_but_not_those_of_others() -> None:
    house = House()
    house.schedule(entry("a"), entry("b"))
    house.schedule(entry("c"), app="other")
    house.schedule(entry("d"))
    assert [(row["app"], row["name"]) for row in house.ask()] == [
        ("app", "a"),
        ("app", "b"),
        ("app", "d"),
        ("other", "c"),
    ]
    house.schedule(entry("b"), complete=True)
    assert [row["name"] for row in house.ask()] == ["b", "c"]
    house.say(m.Unschedule(1, "app", ["b", "nothing"]))
    assert house.said[-1] == m.Noted(1)
    house.tick(10)
    assert house.fired == [at(10, "other/c")]


@pytest.mark.parametrize(
    ("periodic", "text"),
    [
        (entry(""), "no name"),
        (entry(missed="never"), "missed is once, skip, all"),
        (entry(timetable=every(0.001)), "every 0.01 s"),
        (entry(timetable=m.Timetable()), "minute is empty"),
        (entry(priority=10), "a priority is 0 to 9"),
        (entry(expires=float("nan")), "expires is a number"),
        (entry(definition="unknown"), "no room for its function"),
        (entry(parent_id="x"), "part of a workflow"),
        (entry(step=m.Step(["x"])), "part of a workflow"),
        (entry(payload=bytes(2000)), "its arguments: 2,000 bytes"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_and_none_of_the_others_is_kept(
    periodic: m.Periodic, text: str
) -> None:
    house = House(max_payload_bytes=1000)
    error = house.schedule(entry("good"), periodic)
    assert text in error
    assert error.startswith(f"the periodic task {periodic.name!r}: ")
    assert house.ask() == []


def test_there_are_at_most_so_many() -> None:
    house = House()
    assert not house.schedule(*(entry(str(n)) for n in range(MAX_ENTRIES)))
    assert not house.schedule(entry("7"))
    assert "at most 10,000" in house.schedule(entry("one more"))


@pytest.mark.parametrize("role", [WORKER, VIEWER])
def test_keys_of_workers_and_viewers_may_not_register(role: str) -> None:
    house = House()
    key = Key("guest", role)
    house.say(m.Hello(m.CLIENT, "guest"), peer="guest", key=key)
    error = house.schedule(entry(), peer="guest", key=key)
    assert "'guest' is a " in error
    house.say(m.Unschedule(999, "app", ["tidy"]), peer="guest", key=key)
    assert house.said[-1].error == error
    house.say(m.Ask(1000, "periodic"), peer="guest", key=key)
    assert bool(house.said[-1].error) == (role == WORKER)


# ── firing ───────────────────────────────────────────────────────────────────────────────────────


def test_a_firing_is_written_down_together_with_how_far_its_entry_has_come() -> None:
    house = House()
    house.schedule(entry())
    house.tick(10)
    (turn,) = [turn for turn in house.kept if any(isinstance(e, Fired) for e in turn)]
    assert [type(e) for e in turn] == [Took, Fired]


def test_it_shows_what_fires_next_and_what_became_of_the_last() -> None:
    house = House()
    house.schedule(entry(), entry("daily", DAILY, queue="night"))
    house.tick(10)
    daily, tidy = house.ask()
    assert (daily["queue"], daily["schedule"], daily["zone"]) == ("night", "30 8 * * *", "UTC")
    assert (daily["next"], daily["last_id"], daily["last_state"]) == (EPOCH + 1800, "", "")
    assert (tidy["next"], tidy["last_id"], tidy["last_state"]) == (EPOCH + 20, at(10), "PENDING")
    assert house.ask(app="other") == []


def test_one_that_still_runs_is_not_overtaken_if_that_is_wanted() -> None:
    house = House()
    house.schedule(entry("one", skip_if_running=True), entry("all"))
    house.tick(30)
    assert [id for id in house.fired if "one" in id] == [at(10, "app/one")]
    assert len([id for id in house.fired if "all" in id]) == 3
    house.core.tasks.cancel(at(10, "app/one"), house.now, terminate=True)
    house.tick(10)
    assert [id for id in house.fired if "one" in id] == [at(10, "app/one"), at(40, "app/one")]


def test_what_no_queue_has_room_for_is_not_fired_and_that_is_said() -> None:
    house = House(max_queued=2)
    house.schedule(entry())
    house.tick(40)
    assert house.fired == [at(10), at(20)]
    (row,) = house.ask()
    assert "queue 'default' is full" in row["trouble"]


def test_on_a_full_disk_it_waits_and_is_made_up_for_when_there_is_room() -> None:
    house = House()
    house.schedule(entry())
    house.core.may_write(0, "the disk is full", at_all=True, now=house.now)
    house.tick(25)
    assert house.fired == []
    assert house.ask()[0]["trouble"] == "the disk is full"
    house.core.may_write(2**20, "", at_all=True, now=house.now)
    house.tick(AGAIN)
    assert house.fired == [at(20)]
    assert house.ask()[0]["trouble"] == ""


def test_the_function_stays_while_an_entry_needs_it() -> None:
    house = House()
    blobs = house.core.tasks.blobs
    house.schedule(entry())
    used = blobs.used_bytes
    assert used > 0
    house.schedule(entry(payload=b"other"))
    assert blobs.used_bytes == used
    house.say(m.Unschedule(1, "app", ["tidy"]))
    assert blobs.used_bytes == 0
    assert "d" in blobs


def test_its_notebook_is_that_of_whoever_registered_it() -> None:
    house = House()
    house.schedule(entry())
    house.tick(10)
    assert [r.task.id for r in house.core.tasks.records.newest(10, "n.ipynb")] == [at(10)]


def test_a_broker_with_periodic_tasks_is_not_idle() -> None:
    house = House(idle_timeout=60.0)
    house.schedule(entry(timetable=DAILY))
    house.say(m.Goodbye())
    house.tick(600)
    assert not house.core.stopped
    house.say(m.Hello(m.CLIENT, "client"))
    house.say(m.Unschedule(1, "app", ["tidy"]))
    house.say(m.Goodbye())
    house.tick(600)
    assert house.core.stopped


def test_when_the_clock_was_set_or_stood_still_calendars_go_by_the_new_time() -> None:
    house = House()
    house.schedule(entry(timetable=DAILY))
    house.tick(60)
    house.core.wall_clock(EPOCH + 3600)  # asleep for an hour, past the firing
    house.tick()
    assert house.fired == [at(30 * 60)]
    house.core.wall_clock(EPOCH)  # and back: not once more
    house.tick(3600)
    assert house.fired == [at(30 * 60)]


# ── other brokers ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("missed", "times"),
    [("once", [10, 20, 50, 60]), ("skip", [10, 20, 60]), ("all", [10, 20, 30, 40, 50, 60])],
)
def test_what_was_missed_while_no_broker_ran_is_made_up_for_by_policy(missed: str, times: list[int]) -> None:
    house = House()
    house.schedule(entry(missed=missed))
    house.tick(21)
    house = house.next_house(down=38)
    house.tick(2)
    assert house.fired == [at(t) for t in times]


def test_a_firing_that_is_but_a_little_late_is_not_missed() -> None:
    house = House()
    house.schedule(entry(missed="skip"))
    house.tick(9)
    house = house.next_house(down=3)
    house.tick()
    assert house.fired == [at(10)]


def test_no_more_are_made_up_for_than_a_hundred() -> None:
    house = House()
    house.schedule(entry(missed="all", timetable=every(1.0)))
    house = house.next_house(down=86_400.5)
    house.tick()
    assert len(house.fired) == MAX_CATCH_UP
    assert house.fired[-1] == "app/tidy:2027-01-16T08:00:00Z"


@pytest.mark.parametrize("source", ["journal", "snapshot"])
def test_the_next_broker_knows_everything(source: str) -> None:
    house = House()
    house.schedule(entry(), entry("daily", DAILY, skip_if_running=True, missed="all"), entry("gone"))
    house.tick(14)
    house.say(m.Unschedule(1, "app", ["gone"]))
    before = house.ask()
    if source == "snapshot":
        house.kept[:] = list(house.core.standing())
    house = house.next_house(down=1)
    assert house.ask() == before
    assert house.core.tasks.blobs.used_bytes > 0
    house.tick(5)
    assert [id for id in house.fired if "gone" not in id] == [at(10), at(20)]


def test_a_firing_that_was_not_written_down_takes_place_after_all() -> None:
    house = House()
    house.schedule(entry())
    house.tick(10)
    del house.kept[-1]
    house = house.next_house(down=1)
    house.tick()
    assert house.fired == [at(10)]


def test_an_entry_whose_function_was_lost_says_so_until_it_is_registered_again() -> None:
    house = House()
    house.schedule(entry())
    kept = [[e for e in turn if not isinstance(e, Defined)] for turn in house.kept]
    house = House(kept, house.now + 60, define=False)
    for _ in range(2):
        house.tick(60)
        (row,) = house.ask()
        assert "register it again" in row["trouble"]
        assert house.fired == []
    house.say(DEFINE)
    house.schedule(entry())
    house.tick()
    assert len(house.fired) == 1
    assert house.ask()[0]["trouble"] == ""


def test_entries_of_the_journal_may_be_read_twice() -> None:
    house = House()
    house.schedule(entry(), entry("gone"))
    house.tick(10)
    house.say(m.Unschedule(1, "app", ["gone"]))
    assert any(isinstance(e, Unscheduled) for turn in house.kept for e in turn)
    house.kept += house.kept[1:]
    house = house.next_house(down=1)
    assert [row["last_id"] for row in house.ask()] == [at(10)]


def test_a_firing_is_a_task_like_any_other() -> None:
    house = House()
    house.schedule(entry(expires=5.0))
    house.say(m.Hello(m.EXECUTOR, "e", worker="w", queues=["default"]), peer="e")
    house.tick(10)
    (assign,) = [said for said in house.said if isinstance(said, m.Assign)]
    (assignment,) = assign.assignments
    house.say(m.Settle([m.Outcome(assignment.task.id, assignment.token, SUCCESS)]), peer="e")
    record = house.core.tasks.records.get(at(10))
    assert record is not None
    assert (record.place, record.task.expires) == (DONE, 5.0)
