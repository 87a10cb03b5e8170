import pytest

from seqgan.text.meter import (
    FORMS,
    Score,
    common_rhymes,
    join_lines,
    rhymes,
    score,
    show_tones,
    split_lines,
    templates,
    tones,
)  # fmt: skip
from seqgan.text.poet import Poet

# Wang Zhihuan, Li Bai, Du Fu: regulated to the letter in all fixed places.
TOWER = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
BAIDI = "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。"
SPRING = "國破山河在，城春草木深。感時花濺淚，恨別鳥驚心。烽火連三月，家書抵萬金。白頭搔更短，渾欲不勝簪。"


@pytest.mark.parametrize(
    "poem, form, template, rhyme",
    [
        (TOWER, "wujue", "仄起首句不入韻", "下平十一尤"),
        (BAIDI, "qijue", "平起首句入韻", "上平十五刪"),
        (SPRING, "wulv", "仄起首句不入韻", "下平十二侵"),
    ],
)
def test_poems_that_keep_all_rules(poem, form, template, rhyme):
    lines = split_lines(poem)
    found = score(lines, FORMS[form])
    assert found.regulated and found.fixed == 1
    assert found.template == template
    assert rhyme in common_rhymes(lines)
    assert join_lines(lines) == poem


def test_what_a_poem_loses():
    lines = split_lines(TOWER)
    swapped = score([lines[1], lines[0], *lines[2:]], FORMS["wujue"])  # 尽 and 楼 do not rhyme
    assert swapped.shape and not swapped.rhyme and not swapped.regulated
    twice = score([lines[0], lines[3], lines[2], lines[3]], FORMS["wujue"])  # 楼 is used for both
    assert not twice.rhyme
    oblique = [line[:-1] + end for line, end in zip(lines, "尽目流目", strict=True)]
    assert not score(oblique, FORMS["wujue"]).level_rhyme
    assert score(lines, FORMS["qijue"]) == score(lines[:3], FORMS["wujue"])  # another shape
    assert not score(lines, FORMS["qijue"]).shape
    off = [lines[0], lines[1][0] + "入" + lines[1][2:], *lines[2:]]  # one of twelve fixed places
    assert score(off, FORMS["wujue"]).fixed == pytest.approx(11 / 12)


@pytest.mark.parametrize("place, fixed", list(enumerate([False, True, False, True, False, True, True])))
def test_four_of_seven_places_are_fixed(place, fixed):
    """A character of the other tone is wrong there, one of the 16 of a qijue, and nowhere else."""
    lines = split_lines(BAIDI)
    for i, line in enumerate(lines):
        if len(tones(line[place])) == 1:
            other = "目" if tones(line[place]) == {"平"} else "山"
            changed = [*lines[:i], line[:place] + other + line[place + 1 :], *lines[i + 1 :]]
            assert score(changed, FORMS["qijue"]).fixed == (15 / 16 if fixed else 1)


def test_templates_follow_the_rules_of_adhesion():
    """Within a couplet the second places oppose each other, between couplets they agree; even lines end level."""
    for form in FORMS.values():
        patterns = templates(form)
        assert len({pattern.lines for pattern in patterns}) == 4
        for pattern in patterns:
            assert [len(line) for line in pattern.lines] == [form.width] * form.lines
            second = [line[1] for line in pattern.lines]
            assert pattern.name[0] == second[0]
            for i in range(0, form.lines, 2):
                assert second[i] != second[i + 1]
            for i in range(1, form.lines - 1, 2):
                assert second[i] == second[i + 1]
            ends = [line[-1] for line in pattern.lines]
            assert ends[1::2] == ["平"] * (form.lines // 2) and ends[2::2] == ["仄"] * (form.lines // 2 - 1)
            assert pattern.first_rhymes == (ends[0] == "平")


@pytest.mark.parametrize(
    "characters, rhyme",
    [
        ("溪啼黎", "上平八齊"),
        ("爐炉蝴", "上平七虞"),
        ("樽猨猿", "上平十三元"),
        ("掃扫", "上十九皓"),
        ("迹跡蹟", "入十一陌"),
    ],
)
def test_common_characters_and_their_variants_have_their_rhyme(characters, rhyme):
    assert all(rhyme in rhymes()[character] for character in characters)


def test_nearly_all_that_the_poet_writes_has_a_tone():
    script = Poet.from_pretrained().script
    both = zip(script.traditional, script.simplified, strict=True)
    assert sum(not tones(simple) and not tones(own) for own, simple in both) < 20  # of 5,089


def test_tables():
    assert len(rhymes()) > 9000
    assert len({name for names in rhymes().values() for name in names}) == 106
    assert tones("東") == tones("东") == frozenset("平")
    assert tones("看") == frozenset("平仄") and tones("x") == frozenset()
    assert show_tones("东月看x") == "平仄中？"


def test_regulated_verse_has_a_level_rhyme_and_every_fixed_tone():
    assert Score(True, True, True, 1.0).regulated
    assert not Score(True, True, False, 1.0).regulated and not Score(True, True, True, 0.99).regulated
