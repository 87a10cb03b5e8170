"""Poems as files, tokens and batches."""

import pytest
import torch

from seqgan.text.meter import FORMS
from seqgan.text.poems import (
    STROKE,
    PoemBatches,
    PoemsAlike,
    Script,
    Verse,
    clean_title,
    read_corpus,
    verse_mask,
)
from seqgan.text.vocabulary import END, PAD, UNKNOWN

from .poem_fixtures import SCRIPT, VERSES, write_corpus


def test_corpus(tmp_path):
    write_corpus(tmp_path)
    verses, simplified = read_corpus(tmp_path, "train")
    assert {verse.form for verse in verses} == set(FORMS)
    assert verses[0] == Verse("wujue", "登鸛雀樓", ("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"))
    assert simplified["盡"] == "尽" and simplified["白"] == "白"


@pytest.mark.parametrize("rare", [0, 2])
def test_of_two_simplified_forms_the_more_frequent_one_counts(rare, tmp_path):
    write_corpus(tmp_path, copies=3)
    path = tmp_path / "wujue" / "train.hans.txt"
    before, *after = path.read_text(encoding="utf-8").split("尽")
    assert len(after) == 3
    text = before + "".join(("盡" if i == rare else "尽") + part for i, part in enumerate(after))
    path.write_text(text, encoding="utf-8")
    assert read_corpus(tmp_path, "train")[1]["盡"] == "尽"


def test_titles_that_begin_with_a_byte_order_mark_or_are_no_text(tmp_path):
    write_corpus(tmp_path)
    path = tmp_path / "wujue" / "train.meta.tsv"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_corpus(tmp_path, "train")[0][0].title == "登鸛雀樓"
    path.write_bytes(b"title\n\xff\n")
    with pytest.raises(ValueError, match=r"train\.meta\.tsv: .*utf-8"):
        read_corpus(tmp_path, "train")


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("wujue/train.hant.txt", "白日依山盡，黃河入海。欲窮千里目，更上一層樓。\n", "no wujue"),
        ("wujue/train.hans.txt", "白日。\n", "not as long"),
        ("qijue/train.meta.tsv", "id\ttitle\n", "1 poems"),
        ("qijue/train.hant.txt", "\n", "has no line"),
    ],
)
def test_a_corpus_that_does_not_fit_together(tmp_path, name, text, message):
    write_corpus(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        read_corpus(tmp_path, "train", note=lambda text: None)
    assert name.split(".")[0].split("/")[0] in str(error.value)


def test_titles():
    assert clean_title("奉和聖製（一作 x）春日 二首") == "奉和聖製春日二首"
    assert clean_title("abc") == ""


def test_script():
    assert SCRIPT.vocabulary.symbols[:7] == ("1", "2", "3", "4", "/", "，", "。")
    traditional, simplified = (SCRIPT.prompt("qijue", title) for title in ("登鸛雀樓", "登鹳雀楼"))
    assert traditional == simplified, "titles in either script are read alike"
    assert SCRIPT.prompt("qijue", "x")[1] == UNKNOWN
    assert SCRIPT.simplify("黃河入海流，") == "黄河入海流，"
    verse = Verse("wujue", "登鸛雀樓", ("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"))
    ids = SCRIPT.encode(verse)
    assert ids[-1] == END and len(ids) == 1 + 4 + 1 + 24 + 1
    assert SCRIPT.text(ids) == "1登鸛雀樓/白日依山盡，黃河入海流。欲窮千里目，更上一層樓。"
    story = Verse("wujue", "登" * 90, verse.lines)
    assert len(SCRIPT.encode(story)) == 1 + 16 + 1 + 24 + 1
    counted = verse_mask(torch.tensor([[*ids, PAD]]), SCRIPT)
    assert counted.sum() == 20 and not counted[0, :6].any()


def test_what_occurs_less_than_three_times_is_unknown():
    verse = Verse("wujue", "", ("日日山山山", "月月月山山", "山山山山山", "山山山山山"))
    assert "月" in Script.build([verse], {}).traditional and "日" not in Script.build([verse], {}).traditional


def test_unknown_characters_of_verse_count():
    tokens = torch.tensor([[UNKNOWN, SCRIPT.vocabulary.ids[STROKE], UNKNOWN, END, PAD]])
    assert verse_mask(tokens, SCRIPT).tolist() == [[False, False, True, False, False]]


def test_variants_of_a_character_are_known_by_their_simplified_form():
    script = Script("後后發髮", "后后发发")
    assert script.alike["后"] == script.alike["後"] == [script.first, script.first + 1]
    assert script.alike["发"] == script.alike["髮"] == [script.first + 2, script.first + 3]
    assert script.prompt("wujue", "后")[1] == script.prompt("wujue", "後")[1] == script.first


def test_every_poem_comes_once_in_an_epoch(tmp_path):
    write_corpus(tmp_path, copies=30)
    verses, _ = read_corpus(tmp_path, "train")
    batches = PoemBatches(SCRIPT, verses, 16, seed=3)
    assert batches.batches == 8
    found = [batch for _, batch in zip(range(16), batches(0), strict=False)]
    for epoch in (found[:8], found[8:]):
        assert sorted(tuple(row[row != PAD].tolist()) for batch in epoch for row in batch) == sorted(
            map(tuple, batches.rows)
        )
    assert any(not torch.equal(a, b) for a, b in zip(found[:8], found[8:], strict=True))
    torch.testing.assert_close(next(batches(11)), found[11])  # a position is enough to go on
    others = zip(PoemBatches(SCRIPT, verses, 16, seed=4)(0), found[:8], strict=False)
    assert any(not torch.equal(a, b) for a, b in others), "another seed, another order"


def test_a_batch_is_of_poems_of_similar_length():
    """Of eight lengths, so that seven batches at most are at a border."""
    batches = PoemBatches(SCRIPT, VERSES * 16, 16)
    mixed = [len({len(batches.rows[i]) for i in batch}) for batch in batches.order(0)]
    assert sum(mixed) <= len(mixed) + 7


def test_kinds_come_up_as_often_as_their_poems():
    """A wujue has 24 tokens of verse, a qilv 64; of twenty poems one is a qilv."""
    data = PoemsAlike(SCRIPT, [VERSES[0]] * 19 + [VERSES[-1]], batch=1)
    lengths = [batch["poem"].shape[1] for batch, _ in zip(data(0), range(200), strict=False)]
    assert 2 < lengths.count(64) < 30
