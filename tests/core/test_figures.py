"""Curves of what runs recorded."""

import json

import pytest

from seqgan.figures import draw_curves, new_figure

pytest.importorskip("matplotlib")


def test_curves_leave_out_what_was_not_recorded(tmp_path):
    lines = [{"step": 1, "a": 2.0}, {"step": 2, "a": None}, {"step": 3, "a": 1.0, "b": 0.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    axis = new_figure(2, 2).subplots()
    draw_curves(axis, {"run": tmp_path}, {"a": "D", "b": "", "c": "none"}, "losses")
    assert [line.get_label() for line in axis.get_lines()] == ["run D", "run"]
    assert axis.get_lines()[0].get_xydata().tolist() == [[1, 2], [3, 1]]
