"""The house is as it was designed: imports point one way, importing costs nothing, every folder is installed."""

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEDIA = ("speech", "text", "image")
SOURCES = [path for folder in ("seqgan", *MEDIA, "recipes") for path in sorted((ROOT / folder).rglob("*.py"))]


def package_of(path: Path) -> list[str]:
    folders = list(path.relative_to(ROOT).parts[:-1])
    return folders if folders[0] in ("seqgan", "recipes") else ["seqgan", *folders]


def imported(source: str, package: list[str]) -> set[str]:
    """Absolute names of what a module of `package` imports, wherever in its source."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            names.update(".".join([*module, alias.name]) for alias in node.names)
    return names


def media_in(names: set[str]) -> set[str]:
    return {name.removeprefix("seqgan.").split(".")[0] for name in names} & set(MEDIA)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    home, names = path.relative_to(ROOT).parts[0], imported(path.read_text(encoding="utf-8"), package_of(path))
    if home == "seqgan":
        assert not media_in(names), "the core knows nothing of the media"
    elif home in MEDIA:
        assert media_in(names) <= {home}, "the media do not import one another"
    roots = {name.split(".")[0] for name in names}
    assert not roots & set(MEDIA), "the media's names are seqgan.speech, ..., or relative inside one"
    assert home == "recipes" or "recipes" not in roots


def test_the_test_above_sees_what_it_forbids():
    package = ["seqgan", "speech"]
    for line in ("import seqgan.text", "from seqgan.text import x", "from ..text import x", "from .. import text"):
        assert media_in(imported(line, package)) == {"text"}
    assert media_in(imported("def f():\n    from ..text.networks import x", package)) == {"text"}
    assert media_in(imported("from .audio import read", package)) == {"speech"}
    assert media_in(imported("from seqgan.objectives import Hinge", package)) == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    source = path.read_text(encoding="utf-8")
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "torch.load":
            assert "weights_only=True" in [ast.unparse(keyword) for keyword in call.keywords]
    assert not {"pickle", "dill", "joblib"} & imported(source, package_of(path))


def run_python(code: str, cwd: Path, *path: Path) -> str:
    """In an interpreter without site-packages, so that nothing installed is found by chance."""
    command = f"import sys; sys.path += {[str(p) for p in path]!r}; {code}"
    result = subprocess.run([sys.executable, "-S", "-c", command], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


IMPORT = "import seqgan, seqgan.speech, seqgan.text, seqgan.image; "


def test_importing_costs_nothing():
    code = IMPORT + "print({'torch', 'numpy', 'scipy', 'soundfile', 'rich', 'tyro'} & set(sys.modules) or 'light')"
    result = subprocess.run([sys.executable, "-c", "import sys; " + code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "light", result.stderr


def test_the_media_are_found_from_the_checkout_and_from_an_installation(tmp_path):
    """After a plain `pip install .`, Python started in the checkout's root still finds the checkout's seqgan first."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "seqgan", site / "seqgan")
    for medium in MEDIA:
        shutil.copytree(ROOT / medium, site / "seqgan" / medium)
    where = IMPORT + "print(seqgan.speech.__file__)"
    assert run_python(where, ROOT) == str(ROOT / "speech" / "__init__.py")
    assert run_python(where, ROOT, site) == str(ROOT / "speech" / "__init__.py")
    assert run_python(where, tmp_path, site) == str(site / "seqgan" / "speech" / "__init__.py")
    assert run_python("import seqgan; print(len(seqgan.__path__))", tmp_path, site) == "1"


def test_lazy_names():
    code = "import seqgan.speech as s; print('Enhancer' in dir(s), hasattr(s, 'Nobody'))"
    assert run_python(code, ROOT) == "True False"
    for medium in MEDIA:
        package = importlib.import_module(f"seqgan.{medium}")
        assert all(getattr(package, name).__name__ == name for name in package.__all__)


def test_every_package_is_installed():
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = settings["tool"]["setuptools"]["package-dir"]
    assert sorted(folders) == sorted(settings["tool"]["setuptools"]["packages"])
    sources = {path.parent for folder in ("seqgan", *MEDIA) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)) for path in sources} == set(folders.values())
    assert settings["project"]["scripts"]["enhance"] == "seqgan.speech.cli:main"
