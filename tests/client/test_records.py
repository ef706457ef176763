"""What the client keeps of records, beside what results show of them."""

from nbqueue.client.records import Records, TaskRecord


def test_entries_of_records_that_are_gone_do_not_gather() -> None:
    records = Records()
    kept = []
    for n in range(10_000):
        record = TaskRecord(str(n))
        records.add(record)
        if n % 10 == 0:
            kept.append(record)
    del record
    assert list(records) == kept
    assert len(records._refs) < 4 * len(kept)
    assert records.named("0") is kept[0]
    assert records.get("1") is None
