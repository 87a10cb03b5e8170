"""WGAN-GP on characters: its shortcuts against the plain computation, and that it learns."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from seqgan.game import Game
from seqgan.objectives import NonSaturating, Wasserstein
from seqgan.penalties import gradient_penalty
from seqgan.text.wgan_gp import (
    Block,
    CharacterGenerator,
    Critic,
    WGANConfig,
    column_penalty,
    encode,
    phases,
    rectified,
)
from seqgan.training import Stream

LINES = ["abcabc", "bcabca", "cabcab"]


def small(symbols="abc", length=6, **options):
    return WGANConfig(tuple(symbols), length, **({"latent": 8, "width": 16, "kernel": 3, "blocks": 2} | options))


def game(config, seed=0, **options):
    torch.manual_seed(seed)
    players = CharacterGenerator(config), Critic(config)
    optimizers = [torch.optim.Adam(player.parameters(), 2e-3, betas=(0.5, 0.9)) for player in players]
    data = Stream(encode(LINES * 4, config), 16, seed=seed)
    return players[0], Game(phases(*players, *optimizers, **options), data, {}, None, seed, "no")


def test_columns_are_distributions_and_lines_their_likeliest_characters():
    config = small("abcde", length=7)
    generator = CharacterGenerator(config)
    columns = generator(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    assert columns.shape == (3, 7, 5) and (columns > 0).all()
    torch.testing.assert_close(columns.sum(2), torch.ones(3, 7))
    lines = generator.write(3, torch.Generator().manual_seed(1), rows=2)
    assert lines == ["".join("abcde"[i] for i in row) for row in columns.argmax(2).tolist()]
    assert Critic(config)(columns).shape == (3,)


def test_a_block_adds_so_much_of_what_it_makes():
    nothing, half, whole = (Block(small(scale=scale)) for scale in (0.0, 0.5, 1.0))
    half.load_state_dict(whole.state_dict())
    x = torch.randn(2, 16, 6)
    assert torch.equal(nothing(x), x)
    torch.testing.assert_close(half(x) - x, 0.5 * (whole(x) - x))


def test_tokens_are_one_hot_columns_to_the_critic():
    critic, tokens = Critic(small("abcde")), torch.tensor([[0, 1, 2, 3, 4, 0], [4, 4, 1, 0, 0, 2]])
    torch.testing.assert_close(critic(tokens), critic(F.one_hot(tokens, 5).float()))
    swapped = tokens[:, [1, 0, 2, 3, 4, 5]]
    assert (critic(tokens) - critic(swapped)).abs().max() > 1e-4, "the order of characters counts"


def test_rectified_is_relu_without_a_way_back_from_its_gradient():
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0], requires_grad=True)
    assert rectified(x).tolist() == torch.relu(x).tolist() == [0, 0, 0, 3]
    factor = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    for function, needless in ((rectified, False), (torch.relu, True)):
        (gradient,) = torch.autograd.grad((factor * function(x)).sum(), x, create_graph=True)
        assert gradient.tolist() == [0, 0, 0, 4]
        back, of_factor = torch.autograd.grad(gradient.sum(), (x, factor), allow_unused=True)
        assert (back is not None) == needless
        assert of_factor.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("symbols", ["abcde", "abcdefghijklmnopqrstuvwxyz0123456789"], ids=["few", "more than width"])
def test_the_penalty_is_that_of_whole_columns(symbols):
    """In value and in the gradient of every weight, though it never makes a column."""
    torch.manual_seed(0)
    config = small(symbols)
    critic, generator = Critic(config).double(), CharacterGenerator(config).double()
    tokens, columns = torch.randint(len(symbols), (4, 6)), generator(torch.randn(4, 8).double()).detach()
    one_hot = F.one_hot(tokens, len(symbols)).double()
    weights = [weight for name, weight in critic.named_parameters() if "bias" not in name]
    found = []
    for penalty in (
        column_penalty(critic, tokens, columns, torch.Generator().manual_seed(3)),
        gradient_penalty(critic, one_hot, columns, generator=torch.Generator().manual_seed(3)),
    ):
        found.append((penalty, *torch.autograd.grad(penalty, weights)))
    assert found[0][0] > 0.01 and all(gradient.abs().max() > 1e-6 for gradient in found[0][1:])
    for own, plain in zip(*found, strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-9, atol=1e-12)


def test_it_learns_all_lines_of_a_small_language():
    generator, played = game(small(), objective=Wasserstein(), critic_steps=3)
    before = generator.write(200, torch.Generator().manual_seed(0))
    assert sum(line in LINES for line in before) < 20
    for _ in range(150):
        played.play()
    after = generator.write(200, torch.Generator().manual_seed(0))
    assert sum(line in LINES for line in after) > 120
    assert set(LINES) <= set(after), "none is left out"
    told = played.report()
    assert {"critic/adversary", "critic/penalty", "critic/distance", "critic/accuracy"} < told.keys()
    assert told["critic/distance"] == pytest.approx(-told["critic/adversary"], rel=1e-5)


def test_the_classifier_wins_at_once():
    _, played = game(small(), objective=NonSaturating(), weight=0.0, critic_steps=1)
    for _ in range(40):
        played.play()
    played.report()
    for _ in range(20):
        played.play()
    told = played.report()
    assert told["critic/accuracy"] > 0.99 and told["critic/adversary"] < 0.5
    assert "critic/penalty" not in told


def test_the_critic_moves_so_often_on_a_batch_of_its_own_each_time():
    generator, played = game(small(), objective=Wasserstein(), critic_steps=4)
    critic = played.phases[0].modules[0]
    seen = []
    critic.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    played.play()
    real = [lines for lines in seen if lines.dim() == 2]
    fake = [lines for lines in seen if lines.dim() == 3]
    assert len(real) == 4 and played.feed.position == 4
    assert len(fake) == 5 and not any(torch.equal(fake[0], other) for other in fake[1:])
    assert [columns.requires_grad for columns in fake] == [False] * 4 + [True], "nothing is sampled or cut off"


def test_lines_are_filled_up_and_never_cut():
    config = small("ab ", length=4)
    assert encode(["ab", "abab"], config).tolist() == [[0, 1, 2, 2], [0, 1, 0, 1]]
    with pytest.raises(ValueError, match="5 characters does not fit into 4"):
        encode(["ab", "ababa"], config)
    with pytest.raises(ValueError, match="lacks the character 'x'"):
        encode(["ax"], config)
    with pytest.raises(ValueError, match="lacks the character ' '"):
        encode(["a"], small("ab", length=4))


@pytest.mark.parametrize("vocabulary", [(), ("a", "a"), ("ab",)])
def test_what_is_no_vocabulary(vocabulary):
    with pytest.raises(ValueError):
        WGANConfig(vocabulary)


def test_settings_that_would_take_all_memory():
    with pytest.raises(ValueError, match="parameters"):
        small(width=2**20)


def test_a_file_has_the_vocabulary(tmp_path):
    config = small("春夏 秋冬\"'", length=5)
    torch.manual_seed(0)
    generator = CharacterGenerator(config)
    with torch.no_grad():  # as a file has them
        for parameter in generator.parameters():
            parameter.copy_(parameter.half())
    again = CharacterGenerator.load(generator.save(tmp_path / "model.safetensors"))
    assert again.config == config and not again.training
    lines = again.write(20, torch.Generator().manual_seed(0))
    assert lines == generator.write(20, torch.Generator().manual_seed(0))
    assert len(set(lines)) > 10


def test_what_is_watched_is_of_all_pairs():
    """Real lines are scored 1 and 3, generated ones 2 and 0: in three of four pairs the real one is higher."""

    class Scores(torch.nn.Module):
        def forward(self, lines):
            return torch.tensor([2.0, 0.0] if lines.dim() == 3 else [1.0, 3.0])

    generator, logged = CharacterGenerator(small()), {}
    turn = SimpleNamespace(batch=torch.zeros(2, 6, dtype=torch.int64), generator=None, log=logged.__setitem__)
    terms = phases(generator, Scores(), None, None, objective=Wasserstein(), weight=0)[0].loss(turn)
    assert logged == {"distance": 1.0, "accuracy": 0.75} and terms == {"adversary": -1.0}
