"""Nothing is lost and nothing is trusted: interrupted, damaged and hostile files."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seqgan import checkpoint
from seqgan.checkpoint import (
    SavedModel,
    find_weights,
    latest,
    load_weights,
    read_metadata,
    replacing,
    save,
    save_weights,
)


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path):
    state = {
        "half": torch.tensor([0.1, -0.0, float("nan")], dtype=torch.bfloat16),
        "nested": {3: [1, 2.5, None, True, "text", b"bytes", (torch.arange(4), torch.zeros(0))]},
        "parameter": nn.Linear(2, 2).state_dict(),
    }
    path, loaded = save(tmp_path, "mle", 12, state), latest(tmp_path, "mle")
    assert loaded[0] == path
    assert loaded[1]["nested"][3][:6] == state["nested"][3][:6]
    assert torch.equal(loaded[1]["half"].view(torch.int16), state["half"].view(torch.int16))
    assert torch.equal(loaded[1]["nested"][3][6][0], torch.arange(4))
    assert torch.equal(loaded[1]["parameter"]["weight"], state["parameter"]["weight"])


def test_stages_do_not_see_each_other(tmp_path):
    save(tmp_path, "mle", 5, {"step": 5})
    save(tmp_path, "mle-long", 9, {"step": 9})
    assert latest(tmp_path, "mle")[1] == {"step": 5}
    assert latest(tmp_path, "mle-long")[1] == {"step": 9}
    assert latest(tmp_path, "other") is None


@pytest.mark.parametrize(
    "culprit", [np.zeros(3), np.float64(1), {1, 2}, Path("x"), object()], ids=lambda v: type(v).__name__
)
def test_what_could_not_be_read_back_safely_is_refused_when_saved(tmp_path, culprit):
    save(tmp_path, "mle", 1, {"step": 1})
    with pytest.raises(TypeError, match=r"checkpoint\['pool'\]\[1\] is a " + type(culprit).__name__):
        save(tmp_path, "mle", 2, {"pool": [0, culprit]})
    assert latest(tmp_path, "mle")[1] == {"step": 1}


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("writer failed"), KeyboardInterrupt()]
)
def test_an_interrupted_save_keeps_the_old_one(tmp_path, monkeypatch, failure):
    save(tmp_path, "mle", 1, {"weights": torch.ones(3)})

    def half(state, path):
        Path(path).write_bytes(b"PK half a file")
        raise failure

    monkeypatch.setattr(torch, "save", half)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else OSError
    with pytest.raises(expected) as raised:
        save(tmp_path, "mle", 2, {"weights": torch.zeros(3)})
    if expected is OSError:
        assert "mle-000000002.pt" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mle-000000001.pt"]
    assert torch.equal(latest(tmp_path, "mle")[1]["weights"], torch.ones(3))


def test_a_file_gets_its_name_only_once_it_is_on_the_disk(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), rename(a, b)))
    with replacing(tmp_path / "new") as part:
        part.write_text("content")
        assert not (tmp_path / "new").exists()
    assert order[:2] == ["fsync", "rename"]
    assert (tmp_path / "new").read_text() == "content"


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "text"])
def test_a_damaged_newest_falls_back_and_is_put_aside(tmp_path, damage):
    save(tmp_path, "mle", 1, {"weights": torch.ones(1000)})
    newest = save(tmp_path, "mle", 2, {"weights": torch.zeros(1000)})
    content = bytearray(newest.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    newest.write_bytes({"empty": b"", "truncated": content[:middle], "flipped": content, "text": b"hello"}[damage])
    with pytest.warns(UserWarning, match="mle-000000002.pt is damaged"):
        path, state = latest(tmp_path, "mle")
    assert path.name == "mle-000000001.pt" and state["weights"].all()
    assert (tmp_path / "mle-000000002.pt.damaged").exists()


def test_where_every_checkpoint_is_damaged_training_does_not_begin_anew(tmp_path):
    save(tmp_path, "mle", 1, {"step": 1}).write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="mle-000000001.pt"):
        latest(tmp_path, "mle")
    assert (tmp_path / "mle-000000001.pt").exists()


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    torch.save({"x": Hostile()}, tmp_path / "mle-000000001.pt")
    with pytest.warns(UserWarning), pytest.raises(ValueError):
        latest(tmp_path, "mle")
    assert not (tmp_path / "owned").exists()


# -- weights


def test_weights_come_back_as_float32_from_float16(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    path = save_weights(tmp_path / "model.safetensors", model, metadata={"config": '{"width": 4}'})
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weights = load_weights(path, other)
    assert weights["0.weight"].dtype == torch.float32
    assert torch.equal(other[0].weight, model[0].weight.half().float())
    assert weights["1.num_batches_tracked"].dtype == torch.int64
    assert read_metadata(path) == {"config": '{"width": 4}'}
    assert path.stat().st_size < 600
    save_weights(path, model, dtype=torch.float32)
    assert torch.equal(load_weights(path)["0.weight"], model[0].weight)


def test_tied_weights_can_be_saved(tmp_path):
    weight = torch.randn(3, 3)
    loaded = load_weights(save_weights(tmp_path / "m.safetensors", {"a": weight, "b": weight.T}, dtype=torch.float32))
    assert torch.equal(loaded["b"], loaded["a"].T)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_not_saved(value, tmp_path):
    with pytest.raises(ValueError, match=r"m\.safetensors: broken is not finite"):
        save_weights(tmp_path / "m.safetensors", {"broken": torch.tensor([1.0, value])})
    assert not list(tmp_path.iterdir())


def header(content: bytes | dict, length: int | None = None) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw


HUGE = 2**40  # four tebibytes of float32
HOSTILE = {
    "empty": b"",
    "seven bytes": b"1234567",
    "text": b"this is not a model at all, but it is long enough to look at",
    "header beyond the file": header({}, length=10_000),
    "header of 2^63 bytes": header({}, length=2**63),
    "header no JSON": header(b"{{{{"),
    "tensor beyond the file": header({"w": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}})
    + bytes(16),
    "tensor larger than its data": header({"w": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 16]}})
    + bytes(16),
    "size that overflows": header({"w": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 16]}}) + bytes(16),
    "negative offsets": header({"w": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}) + bytes(16),
    "end before begin": header({"w": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}) + bytes(16),
    "unknown type": header({"w": {"dtype": "X99", "shape": [4], "data_offsets": [0, 16]}}) + bytes(16),
    "data that no tensor claims": header({}) + bytes(16),
    "a pickle": b"\x80\x04\x95" + bytes(64),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_weights_file_is_refused_by_name(tmp_path, name):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[name])
    for read in (load_weights, read_metadata):
        with pytest.raises(ValueError, match="model.safetensors"):
            read(path)


def test_a_truncated_weights_file_is_refused(tmp_path):
    path = save_weights(tmp_path / "model.safetensors", nn.Linear(50, 50))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors"):
        load_weights(path)


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_file({"weight": torch.tensor([[float("nan")]])}, path)
    with pytest.raises(ValueError, match="model.safetensors.*weight.*not finite"):
        load_weights(path)
    save_weights(path, nn.Linear(2, 2))
    with pytest.raises(ValueError, match="model.safetensors does not fit Linear"):
        load_weights(path, nn.Linear(3, 2))
    with pytest.raises(OSError, match="nowhere.safetensors"):
        load_weights(tmp_path / "nowhere.safetensors")


def test_what_float16_cannot_hold_is_kept_in_float32(tmp_path):
    norm = nn.BatchNorm1d(2)
    norm.running_var.fill_(1e5)
    again = nn.BatchNorm1d(2)
    path = save_weights(tmp_path / "norm.safetensors", norm)
    with checkpoint.safe_open(path, framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}
    assert kinds["running_var"] == torch.float32 and kinds["weight"] == torch.float16
    load_weights(path, again)
    assert again.running_var.tolist() == [1e5, 1e5]


def test_find_weights(tmp_path, monkeypatch):
    package = tmp_path / "medium"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").touch()
    bundled = save_weights(package / "weights" / "base.safetensors", nn.Linear(1, 1))
    mine = save_weights(tmp_path / "mine" / "model.safetensors", nn.Linear(1, 1))
    monkeypatch.syspath_prepend(tmp_path)
    assert find_weights("base", "medium") == bundled
    assert find_weights(tmp_path / "mine", "medium") == mine
    assert find_weights(str(mine), "medium") == mine
    of_run = save_weights(tmp_path / "run" / "generator.safetensors", nn.Linear(1, 1))
    assert find_weights(tmp_path / "run", "medium") == of_run
    best = save_weights(tmp_path / "run" / "best.safetensors", nn.Linear(1, 1))
    assert find_weights(tmp_path / "run", "medium") == best
    with pytest.raises(ValueError, match="no model in the folder .*model.safetensors"):
        find_weights(tmp_path, "medium")
    with pytest.raises(ValueError, match=r"no model 'large'.*base"):
        find_weights("large", "medium")


@dataclass(frozen=True)
class LayerConfig:
    sizes: tuple[int, ...] = (3, 2)


class Layer(SavedModel):
    CONFIG, FORMAT = LayerConfig, "layer/1"

    def __init__(self, config: LayerConfig):
        super().__init__()
        self.config, self.linear = config, nn.Linear(*config.sizes)


class Other(Layer):
    FORMAT = "other/1"


def test_a_model_is_saved_with_its_settings_and_built_from_them(tmp_path):
    layer = Layer(LayerConfig((5, 4)))
    layer.save(tmp_path / "layer.safetensors")
    again = Layer.load(tmp_path / "layer.safetensors")
    assert again.config == layer.config and not again.training
    torch.testing.assert_close(again.linear.weight, layer.linear.weight.half().float())


def test_a_model_of_another_kind_or_with_other_settings_is_named(tmp_path):
    path = Layer(LayerConfig()).save(tmp_path / "layer.safetensors")
    with pytest.raises(ValueError, match=r"layer\.safetensors.*kind other/1"):
        Other.load(path)
    for settings in ('{"sizes": [3]}', '{"size": [3, 2]}', "[", '{"sizes": [4, 2]}'):
        save_weights(path, Layer(LayerConfig()), metadata={"format": "layer/1", "config": settings})
        with pytest.raises(ValueError, match=r"layer\.safetensors"):
            Layer.load(path)
