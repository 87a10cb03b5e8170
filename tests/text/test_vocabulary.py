import gzip

import pytest
import torch

from seqgan.text.data import read_lines
from seqgan.text.vocabulary import (
    END,
    PAD,
    REPLACEMENT,
    SPECIALS,
    START,
    UNKNOWN,
    Pieces,
    Symbols,
    load_vocabulary,
    to_batch,
)  # fmt: skip

LINES = ["the cat sat on the mat", "a dog sat on a log", "the end </s> <unk> <pad>"]


def vocabularies():
    return [Symbols.build(LINES), Symbols.build(LINES, words=True), Pieces.build(LINES, 300)]


@pytest.mark.parametrize("vocabulary", vocabularies(), ids=["characters", "words", "pieces"])
def test_round_trip(vocabulary):
    again = load_vocabulary(vocabulary.settings())
    assert len(again) == len(vocabulary)
    for line in LINES:
        ids = vocabulary.encode(line)
        assert again.encode(line) == ids
        assert not {PAD, START, END, UNKNOWN} & set(ids), "no text becomes a special token, whatever it spells"
        assert vocabulary.decode(ids) == line
        assert vocabulary.decode([START, *ids, END, *ids, PAD]) == line
        assert max(ids) < len(vocabulary)


def test_pieces_bring_back_what_they_have_never_seen():
    pieces = Pieces.build(LINES, 300)
    for text in ["  two  spaces ", "春風", "tab\tand 🙂"]:
        assert pieces.decode(pieces.encode(text)) == text


def test_symbols_are_ordered_by_frequency_and_limited():
    symbols = Symbols.build(["bba", "bca"])
    assert symbols.symbols == ("b", "a", "c")
    assert Symbols.build(["bba", "bca"], least=2).symbols == ("b", "a")
    assert Symbols.build(["bba", "bca"], most=1).symbols == ("b",)
    assert symbols.encode("xa") == [UNKNOWN, SPECIALS + 1]
    assert symbols.decode([UNKNOWN, SPECIALS + 1]) == REPLACEMENT + "a"
    assert "a" in symbols and "x" not in symbols


@pytest.mark.parametrize("symbols, words", [(["a", "a"], False), (["ab"], False), (["a b"], True), ([""], True)])
def test_what_is_no_list_of_symbols(symbols, words):
    with pytest.raises(ValueError):
        Symbols(symbols, words)


def test_a_batch_is_filled_up_and_never_cut():
    assert to_batch([[5, 6], [7]]).tolist() == [[5, 6], [7, PAD]]
    assert to_batch([[5]], 3).tolist() == [[5, PAD, PAD]]
    assert to_batch([], 3).shape == (0, 3) and to_batch([[5]]).dtype == torch.int64
    with pytest.raises(ValueError, match="2 tokens does not fit into 1"):
        to_batch([[5, 6]], 1)


def test_lines_of_an_untidy_file(tmp_path):
    path, notes = tmp_path / "untidy.txt", []
    path.write_bytes("\ufefffirst\r\n\r\nsecond line\n\nthird".encode())
    assert read_lines(path, longest=8, note=notes.append) == ["first", "third"]
    assert notes == [f"{path}: skipped 2 lines that are empty", f"{path}: skipped 1 line longer than 8"]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"x\ny\n"))
    assert read_lines(tmp_path / "a.txt.gz", note=notes.append) == ["x", "y"]
    assert len(notes) == 2


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("bad.txt", b"good\nb\xffd\n", "line 2: not UTF-8"),
        ("nul.txt", b"a\n\0\n", "line 2: has a NUL"),
        ("empty.txt", b"\n\n", "has no line"),
        ("short.txt.gz", gzip.compress(b"x\n" * 999, mtime=0)[:20], "not a whole gzip file"),
        ("bad.txt.gz", gzip.compress(b"xyz\n" * 9, mtime=0)[:12] + b"\xff" * 40, "not a whole gzip file"),
        ("plain.txt.gz", b"not gzipped", "not a whole gzip file"),
    ],
)
def test_files_that_are_no_text(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_lines(tmp_path / name, note=lambda message: None)
    assert name in str(error.value)
