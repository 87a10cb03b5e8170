"""Discriminators of sequences: their shapes, the paper's table of filters, and second derivatives."""

import pytest
import torch
import torch.nn.functional as F

from seqgan.text.discriminators import (
    FILTERS_20,
    AttentiveConfig,
    CNNConfig,
    CNNDiscriminator,
    ReadingDiscriminator,
    RecurrentConfig,
    RecurrentDiscriminator,
    StepwiseConfig,
    StepwiseDiscriminator,
    TransformerDiscriminator,
)
from seqgan.text.networks import LSTMConfig, LSTMGenerator, TransformerConfig, TransformerGenerator

VOCABULARY, TIME = 9, 6


def small(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "cnn":
        return CNNDiscriminator(CNNConfig(VOCABULARY, 5, ((1, 4), (2, 3), (6, 2)), spread=0.5))
    if kind == "recurrent":
        return RecurrentDiscriminator(RecurrentConfig(VOCABULARY, 5, 4, layers=2))
    return TransformerDiscriminator(AttentiveConfig(VOCABULARY, 8, 2, 2, length=TIME))


@pytest.fixture(params=["cnn", "recurrent", "attentive"])
def kind(request):
    return request.param


def some_tokens(batch=4, time=TIME):
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(0))


def test_a_score_for_each_sequence_whoever_stands_beside_it(kind):
    model, tokens = small(kind).eval(), some_tokens(5)
    scores = model(tokens)
    assert scores.shape == (5,) and scores.std() > 0
    torch.testing.assert_close(model(tokens.flip(0)).flip(0), scores)
    torch.testing.assert_close(model(tokens[2:3]), scores[2:3])


def test_every_token_and_its_place_count(kind):
    model, tokens = small(kind).eval(), some_tokens(1)
    scores = model(tokens)
    for t in range(TIME):
        changed = tokens.clone()
        changed[0, t] = (tokens[0, t] + 1) % VOCABULARY
        assert not torch.allclose(model(changed), scores), t
    assert not torch.allclose(model(tokens.roll(1, 1)), scores)


def test_scores_of_many_are_those_of_evaluation_and_leave_the_mode(kind):
    model, tokens = small(kind), some_tokens(7)
    found = model.score(tokens, rows=3)
    assert model.training and not found.requires_grad
    assert not torch.allclose(model(tokens), found), "in training it drops"
    torch.testing.assert_close(model.eval()(tokens).detach(), found)
    model.score(tokens)
    assert not model.training


def test_all_of_it_learns_to_tell_apart(kind):
    """Whether a sequence begins with token 1: each must come to it, and no parameter be left out."""
    model, tokens = small(kind), torch.randint(VOCABULARY, (256, TIME), generator=torch.Generator().manual_seed(1))
    tokens[::2, 0] = 1
    truth = (tokens[:, 0] == 1).float()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(100):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(tokens), truth).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    assert ((model.score(tokens) > 0) == truth.bool()).float().mean() > 0.85


def test_gradients_have_gradients(kind):
    """As a gradient penalty needs: the norm of the gradient can itself be made smaller."""
    model, tokens = small(kind), some_tokens()

    def norm():
        (found,) = torch.autograd.grad(model(tokens).sum(), model.embedding.weight, create_graph=True)
        return found.norm()

    torch.manual_seed(5)
    before = norm()
    before.backward()
    moved = [p for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(moved) > len(list(model.parameters())) / 3
    with torch.no_grad():
        for parameter in moved:
            parameter -= 1e-3 * parameter.grad / parameter.grad.norm()
    torch.manual_seed(5)  # the same dropout
    assert norm() < before


def test_second_derivatives_of_the_transformer_are_right():
    """d/dw of the gradient's norm against finite differences, in float64."""
    model, tokens = small("attentive").double().eval(), some_tokens()
    weight = model.output.weight

    def norm():
        return torch.autograd.grad(model(tokens).sum(), model.embedding.weight, create_graph=True)[0].norm()

    (found,) = torch.autograd.grad(norm(), weight)
    step = 1e-5
    for i in range(3):
        with torch.no_grad():
            weight[0, i] += step
        above = norm().item()
        with torch.no_grad():
            weight[0, i] -= 2 * step
        below = norm().item()
        with torch.no_grad():
            weight[0, i] += step
        assert found[0, i].item() == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-7)


def test_the_papers_filters():
    """Yu et al. 2017, for sequences of 20: 1,720 features."""
    assert [width for width, _ in FILTERS_20] == [*range(1, 11), 15, 20]
    assert sum(count for _, count in FILTERS_20) == 1720
    model = CNNDiscriminator()
    tokens = torch.randint(5000, (2, 20), generator=torch.Generator().manual_seed(0))
    assert model.features(tokens).shape == (2, 1720)
    assert model.config.dropout == 0.25 and model.embedding.weight.shape == (5000, 64)


@torch.no_grad()
def test_filters_are_a_convolution_and_its_maximum_over_time():
    model = small("cnn").eval()
    x = model.embedding(some_tokens()).transpose(1, 2)  # (batch, embedding, time)
    pooled = []
    for (width, count), layer in zip(model.config.filters, model.filters, strict=True):
        weight = layer.weight.view(count, width, -1).transpose(1, 2)
        pooled.append(F.relu(F.conv1d(x, weight, layer.bias)).amax(2))
    pooled = torch.cat(pooled, 1)
    gate, through = (pooled @ model.highway.weight.T + model.highway.bias).chunk(2, 1)
    expected = gate.sigmoid() * F.relu(through) + (1 - gate.sigmoid()) * pooled
    torch.testing.assert_close(model.features(some_tokens()), expected)


def test_a_file_brings_back_the_model(kind, tmp_path):
    model = small(kind).eval()
    again = type(model).load(model.save(tmp_path / "judge.safetensors"))
    assert again.config == model.config
    torch.testing.assert_close(again(some_tokens()), model(some_tokens()), atol=0.01, rtol=0.01)
    other = RecurrentDiscriminator if kind != "recurrent" else CNNDiscriminator
    with pytest.raises(ValueError, match="judge.safetensors"):
        other.load(tmp_path / "judge.safetensors")


def test_sequences_of_the_wrong_length():
    with pytest.raises(ValueError, match="5 tokens are shorter than the widest filter, 6"):
        small("cnn")(some_tokens(time=5))
    with pytest.raises(ValueError, match="a sequence of 7 tokens, but this model reads no more than 6"):
        small("attentive")(some_tokens(time=7))


@pytest.mark.parametrize("kind", ["stepwise", "a copy of an LSTM", "a copy of a transformer"])
def test_every_prefix_is_scored(kind):
    torch.manual_seed(0)
    if kind == "stepwise":
        model = StepwiseDiscriminator(StepwiseConfig(VOCABULARY, 5, 4))
    elif kind == "a copy of an LSTM":
        model = ReadingDiscriminator(LSTMGenerator(LSTMConfig(VOCABULARY, 5, 4)))
    else:
        model = ReadingDiscriminator(TransformerGenerator(TransformerConfig(VOCABULARY, 8, 2, 2, length=TIME + 1)))
    model, tokens = model.eval(), some_tokens(5)
    scores = model.score(tokens, rows=2)
    assert scores.shape == tokens.shape and scores.std() > 0
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % VOCABULARY
    different = (model(changed) != scores).all(0)
    assert different.tolist() == [False] * 3 + [True] * (TIME - 3), "what follows is not looked at"


def test_gates_begin_nearly_shut():
    """So that features pass as they are: a gate of sigmoid(-2), about an eighth."""
    network = small("cnn")
    total = sum(count for _, count in network.config.filters)
    assert network.highway.bias.tolist() == [-2] * total + [0] * total
