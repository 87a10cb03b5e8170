"""What is counted of poems, and whose perplexity is whose."""

from types import SimpleNamespace

import numpy as np
import pytest

from seqgan.text.meter import FORMS, join_lines
from seqgan.text.poems import Script, Verse

TOWER = ("白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼")


@pytest.fixture
def recipe(script):
    return script("evaluate_poems")


def test_what_is_counted_of_poems(recipe):
    """Five of 60 characters stood in their poem before, one of 3 poems has a line twice, one of 12 lines is known."""
    twice, other = (*TOWER[:2], TOWER[0], TOWER[3]), ("春夏秋冬东", "南西北上下", "左右前后中", "一二三四五")
    found = recipe.judge([twice, other, other], FORMS["wujue"], {"黄河入海流"})
    assert found["again"] == pytest.approx(5 / 60) and found["line twice"] == pytest.approx(1 / 3)
    assert found["lines copied"] == pytest.approx(1 / 12) and found["shape"] == 1


def test_of_poems_without_a_line_nothing_is_counted(recipe):
    assert set(recipe.judge([(), ()], FORMS["wujue"], {"黄河入海流"}).values()) == {0}


def test_perplexities_are_of_other_titles_and_without_marks(recipe, monkeypatch):
    asked = []
    monkeypatch.setattr(recipe, "perplexity", lambda generator, script, verses: asked.append(verses) or 1.0)
    valid = [Verse("wujue", title, TOWER) for title in "春夏秋冬"]
    poet = SimpleNamespace(script=Script.build(valid, {}, least=1), generator=None)
    found = recipe.perplexities(poet, {"train": valid, "valid": valid})
    own, strangers = ([verse.title for verse in verses] for verses in asked)
    assert own == list("春夏秋冬") and own != strangers and sorted(own) == sorted(strangers)
    poem = join_lines(TOWER)
    row = poet.script.vocabulary.encode(poem)
    trigrams = recipe.KneserNey([row] * 4, vocabulary_size=len(poet.script.vocabulary), order=3)
    places = [i for i, character in enumerate(poem) if character not in "，。"]
    nll = -trigrams.log_probabilities([row])[places].mean()
    assert f"| Kneser-Ney trigrams | {np.exp(nll):.1f} |" in found
