from dataclasses import replace

import numpy as np
import pytest
import torch

from seqgan.text.meter import FORMS, score
from seqgan.text.networks import TransformerConfig, TransformerGenerator
from seqgan.text.poem_game import perplexity
from seqgan.text.poems import PoemBatches, Script, Verse, clean_title, read_corpus, verse_mask
from seqgan.text.poet import Poet
from seqgan.text.sampling import Sampling
from seqgan.text.verse_rules import VerseRules
from seqgan.text.vocabulary import END, PAD, START, UNKNOWN

from .poem_fixtures import SCRIPT, poet, write_corpus


def test_corpus(tmp_path):
    write_corpus(tmp_path)
    verses, simplified = read_corpus(tmp_path, "train")
    assert {verse.form for verse in verses} == set(FORMS)
    assert verses[0] == Verse("wujue", "登鸛雀樓", ("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"))
    assert simplified["盡"] == "尽" and simplified["白"] == "白"


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


@pytest.mark.parametrize("form", FORMS)
def test_rules_hold_whatever_the_model(form):
    """The network knows nothing: all that is right comes from the masks."""
    for title, count in (("春望", 40), (None, 10)):
        for poem in poet()(title, form=form, count=count, seed=1):
            found = score(poem.lines, FORMS[form])
            assert found.regulated, poem
            assert len(set(poem.lines)) == FORMS[form].lines
            assert poem.rhyme and "？" not in "".join(t[i] for t in poem.tones for i in FORMS[form].fixed)


def test_rules_apart():
    found = [score(p.lines, FORMS["qijue"]) for p in poet()("春望", count=40, seed=1, rules=("form",))]
    assert all(s.shape for s in found)
    assert np.mean([s.rhyme for s in found]) < 0.5 and np.mean([s.fixed for s in found]) < 0.95
    found = [score(p.lines, FORMS["qijue"]) for p in poet()("春望", count=40, seed=1, rules=("form", "rhyme"))]
    assert all(s.level_rhyme for s in found) and not all(s.fixed == 1 for s in found)
    free = poet()("春望", count=8, seed=1, rules=())
    assert not any(score(p.lines, FORMS["qijue"]).shape for p in free)


def test_without_rules_a_poem_ends_with_what_the_model_can_read():
    model = poet()
    longest = model.generator.config.length
    for title in ("春", "春" * 16):
        (free,) = model(title, seed=1, rules=())
        assert 0 < len("".join(free.lines)) < longest


def test_a_line_is_not_repeated():
    rules = VerseRules(SCRIPT, FORMS["wujue"], ("form",))
    line, mark = SCRIPT.vocabulary.encode("白日依山盡"), SCRIPT.vocabulary.encode("，")
    allowed = rules(10, torch.tensor([line + mark + line[:-1], line + mark + line[::-1][:4]]))
    assert not allowed[0, line[-1]] and allowed[1, line[-1]]


def test_acrostic_and_first_line():
    for poem in poet()(acrostic="山河海月", count=5, seed=2):
        assert "".join(line[0] for line in poem.lines) == "山河海月"
        assert score(poem.lines, FORMS["qijue"]).regulated
    for line in ("白日依山尽", "白日依山盡，"):  # either script, with or without its mark
        poems = poet()("春望", "wujue", 5, 2, first_line=line)
        assert all(poem.lines[0] == "白日依山尽" and score(poem.lines, FORMS["wujue"]).regulated for poem in poems)
    poem = poet()("春望", "wujue", 1, 2, first_line="白日依山尽", script="traditional")[0]
    assert poem.lines[0] == "白日依山盡"
    # 床前明月光 fits no template in all its places, so the poem goes on with the nearest, and rhymes with 光.
    for poem in poet()("春望", "wujue", 5, 2, first_line="山前明月光"):
        assert score(poem.lines, FORMS["wujue"]).level_rhyme and poem.rhyme == "下平七陽"


def test_a_traditional_poem_sounds_as_its_simplified_form_does():
    """The tables lack some traditional characters, and the rules are held by the simplified ones."""
    model = Poet.from_pretrained()
    written = [model(form="qilv", count=12, seed=1, script=script) for script in ("simplified", "traditional")]
    for simple, traditional in zip(*written, strict=True):
        assert simple.rhyme and (simple.tones, simple.rhyme) == (traditional.tones, traditional.rhyme)
    assert any(simple.lines != traditional.lines for simple, traditional in zip(*written, strict=True))


def test_a_traditional_poem_keeps_the_characters_that_were_given():
    """後 and 后 are one character to a reader of simplified script only, and a simplified title is written out."""
    pairs = dict(zip(SCRIPT.traditional, SCRIPT.simplified, strict=True)) | {"後": "后", "后": "后"}
    made = Poet(poet().generator, SCRIPT)
    made.script = Script("".join(pairs), "".join(pairs.values()))
    config = replace(made.generator.config, vocabulary=len(made.script.vocabulary))
    made.generator = TransformerGenerator(config).eval()
    for seed in range(3):
        poem = made("登鹳雀楼", "wujue", 1, seed, acrostic="後山后海", script="traditional")[0]
        assert "".join(line[0] for line in poem.lines) == "後山后海" and poem.title == "登鸛雀樓"


def test_the_same_seed_gives_the_same_poems():
    assert poet()("春望", count=3, seed=4) == poet()("春望", count=3, seed=4)
    assert poet()("春望", count=3, seed=4) != poet()("春望", count=3, seed=5)
    assert len(set(map(str, poet()(count=6, seed=4)))) == 6


@pytest.mark.parametrize(
    "options, message",
    [
        ({"form": "sonnet"}, "wujue, qijue, wulv, qilv"),
        ({"count": 0}, "1 or more"),
        ({"title": "spring"}, "Chinese characters"),
        ({"title": ""}, "Chinese characters"),
        ({"title": "春" * 17}, "at most 16"),
        ({"acrostic": "山河"}, "4 characters, one for each line, not 2"),
        ({"acrostic": "山河海x"}, "does not know the character 'x'"),
        ({"first_line": "白日依山尽"}, "7 characters"),
        ({"first_line": "白日依山尽，黄河", "form": "wujue"}, "5 characters"),
        ({"first_line": "白日依山尽", "acrostic": "山河海月", "form": "wujue"}, "begins with 白, the acrostic with 山"),
        ({"rules": ("tone",)}, "none without form"),
        ({"script": "english"}, "simplified or traditional"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        poet()(**{"seed": 1, **options})


def test_files(tmp_path):
    own = poet()
    own.save(tmp_path / "poet.safetensors")
    again = Poet.from_pretrained(tmp_path / "poet.safetensors")
    assert again("春望", seed=1) == Poet.from_pretrained(own.save_pretrained(tmp_path / "folder"))("春望", seed=1)
    assert again.script == own.script
    own.generator.save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other.safetensors is not a poet"):
        Poet.from_pretrained(tmp_path / "other.safetensors")
    config = TransformerConfig(len(SCRIPT.vocabulary) + 1, 16, 2, 1, length=96, start=START)
    with pytest.raises(ValueError, match="in the vocabulary"):
        Poet(TransformerGenerator(config), SCRIPT)


def test_perplexity_of_a_uniform_model():
    generator = poet().generator
    torch.nn.init.zeros_(generator.embedding.weight)
    verses = [Verse("wujue", "春", ("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"))]
    assert perplexity(generator, SCRIPT, verses) == pytest.approx(len(SCRIPT.vocabulary), rel=1e-5)


def test_temperature_of_nearly_zero_leaves_one_poem():
    poems = poet()("春望", count=5, seed=1, sampling=Sampling(top_k=1))
    assert len(set(map(str, poems))) == 1
