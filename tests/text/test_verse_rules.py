"""Which characters the rules leave, place by place."""

import torch

from seqgan.text.meter import FORMS, rhymes, tones
from seqgan.text.poems import Script
from seqgan.text.verse_rules import Sounds, VerseRules

from .poem_fixtures import SCRIPT


def test_a_line_is_not_repeated():
    rules = VerseRules(SCRIPT, FORMS["wujue"], ("form",))
    line, mark = SCRIPT.vocabulary.encode("白日依山盡"), SCRIPT.vocabulary.encode("，")
    allowed = rules(10, torch.tensor([line + mark + line[:-1], line + mark + line[::-1][:4]]))
    assert not allowed[0, line[-1]] and allowed[1, line[-1]]


def allowed(rules, text, script=SCRIPT):
    """What may follow a text."""
    return rules(len(text), torch.tensor([script.vocabulary.encode(text)]))[0]


def test_the_rhyme_is_no_character_that_was_used_for_it():
    """Nor another that is simplified to one that was."""
    pairs = dict(zip(SCRIPT.traditional, SCRIPT.simplified, strict=True)) | {"㜷": "流"}
    script = Script("".join(pairs), "".join(pairs.values()))
    rules, ids = VerseRules(script, FORMS["wujue"], ("form", "rhyme")), script.vocabulary.ids
    found = allowed(rules, "白日依山樓，黃河入海流。欲窮千里目，更上一層", script)
    assert found[ids["收"]] and not found[ids["流"]] and not found[ids["㜷"]] and not found[ids["樓"]]


def test_a_first_line_that_ends_in_either_tone_opens_all_rhymes_where_no_template_says():
    rules, ids = VerseRules(SCRIPT, FORMS["wujue"], ("form", "rhyme")), SCRIPT.vocabulary.ids
    assert tones("看") == {"平", "仄"}
    assert allowed(rules, "白日依山看，黃河入海")[ids["流"]]
    assert not allowed(rules, "白日依山山，黃河入海")[ids["流"]]


def test_a_first_line_that_ends_in_either_tone_joins_only_if_every_template_says_so():
    """With oblique second and level fourth character it may end level (then it rhymes) or oblique."""
    rules, ids = VerseRules(SCRIPT, FORMS["wujue"]), SCRIPT.vocabulary.ids
    assert allowed(rules, "白日依山看，黃河入海")[ids["流"]]
    assert not allowed(rules, "白日依山山，黃河入海")[ids["流"]]


def test_line_ends_that_are_given_and_do_not_rhyme_leave_a_choice():
    ids = SCRIPT.vocabulary.ids
    rules = VerseRules(SCRIPT, FORMS["wujue"], given={4: [ids["山"]], 10: [ids["流"]]})
    found = allowed(rules, "白日依山山，黃河入海流。欲窮千里目，更上一層")
    assert found.any() and not found[ids["樓"]] and not found[ids["山"]], "that of the first line goes on"


def test_only_rhymes_of_enough_characters_are_begun():
    """Three characters of one rhyme and one of another: none has 16, so that the largest is left."""
    script = Script("山間還東", "山间还东")
    rules = VerseRules(script, FORMS["wujue"])
    assert rules.rhyme.sum(0).tolist() == [3] and not rules.rhyme[script.vocabulary.ids["東"]].any()
    everyday = VerseRules(SCRIPT, FORMS["wujue"]).rhyme.sum(0)
    assert len(everyday) == 30 and everyday.min() >= 16, "all level rhymes"


def test_a_character_sounds_as_its_simplified_form():
    """臺 is 台 there, which has another rhyme beside."""
    sounds = Sounds.of(SCRIPT)
    heard = sounds.rhymes[SCRIPT.vocabulary.ids["臺"]]
    assert {name for name, has in zip(sounds.names, heard.tolist(), strict=True) if has} == rhymes()["台"]
