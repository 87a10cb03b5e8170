"""`--help` of every recipe, whose options all say what they are."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

RECIPES = {path.stem: path for path in (Path(__file__).parents[2] / "recipes").glob("*.py")}
SCRIPTS = sorted(name for name, path in RECIPES.items() if "run(main, Settings, __doc__)" in path.read_text())

GROUPS = {"Sources", "MixConfig", "LossWeights", "WaveJudges"}  # described by their own docstrings


def test_there_are_scripts():
    assert {"gan", "enhancement", "poems"} <= set(SCRIPTS) and len(SCRIPTS) > 15


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    monkeypatch.setattr("sys.path", [str(RECIPES[name].parent), *sys.path])  # as of a script
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(RECIPES[name]), run_name="__main__")
    told = capsys.readouterr().out
    assert ended.value.code == 0 and f"python recipes/{name}.py" in told
    tree = ast.parse(RECIPES[name].read_text(encoding="utf-8"))
    (settings,) = (part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == "Settings")
    for part, following in zip(settings.body, [*settings.body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign) and ast.unparse(part.annotation) not in GROUPS:
            assert isinstance(following, ast.Expr), f"--{part.target.id} has no help"
