"""Four poems of four forms, the characters of a good many, and a poet who knows nothing."""

from pathlib import Path

import torch

from seqgan.text.meter import FORMS, rhymes, split_lines
from seqgan.text.networks import TransformerConfig, TransformerGenerator
from seqgan.text.poems import Script, Verse
from seqgan.text.poet import Poet
from seqgan.text.vocabulary import START

TRADITIONAL = {
    "wujue": "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。",
    "qijue": "朝辭白帝彩雲間，千里江陵一日還。兩岸猿聲啼不住，輕舟已過萬重山。",
    "wulv": "國破山河在，城春草木深。感時花濺淚，恨別鳥驚心。烽火連三月，家書抵萬金。白頭搔更短，渾欲不勝簪。",
    "qilv": "風急天高猿嘯哀，渚清沙白鳥飛回。"
    "無邊落木蕭蕭下，不盡長江滾滾來。萬里悲秋常作客，百年多病獨登臺。艱難苦恨繁霜鬢，潦倒新停濁酒杯。",
}
SIMPLIFIED = {
    "wujue": "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "qijue": "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。",
    "wulv": "国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。",
    "qilv": "风急天高猿啸哀，渚清沙白鸟飞回。"
    "无边落木萧萧下，不尽长江滚滚来。万里悲秋常作客，百年多病独登台。艰难苦恨繁霜鬓，潦倒新停浊酒杯。",
}
TITLES = {"wujue": "登鸛雀樓", "qijue": "早發白帝城", "wulv": "春望", "qilv": "登高（一作九日）"}
VERSES = [Verse(form, "春望"[:k], split_lines(poem)) for form, poem in TRADITIONAL.items() for k in (1, 2)]


def _script() -> Script:
    pairs = dict(zip("".join(TRADITIONAL.values()), "".join(SIMPLIFIED.values()), strict=True))
    pairs |= dict(zip("鸛雀發前明光", "鹳雀发前明光", strict=True))
    # Many more, so that every rhyme has enough of them.
    pairs |= {c: c for c in sorted(rhymes())[::2] if c not in pairs and c not in pairs.values()}
    pairs = {a: b for a, b in pairs.items() if a not in "，。"}
    return Script("".join(pairs), "".join(pairs.values()))


SCRIPT = _script()


def poet() -> Poet:
    torch.manual_seed(0)
    return Poet(
        TransformerGenerator(TransformerConfig(len(SCRIPT.vocabulary), 16, 2, 1, length=96, start=START)), SCRIPT
    )


def write_corpus(folder: Path, copies: int = 1) -> None:
    for form in FORMS:
        (folder / form).mkdir(parents=True, exist_ok=True)
        for split in ("train", "valid", "test"):
            stem = folder / form / split
            stem.with_suffix(".hant.txt").write_text((TRADITIONAL[form] + "\n") * copies, encoding="utf-8")
            stem.with_suffix(".hans.txt").write_text((SIMPLIFIED[form] + "\n") * copies, encoding="utf-8")
            rows = "".join(f"{i}\t{TITLES[form]}\n" for i in range(copies))
            stem.with_suffix(".meta.tsv").write_text("id\ttitle\n" + rows, encoding="utf-8")
