"""The mean over the forms, and that there is none of no poems (see test_poems.py for the whole)."""

import pytest

from .test_evaluate_poems import TOWER


def test_a_mean_of_no_poems_is_refused(script):
    recipe = script("compare_poets")
    assert recipe.average({"wujue": [TOWER], "qijue": []}, set())["shape"] == 1
    with pytest.raises(ValueError):
        recipe.average({"wujue": [], "qijue": []}, set())
