"""Tests of cascade.runs.tables."""

from cascade.runs.tables import BatchCounts


def test_totals_come_from_the_ledger():
    parts = [BatchCounts(3, 2, 1, 1, 4, {"read": 1.0}), BatchCounts(2, 1, 1, 0, 1, {"read": 0.5, "store": 2.0})]
    assert BatchCounts.total(parts) == BatchCounts(5, 3, 2, 1, 5, {"read": 1.5, "store": 2.0})
    assert BatchCounts.total([]) == BatchCounts()
