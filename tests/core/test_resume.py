"""A run that was stopped, killed or damaged ends as the run that was not: bit for bit."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seqgan.record import read_metrics
from seqgan.training import fit

from .toy import Toy, alone, assert_same, checkpoint, count_from, metrics, stop_clock

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Ten steps without a break."""
    run = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    Toy().fit(run, 10)
    torch.set_num_threads(threads)
    return run


def test_ten_steps_are_five_and_five(whole, tmp_path):
    Toy().fit(tmp_path, 5)
    Toy(seed=1).fit(tmp_path, 10)  # other initial weights, which the checkpoint replaces
    assert_same(checkpoint(tmp_path), checkpoint(whole))


def test_ten_steps_are_five_a_kill_and_five(whole, tmp_path):
    command = [sys.executable, "-m", "tests.core.toy", str(tmp_path), "10"]
    killed = subprocess.run([*command, "--kill-at", "7"], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint(tmp_path)["step"] == 5
    resumed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on at step 5" in resumed.stderr and resumed.stdout == ""
    assert_same(checkpoint(tmp_path), checkpoint(whole))
    assert metrics(tmp_path) == metrics(whole)
    assert [line["step"] for line in metrics(whole)] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_leaves(whole, tmp_path, number, capsys):
    toy = Toy()
    toy.before_loss = lambda turn: turn.step == 6 and signal.raise_signal(number)
    usual = signal.getsignal(number)
    toy.phases[0].repeat = 1
    with pytest.raises(SystemExit) as left:
        toy.fit(tmp_path, 10, checkpoint_every=None)
    assert left.value.code == 128 + number
    assert signal.getsignal(number) == usual
    assert "saved at step 7" in capsys.readouterr().err
    assert checkpoint(tmp_path)["step"] == 7


@pytest.mark.parametrize("when", ["last step", "last evaluation", "last save"])
def test_a_signal_at_the_very_end_is_heeded(tmp_path, when, monkeypatch):
    """What comes after this training, another member or another stage, is not to begin."""
    toy = Toy()
    toy.phases[0].repeat = 1
    if when == "last step":
        toy.before_loss = lambda turn: turn.step == 9 and signal.raise_signal(signal.SIGINT)
    elif when == "last save":
        monkeypatch.setattr("seqgan.training.save", lambda *arguments: signal.raise_signal(signal.SIGINT))
    hook = {10: lambda step: signal.raise_signal(signal.SIGINT)} if when == "last evaluation" else None
    with pytest.raises(SystemExit) as left:
        toy.fit(tmp_path, 10, checkpoint_every=None, every=hook)
    assert left.value.code == 130
    if when != "last save":
        assert checkpoint(tmp_path)["step"] == 10


def test_a_line_that_was_torn_is_passed_over(tmp_path):
    Toy().fit(tmp_path, 4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "adv')
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4]
    Toy().fit(tmp_path, 6)
    assert [line["step"] for line in metrics(tmp_path)] == [2, 4, 6]


def test_stopped_by_a_signal_and_resumed_it_ends_the_same(whole, tmp_path):
    toy, sent = Toy(), []

    def interrupt(turn):
        if turn.step == 6 and not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGINT)

    toy.before_loss = interrupt
    with pytest.raises(SystemExit):
        toy.fit(tmp_path, 10)
    Toy(seed=2).fit(tmp_path, 10)
    assert_same(checkpoint(tmp_path), checkpoint(whole))


def test_processes_that_a_run_starts_can_be_ended(tmp_path):
    """They inherit its handlers, and pools end their workers by SIGTERM."""
    codes, fork = [], multiprocessing.get_context("fork")

    def work(ready):
        ready.set()
        time.sleep(60)

    def hook(step):
        ready = fork.Event()
        worker = fork.Process(target=work, args=(ready,))
        worker.start()
        ready.wait(30)
        worker.terminate()
        worker.join(30)
        codes.append(worker.exitcode)

    Toy().fit(tmp_path, 2, every={2: hook})
    assert codes == [-signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_reaches_the_workers_too_loses_nothing(tmp_path, number):
    """A terminal sends it to every process of the group, and so do `timeout` and batch systems."""
    command = [sys.executable, "-m", "tests.core.toy", str(tmp_path), "1000000", "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stderr:
        if line.startswith("adversarial: 6/"):
            os.killpg(process.pid, number)
            break
    rest = process.stderr.read()
    assert process.wait() == 128 + number, rest
    assert "stopped and saved at step" in rest and "Traceback" not in rest
    assert checkpoint(tmp_path)["step"] >= 6


def test_a_second_interrupt_acts_at_once(tmp_path):
    toy = Toy()
    toy.before_loss = lambda turn: turn.step == 3 and signal.raise_signal(signal.SIGINT)  # twice, for two moves
    with pytest.raises(KeyboardInterrupt):
        toy.fit(tmp_path, 10)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path):
    Toy().fit(tmp_path, 8, checkpoint_every=4)
    newest = tmp_path / "checkpoints" / "adversarial-000000008.pt"
    content = bytearray(newest.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(byte ^ 1 for byte in content[middle : middle + 200])
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        Toy(seed=1).fit(tmp_path, 10)
    assert_same(checkpoint(tmp_path), checkpoint(whole))
    assert metrics(tmp_path) == metrics(whole)


def test_every_player_and_optimiser_is_saved(whole):
    saved = checkpoint(whole)
    toy = Toy()
    assert saved["modules"]["discriminator"][0].keys() == toy.discriminator.state_dict().keys()
    assert saved["modules"]["generator"][0].keys() == toy.generator.state_dict().keys()
    assert all("momentum_buffer" in entry for entry in saved["optimizers"]["discriminator"]["state"].values())
    assert all("exp_avg_sq" in entry for entry in saved["optimizers"]["generator"]["state"].values())
    assert len(saved["optimizers"]["generator"]["state"]) == len(list(toy.generator.parameters()))
    assert saved["state"].keys() == {"pool", "ema"} and saved["state"]["pool"]["fakes"].any()
    assert (
        saved["position"] == 20
    )  # two moves of the discriminator in each step, the generator shares the second's batch


def test_only_the_last_two_checkpoints_are_kept(whole):
    Toy().fit(whole / "again", 9, checkpoint_every=2)
    names = sorted(path.name for path in (whole / "again" / "checkpoints").iterdir())
    assert names == ["adversarial-000000008.pt", "adversarial-000000009.pt"]


def test_a_checkpoint_when_time_has_passed(tmp_path):
    Toy().fit(tmp_path, 3, checkpoint_every=None, checkpoint_seconds=0)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_the_time_to_the_next_checkpoint_begins_with_the_last(tmp_path, monkeypatch):
    saved, wait = [], stop_clock(monkeypatch)
    monkeypatch.setattr("seqgan.training.save", lambda folder, stage, step, state: saved.append(step))
    fit([alone(lambda turn: wait(100) or 1.0)], count_from, 8, tmp_path, checkpoint_seconds=250)
    assert saved == [3, 6, 8]


def test_a_finished_stage_is_loaded_and_the_next_begins_there(tmp_path):
    first = Toy().fit(tmp_path, 4, stage="warmup")
    weights = {name: tensor.clone() for name, tensor in first.generator.state_dict().items()}
    again = Toy(seed=3)
    again.before_loss = lambda turn: pytest.fail("a finished stage was trained again")
    again.fit(tmp_path, 4, stage="warmup")
    assert_same(dict(again.generator.state_dict()), weights)
    again.before_loss = lambda turn: None
    again.fit(tmp_path, 3, stage="adversarial")

    third = Toy(seed=4).fit(tmp_path, 4, stage="warmup").fit(tmp_path, 6, stage="adversarial")
    whole = Toy().fit(tmp_path / "whole", 4, stage="warmup").fit(tmp_path / "whole", 6, stage="adversarial")
    assert_same(dict(third.generator.state_dict()), dict(whole.generator.state_dict()))
    assert_same(checkpoint(tmp_path), checkpoint(tmp_path / "whole"))
    assert checkpoint(tmp_path, "warmup")["step"] == 4


def test_a_checkpoint_of_another_model_is_refused(whole):
    toy = Toy()
    toy.discriminator.append(torch.nn.Linear(1, 1))
    toy.phases[0].optimizer = torch.optim.RMSprop(toy.discriminator.parameters())
    with pytest.raises(ValueError, match="of another model"):
        toy.fit(whole, 12)
