"""What a run tells while it goes: lines of metrics, events, and how far it is."""

import io
import sys

import pytest

from seqgan.record import Record, read_metrics
from seqgan.training import fit

from .toy import Toy, alone, count_from, metrics, stop_clock


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    with Record(tmp_path, "mle", 8) as record:
        record.write(1, {"x": 1.0}, 0.0)
        assert len(read_metrics(tmp_path)) == 1


def test_a_stage_keeps_the_lines_of_the_stage_before(tmp_path):
    for stage, steps in (("mle", 4), ("adversarial", 2)):
        fit([alone()], count_from, steps, tmp_path, stage=stage, log_every=2)
    assert [(line["stage"], line["step"]) for line in metrics(tmp_path)] == [("mle", 2), ("mle", 4), ("adversarial", 2)]


def test_seconds_are_of_training_evaluations_and_earlier_sittings(tmp_path, monkeypatch):
    wait = stop_clock(monkeypatch)
    for steps in (2, 3):
        phase = alone(lambda turn: wait(1.0) or 1.0)
        fit([phase], count_from, steps, tmp_path, log_every=1, every={2: lambda step: wait(10.0)})
        wait(100.0)
    assert [line["seconds"] for line in read_metrics(tmp_path)] == [1, 2, 13]


def test_the_time_left_is_by_the_pace_of_this_sitting(tmp_path, monkeypatch, capsys):
    wait = stop_clock(monkeypatch)
    with Record(tmp_path, "mle", 8, start=2) as record:
        wait(3000)
        record.progress(4, {})
    assert "4/8  1:40:00 left" in capsys.readouterr().err, "four steps, each of 1500 seconds"


def test_progress_is_plain_lines_on_stderr_with_the_time_left(tmp_path, capsys):
    Toy().fit(tmp_path, 4)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("adversarial: 2/4  0:00:0") and " left  " in lines[0]
    assert "generator/game" in lines[0] and "gradient_norm" not in lines[0]


def test_on_a_terminal_there_is_a_bar(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    Toy().fit(tmp_path, 4)
    shown = sys.stderr.getvalue()
    assert "\x1b[" in shown and "4/4" in shown and "0:00:00 left" in shown
    assert "adversarial: 2/4" in shown


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Toy().fit(tmp_path, 4, every={4: lambda step: {"score": 2.5}})
    events = EventAccumulator(str(tmp_path / "tensorboard" / "adversarial"))
    events.Reload()
    assert [event.step for event in events.Scalars("generator/game")] == [2, 4]
    assert events.Scalars("score")[0].value == 2.5


def test_events_past_the_checkpoint_are_superseded(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Toy().fit(tmp_path, 6, checkpoint_every=3, log_every=1)
    (tmp_path / "checkpoints" / "adversarial-000000006.pt").unlink()
    Toy().fit(tmp_path, 5, log_every=1)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "adversarial"))
    events.Reload()
    assert [event.step for event in events.Scalars("generator/game")] == [1, 2, 3, 4, 5]
