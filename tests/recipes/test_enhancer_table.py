"""Rows of the table of enhancers, by hand."""

import pytest


@pytest.fixture
def table(script):
    return script("enhancer_table")


def test_the_error_of_a_difference_is_that_of_the_mean(table):
    ours, theirs = ([{"a": value} for value in values] for values in ([1.0, 3.0, 2.0], [0.0, 0.0, 0.0]))
    assert table.difference(ours, theirs, "a") == "+2.000 ± 0.577"


def test_costs_are_of_all_recordings_together(table):
    row = table.summary([{"cpu": 1.0, "seconds": 1.0, "memory": 5}, {"cpu": 1.0, "seconds": 9.0, "memory": 7}])
    assert (row["cpu"], row["memory"]) == (0.2, 7)
