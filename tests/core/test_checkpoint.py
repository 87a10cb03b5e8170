"""Nothing is lost and nothing is trusted: interrupted, damaged and hostile checkpoints."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seqgan import checkpoint
from seqgan.checkpoint import latest, replacing, save, to_json


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


def test_the_last_two_of_a_stage_are_kept(tmp_path):
    for step in range(4):
        save(tmp_path, "mle", step, {"step": step})
    assert [path.stem for path in sorted(tmp_path.iterdir())] == ["mle-000000002", "mle-000000003"]


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
    with pytest.raises(TypeError, match="a key of checkpoint is a int64"):
        save(tmp_path, "mle", 2, {np.int64(3): 1})


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


@pytest.mark.skipif(os.name != "posix", reason="folders are not opened elsewhere")
def test_a_file_system_that_cannot_sync_folders(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(number):
        if os.path.isdir(f"/proc/self/fd/{number}"):
            raise OSError(22, "Invalid argument")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


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


def test_what_a_save_that_was_killed_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "mle-000000001.pt.part").touch()
    save(tmp_path, "mle", 2, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["mle-000000002.pt"]


@pytest.mark.parametrize("error", [PermissionError("denied"), MemoryError()], ids=lambda error: type(error).__name__)
def test_what_another_try_may_read_is_not_put_aside(tmp_path, monkeypatch, error):
    def fail(path):
        raise error

    path = save(tmp_path, "mle", 2, {"step": 2})
    monkeypatch.setattr(checkpoint, "_read", fail)
    with pytest.raises(type(error)):
        latest(tmp_path, "mle")
    assert path.exists()


def test_a_part_that_may_be_somebody_s_is_left_alone(tmp_path):
    (tmp_path / "out.part").write_text("somebody's")
    with replacing(tmp_path / "out", anew=True) as part:
        part.write_text("ours")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.part": "somebody's", "out": "ours"}


def test_each_rank_writes_a_part_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with replacing(tmp_path / "out") as part:
        part.touch()
        assert part.name == "out.1.part"


def test_json_is_legible_in_any_script():
    assert '"春望"' in to_json({"title": "春望"})
