"""The loop's promises: who moves when, on what, and that looking changes nothing."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from seqgan.checkpoint import latest
from seqgan.objectives import NonSaturating
from seqgan.training import EMA, Phase, fit

from .toy import Toy, alone, assert_same, count_from, metrics, scalar

# -- turns


def test_phases_share_the_batch_and_each_repeat_draws_a_fresh_one(tmp_path):
    seen = []
    player, optimizer = scalar()

    def watch(name):
        def loss(turn):
            seen.append((turn.step, name, int(turn.batch), turn.share.get("made")))
            turn.share["made"] = int(turn.batch)
            return {"zero": 0 * player.weight.sum()}

        return loss

    phases = [
        Phase("critic", [player], optimizer, watch("critic"), repeat=2),
        Phase("generator", [player], optimizer, watch("generator")),
        Phase("lazy", [player], optimizer, watch("lazy"), every=2, data=lambda position: count_from(100 + position)),
    ]
    fit(phases, count_from, 3, tmp_path)
    assert seen == [
        (0, "critic", 0, None),
        (0, "critic", 1, None),  # what was made for batch 0 is gone
        (0, "generator", 1, 1),
        (0, "lazy", 100, 1),
        (1, "critic", 2, None),
        (1, "critic", 3, None),
        (1, "generator", 3, 3),
        (2, "critic", 4, None),
        (2, "critic", 5, None),
        (2, "generator", 5, 5),
        (2, "lazy", 101, 5),
    ]


def test_accelerate_scales_no_gradient(tmp_path, monkeypatch):
    """Whatever a saved `accelerate config` says of accumulation."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    player, optimizer = scalar(learning_rate=0.5)
    before = player.weight.item()
    fit([Phase("p", [player], optimizer, lambda turn: {"one": player.weight.sum()})], count_from, 1, tmp_path)
    assert player.weight.item() == pytest.approx(before - 0.5)


def test_terms_are_summed_scaled_by_every_scheduled_and_logged_unscaled(tmp_path):
    player, optimizer = scalar(learning_rate=0.5)

    def loss(turn):
        turn.log("watched", player.weight.sum() * 0 + turn.step)
        return {"one": player.weight.sum(), "two": 2 * player.weight.sum()}

    phase = Phase("p", [player], optimizer, loss, every=2, schedule=lambda step: 1 if step == 0 else 0.1)
    fit([phase], count_from, 4, tmp_path, log_every=4)
    assert player.weight.item() == pytest.approx(-(0.5 + 0.05) * 2 * 3)  # moves at steps 0 and 2
    (line,) = metrics(tmp_path)
    assert line["p/watched"] == 1 and line["p/gradient_norm"] == 6 and line["p/skipped"] == 0
    assert line["p/one"] == pytest.approx(-1.5) and line["p/two"] == pytest.approx(-3)
    assert line["p/learning_rate"] == pytest.approx(0.275)


def test_a_schedule_is_of_the_first_rate(tmp_path):
    player, optimizer = scalar(learning_rate=0.5)
    before = player.weight.item()
    phase = Phase("p", [player], optimizer, lambda turn: {"x": player.weight.sum()}, schedule=lambda step: 0.5)
    fit([phase], count_from, 3, tmp_path)
    assert player.weight.item() == pytest.approx(before - 3 * 0.25), "and not of what it made of it before"


def test_clip_bounds_the_gradient_and_after_follows_the_update(tmp_path):
    player, optimizer = scalar()
    after = []
    phase = Phase("p", [player], optimizer, lambda turn: {"x": 100 * player.weight.sum()}, clip=0.25)
    phase.after = lambda: after.append(player.weight.item())
    fit([phase], count_from, 2, tmp_path)
    assert after == pytest.approx([-0.25, -0.5], rel=1e-4)


def test_every_other_player_is_frozen(tmp_path):
    """Here the discriminator's loss is not detached from the generator: the generator gets no gradient all the same."""
    toy = Toy()
    before = {name: p.clone() for name, p in toy.generator.named_parameters()}

    def loss(turn):
        return {"game": NonSaturating().discriminator(toy.discriminator(turn.batch), toy.discriminator(toy.fake(turn)))}

    toy.phases = [Phase("discriminator", [toy.discriminator], toy.phases[0].optimizer, loss)]
    toy.fit(tmp_path, 3)
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in toy.generator.named_parameters())
    assert all(p.grad is not None for p in toy.discriminator.parameters())


def test_a_fake_made_in_the_discriminators_turn_still_trains_the_generator(tmp_path):
    """The same as made anew, where the generator has neither dropout nor statistics that move."""
    z = torch.randn(4, 4)

    def trained(share: bool, run):
        toy = Toy()
        toy.fake = lambda turn: turn.share.setdefault("fake", toy.generator(z)) if share else toy.generator(z)
        toy.before_loss = lambda turn: [toy.generator[part].train(False) for part in (1, 3)]
        toy.phases[0].repeat = 1
        return toy.fit(run, 4).generator.state_dict()

    assert_same(dict(trained(True, tmp_path / "a")), dict(trained(False, tmp_path / "b")))


def test_randomness_is_a_function_of_seed_and_step(tmp_path):
    def drawn(seed: int, run) -> list:
        player, optimizer = scalar()
        numbers = []

        def loss(turn):
            own = torch.rand((), generator=turn.generator).item()
            numbers.append((own, torch.rand(()).item(), np.random.rand(), random.random()))
            return {"x": player.weight.sum()}

        fit([Phase("p", [player], optimizer, loss)], count_from, 3, run, seed=seed)
        return numbers

    first = drawn(1, tmp_path / "a")
    assert first == drawn(1, tmp_path / "b")
    assert len({number for numbers in first + drawn(2, tmp_path / "c") for number in numbers}) == 24


# -- the guard


@pytest.mark.parametrize("poison", ["loss", "constant", "gradient", "batch"])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path, poison, capsys):
    toy = Toy()
    kept = {}

    def snapshot(step):
        game = {"g": dict(toy.generator.state_dict()), "d": dict(toy.discriminator.state_dict())}
        game["optimizers"] = [phase.optimizer.state_dict() for phase in toy.phases]
        kept[step] = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, game)

    def spoiled(loss):
        def poisoned(turn):
            if turn.step == 3 and poison == "batch":
                turn.batch = turn.batch * math.nan
                turn.share["fake"] = toy.generator(torch.full((4, 4), math.nan))
            terms = loss(turn)
            player = toy.generator if loss == toy.generator_loss else toy.discriminator
            if turn.step == 3 and poison == "loss":
                terms["game"] = terms["game"] * math.inf
            if turn.step == 3 and poison == "constant":
                terms["corner"] = torch.tensor(math.inf)  # whose gradient is 0
            if turn.step == 3 and poison == "gradient":
                terms["corner"] = (0 * next(player.parameters()).sum()).abs().sqrt()  # 0, with the gradient 0 / 0
            return terms

        return poisoned

    for phase in toy.phases:
        phase.loss = spoiled(phase.loss)
    toy.ema = EMA(nn.Linear(1, 1))
    toy.fit(tmp_path, 5, every={1: snapshot}, log_every=5)
    assert_same(kept[4], kept[3])
    assert not torch.equal(kept[5]["g"]["0.weight"], kept[4]["g"]["0.weight"])
    line = metrics(tmp_path)[-1]
    moves = 1 + 4 * toy.phases[0].repeat  # of the discriminator, which goes first
    assert line["discriminator/skipped"] == pytest.approx(1 / moves) and line["generator/skipped"] == 0
    assert "phase 'discriminator': loss or gradient is not finite, update skipped (1 in a" in capsys.readouterr().err


def test_after_a_skipped_update_nobody_moves_before_the_next_step(tmp_path):
    """What the others would need, the one that failed may not have made."""
    player, optimizer = scalar()
    moved = []

    def first(turn):
        turn.share["made"] = turn.step
        return {"loss": player.weight.sum() * (math.nan if turn.step == 1 else 0)}

    def second(turn):
        moved.append(turn.share["made"])
        return {"loss": 0 * player.weight.sum()}

    fit(
        [Phase("first", [player], optimizer, first), Phase("second", [player], optimizer, second)],
        count_from,
        3,
        tmp_path,
    )
    assert moved == [0, 2]


def test_it_stops_clearly_after_too_many_in_a_row(tmp_path):
    toy, healthy = Toy(), Toy().fit(tmp_path / "healthy", 4)
    healthy = dict(healthy.discriminator.named_parameters())
    toy.before_loss = lambda turn: turn.batch.mul_(math.nan if turn.step >= 4 else 1)
    with pytest.raises(FloatingPointError, match="discriminator.*not finite.*in a row, step 10"):
        toy.fit(tmp_path, 50, patience=6, checkpoint_every=None)
    saved = latest(tmp_path / "checkpoints", "adversarial")[1]
    assert saved["step"] == 10
    assert all(torch.equal(saved["modules"]["discriminator"][0][name], weight) for name, weight in healthy.items())
    assert all(tensor.isfinite().all() for tensor in saved["modules"]["generator"][0].values())


# -- precision, errors, output


def test_bf16_is_autocast_around_the_losses_only(tmp_path):
    dtypes = []
    toy = Toy()
    toy.before_loss = lambda turn: dtypes.append(toy.discriminator(turn.batch).dtype)
    toy.fit(tmp_path, 2, precision="bf16")
    assert set(dtypes) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 and p.grad.dtype == torch.float32 for p in toy.generator.parameters())


def test_errors_say_what_is_wrong(tmp_path):
    toy, (player, optimizer) = Toy(), scalar()
    good = Phase("p", [player], optimizer, lambda turn: {"x": player.weight.sum()})
    wrong = [
        ("name of its own", [good, good], {}),
        ("needs phases", [], {}),
        ("no others", [Phase("p", [toy.generator], optimizer, good.loss)], {}),
        ("count from 1", [Phase("p", [player], optimizer, good.loss, repeat=0)], {}),
        ("count from 1", [Phase("p", [player], optimizer, good.loss, every=0)], {}),
        ("no state_dict", [good], {"state": {"pool": []}}),
        ("not 'fp16'", [good], {"precision": "fp16"}),
        ("does not depend", [Phase("p", [player], optimizer, lambda turn: {"x": toy.generator[0].bias.sum()})], {}),
        ("does not depend", [Phase("p", [player], optimizer, lambda turn: {})], {}),
    ]
    for message, phases, options in wrong:
        with pytest.raises(ValueError, match=message):
            fit(phases, count_from, 1, tmp_path, **options)
    with pytest.raises(ValueError, match="'p' has no data"):
        fit([good], None, 1, tmp_path)
    with pytest.raises(ValueError, match="no batch at position 0"):
        fit([good], lambda position: [], 1, tmp_path)


@pytest.mark.parametrize("options", [{"log_every": 0}, {"every": {0: lambda step: None}}], ids=["log", "hook"])
def test_intervals_count_from_1(options, tmp_path):
    with pytest.raises(ValueError, match="count from 1"):
        fit([alone()], count_from, 1, tmp_path, **options)


def test_the_average_s_name_in_a_run_s_state_is_taken(tmp_path):
    """Another state of this name would not be saved."""
    with pytest.raises(ValueError, match="ema"):
        Toy().fit(tmp_path, 1, state={"ema": EMA(nn.Linear(1, 1))})


def test_the_last_step_is_recorded_whatever_the_interval(tmp_path):
    fit([alone()], count_from, 3, tmp_path, log_every=2)
    assert [line["step"] for line in metrics(tmp_path)] == [2, 3]


def test_the_game_is_won(tmp_path):
    """The generator of the toy moves from the origin to the data's mean of (3, -1)."""
    toy = Toy()
    toy.phases[1].schedule = None
    z = torch.randn(2000, 4)
    scores = []

    def distance(step):
        scores.append((toy.generator(z).mean(dim=0) - torch.tensor([3.0, -1.0])).norm().item())
        return {"distance": scores[-1]}

    toy.fit(tmp_path, 400, every={4: distance}, log_every=100, checkpoint_every=None)
    assert scores[0] > 2.5
    assert sum(scores[-12:]) / 12 < 0.8
