"""Poets: rules that hold whatever the network, what a user asks for, and poems as they are kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqgan.text.meter import FORMS, score
from seqgan.text.networks import LSTMConfig, LSTMGenerator, TransformerConfig, TransformerGenerator
from seqgan.text.poems import STROKE, Script
from seqgan.text.poet import Poem, Poet
from seqgan.text.sampling import Sampling
from seqgan.text.vocabulary import PAD, REPLACEMENT, START, UNKNOWN

from .poem_fixtures import SCRIPT, poet


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


def biased(logits):
    """A poet of no sense: {token: logit}, the others' are 0."""
    generator = LSTMGenerator(LSTMConfig(len(SCRIPT.vocabulary), 4, 4, start=START)).eval()
    with torch.no_grad():
        generator.output.weight.zero_()
        for token, logit in logits.items():
            generator.output.bias[token] = logit
    return Poet(generator, SCRIPT)


def test_a_network_too_short_for_the_form_is_told():
    config = TransformerConfig(len(SCRIPT.vocabulary), 16, 2, 1, length=30, start=START)
    short = Poet(TransformerGenerator(config).eval(), SCRIPT)
    assert short("春望", "wujue", seed=1)
    with pytest.raises(ValueError, match="a qilv on a title of 2 characters is longer than"):
        short("春望", "qilv", seed=1)
    short("春望", "qilv", seed=1, rules=())


def test_special_tokens_are_never_written():
    (poem,) = biased(dict.fromkeys((PAD, START, UNKNOWN), 50.0))("春望", seed=1, rules=())
    assert REPLACEMENT not in "".join(poem.lines) and "".join(poem.lines)


@pytest.mark.parametrize("logit, length", [(-50.0, 8), (50.0, 1)])
def test_titles_of_its_own_have_one_to_eight_characters(logit, length):
    """Whether it is unlikely or likely that a title ends."""
    poems = biased({SCRIPT.vocabulary.ids[STROKE]: logit})(count=2, seed=0)
    assert [len(poem.title) for poem in poems] == [length] * 2


def test_without_rules_a_poem_ends_with_what_the_model_can_read():
    model = poet()
    longest = model.generator.config.length
    for title in ("春", "春" * 16):
        (free,) = model(title, seed=1, rules=())
        assert 0 < len("".join(free.lines)) < longest


def test_acrostic_and_first_line():
    for poem in poet()(acrostic="山河海月", count=5, seed=2):
        assert "".join(line[0] for line in poem.lines) == "山河海月"
        assert score(poem.lines, FORMS["qijue"]).regulated
    for line in ("白日依山尽", "白日依山盡，"):  # either script, with or without its mark
        poems = poet()("春望", "wujue", 5, 2, first_line=line)
        assert all(poem.lines[0] == "白日依山尽" and score(poem.lines, FORMS["wujue"]).regulated for poem in poems)
    poem = poet()("春望", "wujue", 1, 2, first_line="白日依山尽", script="traditional")[0]
    assert poem.lines[0] == "白日依山盡"
    # 发 may stand for 發 and 髮, of which the acrostic wants one.
    both = {"acrostic": "髮山河月", "first_line": "发白日山中"}
    poem = Poet.from_pretrained()(form="wujue", seed=1, script="traditional", **both)[0]
    assert "".join(line[0] for line in poem.lines) == "髮山河月"
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


def test_a_first_line_whose_rhyme_nobody_knows():
    script = Script(SCRIPT.traditional + "咗", SCRIPT.simplified + "咗")
    made = Poet(LSTMGenerator(LSTMConfig(len(script.vocabulary), 4, 4, start=START)), script)
    with pytest.raises(ValueError, match="no rhyme is known for '咗'"):
        made("春", "wujue", seed=1, first_line="白日依山咗")


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


def test_of_several_rhymes_a_level_one_is_named():
    assert Poem("", "wujue", ("山山山山山", "山山山山看") * 2).rhyme == "上平十四寒"
    assert Poem("", "wujue", ("山山山山山", "山山山山空") * 2).rhyme == "上平一東", "though 上一董 comes first"


def test_temperature_of_nearly_zero_leaves_one_poem():
    poems = poet()("春望", count=5, seed=1, sampling=Sampling(top_k=1))
    assert len(set(map(str, poems))) == 1


def test_more_poems_than_are_written_at_once(monkeypatch):
    monkeypatch.setattr("seqgan.text.poet.AT_ONCE", 2)
    assert len(set(map(str, poet()("春", count=5, seed=1)))) == 5


def test_a_poet_in_training_writes_as_ever_and_goes_on_training():
    model = poet()
    model.generator.train()
    first, second = (model("春", seed=1) for _ in range(2))
    assert first == second and model.generator.training


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
