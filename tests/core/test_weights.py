"""Files of weights: what comes back, which are found, and that nothing is believed of a hostile one."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from seqgan import checkpoint
from seqgan.checkpoint import (
    SavedModel,
    find_weights,
    first_line,
    load_weights,
    read_metadata,
    save_folder,
    save_weights,
)


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


def test_weights_may_be_read_by_whoever_may_read_a_new_file(tmp_path):
    (tmp_path / "any").touch()
    path = save_weights(tmp_path / "m.safetensors", nn.Linear(1, 1))
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


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
    model = save_weights(tmp_path / "run" / "model.safetensors", nn.Linear(1, 1))
    assert find_weights(tmp_path / "run", "medium") == model
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


def test_what_is_saved_as_pretrained_is_settings_and_weights(tmp_path):
    folder = save_folder(tmp_path / "model", {"width": 4}, lambda path: path.touch())
    assert json.loads((folder / "config.json").read_text()) == {"width": 4} and (folder / "model.safetensors").exists()


def test_of_many_mismatches_the_first_is_told():
    assert first_line(ValueError("no fit:\n  one\n  two\n  three")) == "no fit: one (and 2 more)"
    assert first_line(ValueError("no fit:\n  one")) == "no fit: one"
