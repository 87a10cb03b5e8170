"""Exact, atomic and safe: checkpoints of a run, and the weights of a finished model.

A checkpoint is one `torch.save` file, read with `weights_only=True` so that nothing is unpickled but tensors and
plain values. It is written beside and renamed, the last two are kept, and one that proves torn or corrupt gives way
to the one before. Weights are safetensors: a table of sizes, which is checked against the file before anything is
allocated, and then the numbers.
"""

import json
import os
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Model = TypeVar("Model", bound="SavedModel")
PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size)


@contextmanager
def replacing(path: Path, anew: bool = False) -> Iterator[Path]:
    """A name to write to, which becomes `path` once it is on the disk; after any failure `path` is as it was.

    anew: a name that nobody else has, NAME.PID.xxxx.part, since NAME.part may be somebody's; what a process that is
    killed leaves there is in nobody's way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{os.getpid()}.{token_hex(2)}" if anew else os.environ.get("RANK", "0")  # each rank has a part of its own
    part = path.with_name(f"{path.name}.part" if mark == "0" else f"{path.name}.{mark}.part")
    try:
        yield part
        _to_disk(part)
        os.replace(part, path)
        if os.name == "posix":  # elsewhere a folder cannot be opened, nor needs to be
            with suppress(OSError):  # it has its name by now, and not every file system does this of a folder
                _to_disk(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(path)  # the name that the user knows
        part.unlink(missing_ok=True)
        raise


def save(folder: Path, stage: str, step: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Writes `state` (dicts, lists and tuples of tensors and plain values); keeps the stage's last `keep`."""
    _check(state, "checkpoint")
    path = folder / f"{stage}-{step:09d}.pt"
    try:
        with replacing(path) as part:
            torch.save(dict(state), part)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its archive's writer
        full = isinstance(error, RuntimeError) and re.search("inline_container|PytorchStreamWriter", str(error))
        reason = "no room on the disk, or a limit on the size of files" if full else error
        raise OSError(f"cannot write the checkpoint {path}: {reason}; earlier ones are untouched") from error
    for old in _checkpoints(folder, stage)[:-keep]:
        old.unlink()
    for torn in folder.glob(f"{stage}-*.pt.part"):  # of a save that was killed
        torn.unlink()
    return path


def write_text(path: Path, text: str) -> None:
    """Whole or not at all, UTF-8."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """A dataclass, or anything of plain values; others as text."""
    if is_dataclass(content):
        content = asdict(content)
    return json.dumps(content, default=str, ensure_ascii=False, indent=2) + "\n"


def latest(folder: Path, stage: str) -> tuple[Path, dict[str, Any]] | None:
    """The stage's newest checkpoint that can be read, on the CPU; None where there is no checkpoint at all.

    One that cannot be read is put aside under another name, with a warning. Where none can be read, ValueError:
    training anew would overwrite what may still be rescued.
    """
    broken: list[Path] = []
    for path in reversed(_checkpoints(folder, stage)):
        try:
            state = _read(path)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a damaged file can fail in any way
            warnings.warn(f"the checkpoint {path} is damaged ({error}); trying the one before", stacklevel=2)
            broken.append(path)
        else:
            for other in broken:
                other.rename(other.with_name(other.name + ".damaged"))
            return path, state
    if broken:
        raise ValueError(
            f"none of the checkpoints in {folder} can be read; move them away to start anew: {broken[0].name}"
        )
    return None


def save_weights(
    path: str | Path,
    weights: nn.Module | Mapping[str, Tensor],
    dtype: torch.dtype = torch.float16,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes a model's floating point tensors as `dtype` (others as they are) and `metadata` to a safetensors file.

    A tensor that `dtype` cannot hold, as the running variances of a game that diverges, is kept in float32. ValueError,
    and nothing written, where one is not finite by itself.
    """
    path = Path(path)
    if isinstance(weights, nn.Module):
        weights = weights.state_dict()
    tensors = {}
    for name, tensor in weights.items():
        stored = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
        if stored.is_floating_point() and not stored.isfinite().all():
            stored = tensor.detach().to("cpu", torch.float32)
            if not stored.isfinite().all():
                raise ValueError(f"{path}: {name} is not finite; it is not saved")
        tensors[name] = stored.clone().contiguous()  # a clone, since safetensors refuses tied weights
    with replacing(path) as part:
        part.touch()  # as any new file; safetensors alone would make one that nobody else may read
        mode = part.stat().st_mode
        save_file(tensors, part, metadata=dict(metadata or {}))
        part.chmod(mode)
    return path


def load_weights(path: str | Path, module: nn.Module | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, the floating point ones as float32; put into `module` where one is given.

    ValueError, naming the file, where it is no whole safetensors file, claims tensors that it does not hold, has a
    number that is not finite, or does not fit the module.
    """
    with _opened(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.float()
            if not tensor.isfinite().all():
                raise ValueError(f"{path}: {name} holds numbers that are not finite")
    if module is not None:
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{path} does not fit {type(module).__name__}: {first_line(error)}") from error
    return weights


def first_line(error: Exception) -> str:
    """Of a message that has each mismatch of a state_dict on a line: the first one, and how many more there are."""
    head, *lines = str(error).strip().splitlines() or [type(error).__name__]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return head + (f" {lines[0].strip()}{more}" if lines else "")


def read_metadata(path: str | Path) -> dict[str, str]:
    """What `save_weights` was given as metadata."""
    with _opened(path) as file:
        return file.metadata() or {}


class SavedModel(nn.Module):
    """A network that is one file: its weights, and the settings (a dataclass, `CONFIG`) that it is built from.

    A subclass names `CONFIG` and `FORMAT`, takes a CONFIG as its only argument and keeps it as `config`.
    """

    CONFIG: type
    FORMAT: str  # what the file is, and in which version
    config: Any

    def save(self, path: str | Path) -> Path:
        """Writes weights (float16) and settings to one safetensors file."""
        metadata = {"format": self.FORMAT, "config": json.dumps(asdict(self.config))}
        return save_weights(path, self, metadata=metadata)

    @classmethod
    def load(cls: type[Model], path: str | Path) -> Model:
        """What `save` wrote, in evaluation mode; ValueError naming the file if it is not one."""
        metadata = read_metadata(path)
        if metadata.get("format") != cls.FORMAT:
            found = metadata.get("format")
            raise ValueError(f"{path} is not a model of the kind {cls.FORMAT} (its metadata says {found})")
        try:
            settings = json.loads(metadata["config"])
            model = cls(cls.CONFIG(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
            raise ValueError(f"{path}: its settings are not those of a {cls.CONFIG.__name__}: {error}") from error
        load_weights(path, model)
        return model.float().eval()  # whatever torch's default is


def save_folder(path: str | Path, config: Any, save: Callable[[Path], Any]) -> Path:
    """What every `save_pretrained` writes: a folder with config.json and, by `save`, model.safetensors."""
    folder = Path(path)
    write_json(folder / "config.json", config)
    save(folder / "model.safetensors")
    return folder


def find_weights(name: str | Path, package: str) -> Path:
    """A model's file: bundled with `package` ("seqgan.speech"), a path, or one in a folder: `model.safetensors`, which
    `save_pretrained` writes, or a run's `best.safetensors` or `generator.safetensors`."""
    spec = find_spec(package)
    bundle = Path(spec.submodule_search_locations[0]) / "weights"
    bundled = {file.stem: file for file in sorted(bundle.glob("*.safetensors"))}
    if str(name) in bundled:
        return bundled[str(name)]
    path = Path(name)
    if path.is_dir():
        files = [path / f"{stem}.safetensors" for stem in ("model", "best", "generator")]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            raise ValueError(
                f"no model in the folder {str(name)!r}: it has no {', '.join(file.name for file in files)}"
            )
    if not path.is_file():
        raise ValueError(f"no model {str(name)!r}: neither a file nor bundled ({', '.join(bundled) or 'none is'})")
    return path


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """A safetensors file, its header checked (the library compares every size with the file's before it allocates)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error


def _checkpoints(folder: Path, stage: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{stage}-*.pt") if path.stem[len(stage) + 1 :].isdigit())


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # compares checksums, which torch.load does not
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def _check(value: Any, where: str) -> None:
    """Raises where a value could be saved but not be read back safely, which would be found out only at resume."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check(key, f"a key of {where}")
            _check(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    elif type(value) not in PLAIN:
        raise TypeError(f"{where} is a {type(value).__name__}: a checkpoint holds tensors and plain Python values only")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
