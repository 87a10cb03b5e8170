"""Steps of the game: modes, chance, what is averaged for the record, and what goes on after a break."""

import math

import pytest
import torch
from torch import nn

from seqgan.game import Game
from seqgan.training import fit

from .toy import alone, count_from, metrics


def test_a_player_s_own_data_go_on_where_they_were(tmp_path):
    def train(steps):
        seen = []
        phase = alone(lambda turn: seen.append(int(turn.batch)) or 1.0, data=count_from, repeat=2)
        fit([phase], None, steps, tmp_path)
        return seen

    assert train(2) == [0, 1, 2, 3]
    assert train(3) == [4, 5]


def test_every_rank_has_a_chance_of_its_own():
    drawn = []

    def draw(turn):
        drawn.append(torch.rand(1, generator=turn.generator).item())
        return 1.0

    game = Game([alone(draw)], count_from, {})
    for game.rank in (0, 1, 0):
        game.step = 0
        game.play()
    assert drawn[0] == drawn[2] != drawn[1]


def test_another_number_of_processes_is_told():
    game = Game([alone()], count_from, {})
    state = game.state_dict()
    game.load_state_dict(state)
    with pytest.warns(UserWarning, match="4 processes began, 1 go on: a step sees 0.25 times as many"):
        game.load_state_dict(state | {"ranks": 4})


def test_skipped_updates_count_only_in_a_row(tmp_path):
    fit([alone(lambda turn: math.nan if turn.step % 2 else 1.0)], count_from, 8, tmp_path, patience=2)


def test_updates_skipped_before_a_break_count_too(tmp_path):
    def train(steps):
        fit([alone(lambda turn: math.nan)], count_from, steps, tmp_path, patience=3)

    train(2)
    with pytest.raises(FloatingPointError, match="3 in a row, step 3"):
        train(9)


def test_what_is_not_finite_is_left_out_of_the_averages(tmp_path):
    def watch(turn):
        turn.log("odd", math.nan if turn.step == 1 else 2.0)
        return 1.0

    fit([alone(watch)], count_from, 3, tmp_path, log_every=3)
    assert metrics(tmp_path)[0]["p/odd"] == 2


def test_whatever_is_a_module_is_in_training_mode_until_it_is_looked_at(tmp_path):
    """Players, and modules that only belong to the run's state."""
    modes, norm = [], nn.BatchNorm1d(1).eval()

    def look(_):
        modes.append((player.training, norm.training))

    phase = alone(lambda turn: look(turn) or 1.0)
    player = phase.modules[0].eval()
    fit([phase], count_from, 1, tmp_path, state={"norm": norm}, every={1: look})
    assert modes == [(True, True), (False, False)]
