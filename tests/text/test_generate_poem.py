"""The command, as a user runs it."""

import json
import os
import subprocess
import sys
import time

import pytest

from seqgan.text.meter import FORMS, score
from seqgan.text.poem_cli import build_parser, main
from seqgan.text.poet import SAMPLING

from .poem_fixtures import poet

COMMAND = os.path.join(os.path.dirname(sys.executable), "generate-poem")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=300)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(poet().save(tmp_path_factory.mktemp("poet") / "poet.safetensors"))


def test_poems_one_line_a_verse(model):
    found = run("登高", "--count", "2", "--seed", "1", "--model", model)
    assert found.returncode == 0 and found.stderr == b""
    first, second = found.stdout.decode().removesuffix("\n").split("\n\n")
    for poem in (first, second):
        title, *verses = poem.split("\n")
        assert title == "《登高》"
        assert score([verse[:-1] for verse in verses], FORMS["qijue"]).regulated
        assert [verse[-1] for verse in verses] == ["，", "。"] * 2
    assert first != second
    assert run("登高", "--count", "2", "--seed", "1", "--model", model).stdout == found.stdout


def test_utf8_whatever_the_locale(model):
    options = ["春望", "--seed", "1", "--model", model]
    plain = run(*options, PYTHONUTF8="1")
    for environment in (
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ):
        found = run(*options, **environment)
        assert found.returncode == 0 and found.stdout == plain.stdout


def test_a_title_that_the_poet_cannot_read_is_said(model):
    found = run("登龘高咖", "--seed", "1", "--model", model)
    assert found.returncode == 0 and "《登龘高咖》" in found.stdout.decode()
    assert found.stderr.decode() == "generate-poem: unknown to the poet, and not heeded: 龘, 咖\n"


def test_for_programs(model):
    options = ["--form", "wulv", "--count", "2", "--seed", "3", "--traditional", "--json", "--model", model]
    poems = json.loads(run(*options).stdout)
    assert len(poems) == 2
    for poem in poems:
        assert set(poem) == {"title", "form", "lines", "tones", "rhyme"}
        assert poem["form"] == "wulv" and poem["title"] and poem["rhyme"].startswith(("上平", "下平"))
        assert [len(line) for line in poem["lines"]] == [len(tones) for tones in poem["tones"]] == [5] * 8


def test_the_temperature_is_heeded(model, capfd):
    """Of the coldest poet all poems are one; 100 is the highest; the command's own is the library's."""
    for temperature, different in (("0.001", 1), ("100", 3)):
        options = ["登高", "--count", "3", "--seed", "1", "--json", "--model", model, "--temperature", temperature]
        assert main(options) == 0
        assert len({poem["lines"][0] for poem in json.loads(capfd.readouterr().out)}) == different
    assert build_parser().parse_args([]).temperature == SAMPLING.temperature == 0.65


def test_what_a_user_asks_for(model):
    found = run("--acrostic", "山河海月", "--seed", "1", "--show-tones", "--model", model).stdout.decode()
    _, *verses = found.splitlines()
    assert [verse[0] for verse in verses] == list("山河海月")
    assert all(set(verse.split("  ")[1]) <= set("平仄中？") and len(verse.split("  ")[1]) == 7 for verse in verses)
    options = ["--first-line", "白日依山尽", "--form", "wujue", "--seed", "1", "--model", model]
    assert "白日依山尽，" in run(*options).stdout.decode()
    assert "白日依山盡，" in run(*options, "--traditional").stdout.decode()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--form", "sonnet"], "wujue"),
        (["--count", "0"], "--count 0: from 1 to 100000"),
        (["--temperature", "-1"], "--temperature -1: a number from 0.001"),
        (["--temperature", "nan"], "a number from 0.001"),
        (["--temperature", "101"], "--temperature 101: a number from 0.001 to 100"),
        (["--temperature", "0.0001"], "--temperature 0.0001: a number from 0.001 to 100"),
        (["--acrostic", "山河"], "4 characters, one for each line, not 2"),
        (["--acrostic", "山河海ж"], "does not know the character"),
        (["--first-line", "白日依山尽"], "7 characters"),
        (["--first-line", "白日依山尽白ж"], "does not know the character"),
        (["spring"], "a title is of Chinese characters"),
        (["--simplified", "--traditional"], "not allowed with"),
    ],
)
def test_wrong_usage(model, arguments, message):
    found = run(*arguments, "--seed", "1", "--model", model)
    assert found.returncode == 2 and found.stdout == b""
    (line,) = found.stderr.decode().splitlines()
    assert line.startswith("generate-poem: ") and message in line


def test_arguments_that_are_no_text(model):
    found = subprocess.run([COMMAND, b"\xff\xfe", "--model", model], capture_output=True)
    assert found.returncode == 2 and b"not UTF-8" in found.stderr


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_models_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    found = run("--model", str(path))
    assert found.returncode == 1 and found.stdout == b""
    assert len(found.stderr.decode().splitlines()) == 1 and "model" in found.stderr.decode()


def test_help_answers_at_once():
    def seconds() -> float:
        began = time.monotonic()
        assert run("--help").returncode == 0
        return time.monotonic() - began

    assert min(seconds() for _ in range(5)) < 0.4


def test_the_poet_of_the_package_keeps_the_rules():
    """Of the form asked for, rhymed, regulated to the letter but for a few, on the title; and not by heart."""
    found = run("春望", "--form", "wulv", "--count", "20", "--seed", "1", "--json")
    assert found.returncode == 0, found.stderr
    poems = json.loads(found.stdout)
    scores = [score(poem["lines"], FORMS["wulv"]) for poem in poems]
    assert len(poems) == 20 and all(value.shape and value.rhyme for value in scores)
    assert sum(value.regulated for value in scores) >= 16
    assert len({line for poem in poems for line in poem["lines"]}) > 150, "of 160 lines"


def test_three_poems_take_little_longer_than_importing_torch():
    """CPU time, which other processes hardly disturb."""

    def seconds(*command) -> float:
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    own = min(seconds(COMMAND, "春望", "--count", "3", "--seed", "1") for _ in range(3))
    assert own <= 2.0 * min(seconds(sys.executable, "-c", "import torch") for _ in range(3))
