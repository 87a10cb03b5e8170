"""The library's `SentenceGenerator` and the command `generate-sentences`."""

import json
import os
import subprocess
import sys

import pytest
import torch

import seqgan.text
from seqgan.checkpoint import read_metadata, save_weights
from seqgan.text.networks import LSTMConfig, LSTMGenerator, TransformerConfig, TransformerGenerator, load_generator
from seqgan.text.sentences import LONGEST, SentenceGenerator
from seqgan.text.sentences_cli import main
from seqgan.text.vocabulary import END, PAD, SPECIALS, START, UNKNOWN, Symbols
from seqgan.text.wgan_gp import CharacterGenerator, WGANConfig

COMMAND = [sys.executable, "-c", "import sys; from seqgan.text.sentences_cli import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def restored_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    config = WGANConfig(("春", "é", " "), length=6, latent=8, width=8, kernel=3, blocks=1)
    return SentenceGenerator(CharacterGenerator(config)).save(tmp_path / "wgan.safetensors")


def language_model(kind=LSTMGenerator, bias=None):
    """Over words; all are as likely, unless there is a bias (vocabulary,)."""
    torch.manual_seed(0)
    vocabulary = Symbols(["the", "cat", "sat"], words=True)
    if kind is LSTMGenerator:
        generator = kind(LSTMConfig(len(vocabulary), 4, 4, start=START))
        with torch.no_grad():
            generator.output.weight.zero_()
            generator.output.bias.copy_(torch.zeros(len(vocabulary)) if bias is None else bias)
    else:
        generator = kind(TransformerConfig(len(vocabulary), 8, 2, 1, length=5, start=START))
    return SentenceGenerator(generator.eval(), vocabulary)


def test_the_same_seed_gives_the_same_sentences(model, tmp_path):
    generator = SentenceGenerator.from_pretrained(model)
    sentences = generator(50, seed=1)
    assert len(sentences) == 50 and sentences == generator(50, seed=1) != generator(50, seed=2)
    assert generator(50) != generator(50)
    assert set("".join(sentences)) <= set("春é ")
    assert any(len(sentence) < 6 for sentence in sentences), "lines end where only the filling follows"
    assert not any(sentence.endswith(" ") for sentence in sentences)
    assert SentenceGenerator.from_pretrained(generator.save_pretrained(tmp_path / "folder"))(50, seed=1) == sentences
    config = json.loads((tmp_path / "folder" / "config.json").read_text(encoding="utf-8"))
    assert config["vocabulary"] == ["春", "é", " "]
    with pytest.raises(ValueError, match="1 or more, not 0"):
        generator(0)


@pytest.mark.parametrize("kind", [LSTMGenerator, TransformerGenerator])
def test_a_language_model_with_its_vocabulary_in_one_file(kind, tmp_path):
    original = language_model(kind)
    path = original.save(tmp_path / "model.safetensors")
    sentences = SentenceGenerator.from_pretrained(path)(30, seed=1)
    assert sentences == SentenceGenerator.from_pretrained(path)(30, seed=1) and len(set(sentences)) > 10
    assert {word for sentence in sentences for word in sentence.split(" ")} <= {"the", "cat", "sat", ""}
    if kind is TransformerGenerator:
        assert max(len(sentence.split()) for sentence in sentences) == 5, "no more than it can read"
    assert isinstance(load_generator(path), kind), "it is the file of the generator too"


def test_nothing_is_dropped_while_writing():
    vocabulary = Symbols(["the", "cat", "sat"], words=True)
    generator = LSTMGenerator(LSTMConfig(len(vocabulary), 8, 8, dropout=0.9, start=START)).train()
    writer = SentenceGenerator(generator, vocabulary)
    assert writer(20, seed=1) == writer(20, seed=1) and generator.training, "left as it was"


def test_a_language_model_ends_its_sentences_and_writes_no_special_tokens():
    bias = torch.zeros(SPECIALS + 3)
    bias[[PAD, START, UNKNOWN]] = 50.0  # only ruled out can they be avoided
    assert all(set(sentence.split()) <= {"the", "cat", "sat"} for sentence in language_model(bias=bias)(50, seed=0))
    bias[END] = 50.0
    assert language_model(bias=bias)(3, seed=0) == ["", "", ""]
    bias[END] = -50.0
    assert [len(sentence.split()) for sentence in language_model(bias=bias)(2, seed=0)] == [LONGEST] * 2


def test_files_that_write_no_sentences(tmp_path):
    with pytest.raises(ValueError, match="7 tokens with a vocabulary of 4"):
        SentenceGenerator(language_model().generator, Symbols([]))
    with pytest.raises(ValueError, match="7 tokens with a vocabulary of None"):
        SentenceGenerator(language_model().generator)
    bare = language_model().generator.save(tmp_path / "bare.safetensors")
    config = read_metadata(bare)["config"]
    metadata = {"format": LSTMGenerator.FORMAT, "config": config, "vocabulary": json.dumps({"kind": "runes"})}
    broken = save_weights(tmp_path / "broken.safetensors", language_model().generator, metadata=metadata)
    other = save_weights(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, metadata={"format": "a poet"})
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    reasons = {bare: "no vocabulary", other: "says a poet", broken: "not of 'runes'", text: "not a valid"}
    for path, told in reasons.items():
        with pytest.raises(ValueError, match=told) as error:
            SentenceGenerator.from_pretrained(path)
        assert str(path) in str(error.value)


def test_names_are_imported_when_used():
    assert seqgan.text.SentenceGenerator is SentenceGenerator and "SentenceGenerator" in dir(seqgan.text)
    with pytest.raises(AttributeError):
        seqgan.text.Nobody  # noqa: B018


def test_the_command_writes_utf8_whatever_the_locale(model):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [*COMMAND, "--model", model, "--count", "5", "--seed", "1"],
        capture_output=True,
        env={**os.environ, **locale},
        timeout=300,
    )
    assert result.returncode == 0 and result.stderr == b""
    sentences = SentenceGenerator.from_pretrained(model)(5, seed=1)
    assert result.stdout.decode("utf-8") == "".join(sentence + "\n" for sentence in sentences)
    assert "春" in "".join(sentences)


def test_a_list_for_programs(model, capsys):
    assert main(["--model", str(model), "--count", "3", "--seed", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SentenceGenerator.from_pretrained(model)(3, seed=1)


def test_help_needs_no_torch():
    code = "import sys; from seqgan.text.sentences_cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print({'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert result.stdout.startswith("usage: generate-sentences") and result.stdout.endswith("set()\n"), result.stderr


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--count", "0"], "--count 0: from 1 to 100000"),
        (["--count", "many"], "--count"),
        (["--seed", "-1"], "--seed -1: from 0"),
        (["--seed", str(2**63)], "from 0 to 9223372036854775807"),
        (["--temperature", "1"], "--temperature"),
    ],
)
def test_wrong_usage_is_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    printed = capsys.readouterr()
    assert error.value.code == 2 and told in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def test_a_model_that_is_not_there_is_one_line(capsys, tmp_path):
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("nobody", str(tmp_path / "nowhere.safetensors"), str(tmp_path / "text.safetensors")):
        assert main(["--model", name]) == 1
        printed = capsys.readouterr()
        assert name in printed.err and len(printed.err.splitlines()) == 1 and not printed.out
