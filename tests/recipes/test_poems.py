"""The recipes of poems in a subprocess, from files to a poet that the command takes."""

import json

from seqgan.text.poet import Poet

from ..text.poem_fixtures import write_corpus
from .processes import run_recipe


def test_a_poet_learns_and_is_judged(tmp_path):
    write_corpus(tmp_path / "data", copies=8)
    options = ["--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"), "--threads", "1"]
    options += ["--width", "64", "--layers", "1", "--batch", "8", "--least", "1", "--ema", "0.5", "--warm-up", "5"]
    options += ["--learning-rate", "1e-2", "--validate-every", "20", "--adversarial-steps", "0", "--steps"]
    first = run_recipe("poems.py", *options, "20")
    assert first.returncode == 0, first.stderr
    early = json.loads((tmp_path / "run" / "best.json").read_text())["perplexity"]
    again = run_recipe("poems.py", *options, "40")
    assert again.returncode == 0 and "goes on at step 20" in again.stderr, again.stderr
    late = json.loads((tmp_path / "run" / "best.json").read_text())
    assert late["step"] == 40 and late["perplexity"] < 0.7 * early
    assert "《" in (tmp_path / "run" / "samples" / "step000040.txt").read_text(encoding="utf-8")

    model = str(tmp_path / "run" / "best.safetensors")
    assert Poet.from_pretrained(model)("登高", seed=1, rules=("form",))[0].title == "登高"

    game = ["--start", model, "--discriminator-steps", "3", "--adversarial-steps", "4", "--adversarial-batch", "4"]
    for discriminator, loss in (("reading", "title"), ("relations", "adversary")):
        folder = tmp_path / discriminator
        played = run_recipe("poems.py", *options[:2], *game, "--discriminator", discriminator, "--run", str(folder))
        assert played.returncode == 0, played.stderr
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses = {"generator/policy", "generator/nll", f"discriminator/{loss}"}
        assert losses <= lines[-1].keys() | lines[-2].keys()
    assert (folder / "relations.png").read_bytes().startswith(b"\x89PNG")
    player = str(folder / "adversarial.safetensors")
    assert Poet.from_pretrained(player).generator.config == Poet.from_pretrained(model).generator.config

    curves = ["--poets", model, player, "--temperatures", "0.5", "1", "--run", str(tmp_path / "curves")]
    compared = run_recipe("compare_poets.py", *options[:2], *curves, "--threads", "1")
    assert compared.returncode == 0, compared.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in compared.stdout.splitlines()]
    assert [row[0] for row in rows[2:]] == ["real poems", "best", "best", "adversarial", "adversarial"]
    assert rows[2][3] == rows[2][4] == "1.000" and float(rows[3][-1]) <= float(rows[4][-1])
    assert (tmp_path / "curves" / "table.md").read_text() == compared.stdout
    assert (tmp_path / "curves" / "curves.png").read_bytes().startswith(b"\x89PNG")

    judged = run_recipe("evaluate_poems.py", *options[:2], "--model", model, "--forms", "wujue", "--threads", "1")
    assert judged.returncode == 0, judged.stderr
    table = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in judged.stdout.splitlines() if "|" in row}
    assert float(table["poet"][0]) == 1.0  # the later row of that name: shapes are right, by the rules
    assert "Kneser-Ney trigrams" in table and "poet, titles exchanged" in table


def test_a_folder_without_poems(tmp_path):
    found = run_recipe("poems.py", "--data", str(tmp_path), "--run", str(tmp_path / "run"))
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1 and "wujue" in found.stderr
