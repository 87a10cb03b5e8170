"""Generators: what they are told in one piece and what they are told token by token must be the same."""

import itertools

import pytest
import torch

from seqgan.checkpoint import save_weights
from seqgan.rollout import follow, join, play, rollouts, select
from seqgan.text.networks import (
    ROWS,
    LSTMConfig,
    LSTMGenerator,
    TransformerConfig,
    TransformerGenerator,
    likelihood,
    load_generator,
    without_dropout,
)

VOCABULARY, TIME = 11, 7


def generator(kind, seed=0, vocabulary=VOCABULARY, dropout=0.3, start=2):
    """With weights large enough for its choices to depend on all that it has read."""
    torch.manual_seed(seed)
    if kind == "lstm":
        config = LSTMConfig(vocabulary, 6, 5, layers=2, dropout=dropout, start=start, spread=1.0)
        made = LSTMGenerator(config)
    else:
        made = TransformerGenerator(
            TransformerConfig(vocabulary, 12, 3, 2, length=TIME + 1, dropout=dropout, start=start)
        )
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


@pytest.fixture(params=["lstm", "transformer"])
def kind(request):
    return request.param


def some_tokens(batch=4, time=TIME, seed=0):
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_reading_in_pieces_is_reading_the_whole(kind):
    """Token by token and several at once, from a state: for a Transformer, the cache against the full forward pass."""
    model, tokens = generator(kind), some_tokens()
    whole, _ = model(tokens)
    for sizes in ([1] * TIME, [3, 1, 3], [2, 5]):
        state, found = None, []
        for part in tokens.split(sizes, 1):
            features, state = model(part, state)
            found.append(features)
        torch.testing.assert_close(torch.cat(found, 1), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_nothing_is_read_before_its_time(kind):
    model, tokens = generator(kind), some_tokens()
    changed = tokens.clone()
    changed[:, 4] = (tokens[:, 4] + 1) % VOCABULARY
    before, after = model(tokens)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert ((before[:, 4:] - after[:, 4:]).abs().amax(2) > 1e-4).all(), "and everything after it depends on it"


@torch.no_grad()
def test_rows_of_a_state_can_be_selected_repeated_and_joined(kind):
    model, tokens = generator(kind), some_tokens()
    _, state = model(tokens[:, :3])
    _, other = model(tokens[[3, 0], :3])
    index = torch.tensor([2, 0, 2])
    found, _ = model(tokens[[2, 0, 2, 3, 0], 3:], join(select(state, index), other))
    whole, _ = model(tokens[[2, 0, 2, 3, 0]])
    torch.testing.assert_close(found, whole[:, 3:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rollouts_from_saved_states_are_sequences_read_from_the_start(kind):
    model, tokens = generator(kind), some_tokens()

    def likeliest(features, chosen):
        return model.logits(features).argmax(1)

    found = rollouts(model, follow(model, model.start(4), tokens), likeliest, 3)
    for length in range(1, TIME):
        prompt = torch.cat([model.start(4), tokens[:, :length]], 1)
        for _ in range(length, TIME):  # nothing kept from one token to the next
            prompt = torch.cat([prompt, model.logits(model(prompt)[0][:, -1:]).argmax(2)], 1)
        assert torch.equal(found[length - 1], prompt[:, 1:].expand(3, -1, -1))


@torch.no_grad()
def test_probabilities_of_all_sequences_are_1_together(kind):
    model = generator(kind, vocabulary=4)
    tokens = torch.tensor(list(itertools.product(range(4), repeat=4)))
    assert model.log_probabilities(tokens).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_log_probabilities_are_of_each_token_after_those_before_it(kind):
    model, tokens = generator(kind), some_tokens()
    found = model.log_probabilities(tokens)
    for t in range(TIME):
        prompt = torch.cat([model.start(4), tokens[:, :t]], 1)
        expected = model.logits(model(prompt)[0][:, -1]).log_softmax(1).gather(1, tokens[:, t : t + 1])[:, 0]
        torch.testing.assert_close(found[:, t], expected, atol=1e-5, rtol=1e-5)
    assert model.start(3).tolist() == [[2]] * 3


def test_likelihood_a_few_rows_at_a_time_is_the_same_and_so_is_its_gradient():
    model, batch = generator("lstm", dropout=0.0), ROWS // 4 + 1
    tokens = some_tokens(batch)
    found = likelihood(model, model.read(tokens), tokens)
    expected = model.logits(model.read(tokens)).log_softmax(2).gather(2, tokens[:, :, None])[..., 0]
    torch.testing.assert_close(found, expected)
    parameters = list(model.parameters())
    weights = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0))
    pairs = [torch.autograd.grad((weights * each).sum(), parameters) for each in (found, expected)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_without_dropout_for_a_while(kind):
    model, tokens = generator(kind, dropout=0.5), some_tokens()
    expected = model(tokens)[0]
    model.train()
    with without_dropout(model):
        torch.testing.assert_close(model(tokens)[0], expected)
    assert not torch.allclose(model(tokens)[0], model(tokens)[0]), "afterwards it drops again"
    with pytest.raises(KeyError), without_dropout(model):
        raise KeyError
    assert not torch.allclose(model(tokens)[0], model(tokens)[0]), "after a failure too"


def test_a_policy_gradient_can_be_taken_of_sampled_sequences(kind):
    model = generator(kind)
    path = play(model, model.start(3), TIME, lambda features, chosen: model.logits(features).argmax(1))
    model.log_probabilities(path.tokens).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_file_brings_back_the_model(kind, tmp_path):
    model = generator(kind)
    again = load_generator(model.save(tmp_path / "model.safetensors"))
    assert type(again) is type(model) and again.config == model.config and not again.training
    torch.testing.assert_close(
        again.log_probabilities(some_tokens()), model.log_probabilities(some_tokens()), atol=0.02, rtol=0.02
    )


def test_a_file_of_another_kind_is_told(tmp_path):
    path = generator("lstm").save(tmp_path / "lstm.safetensors")
    with pytest.raises(ValueError, match="lstm.safetensors"):
        TransformerGenerator.load(path)
    save_weights(path, torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="lstm.safetensors is not a generator"):
        load_generator(path)


def test_what_a_transformer_cannot_read():
    model = generator("transformer")
    with pytest.raises(ValueError, match="a sequence of 9 tokens, but this model reads no more than 8"):
        model(some_tokens(time=TIME + 2))
    _, state = model(some_tokens())
    with pytest.raises(ValueError, match="9 tokens"):
        model(some_tokens(time=2), state)
    with pytest.raises(ValueError, match="width 10 cannot be shared out among 4 heads"):
        TransformerConfig(width=10, heads=4)


def test_the_papers_generator():
    """32-dimensional embedding and state, 5,000 words."""
    model = LSTMGenerator()
    assert model.embedding.weight.shape == (5000, 32) and model.output.weight.shape == (5000, 32)
    assert model.lstm.hidden_size == 32 and model.lstm.num_layers == 1


@pytest.mark.parametrize(
    "config, sizes",
    [
        (LSTMConfig, {"hidden": 1 << 20}),
        (LSTMConfig, {"layers": 1 << 20}),
        (TransformerConfig, {"width": 1 << 20}),
        (TransformerConfig, {"vocabulary": 1 << 40}),
    ],
)
def test_sizes_that_no_generator_has_are_refused(config, sizes):
    with pytest.raises(ValueError, match="parameters"):
        config(**sizes)


@pytest.mark.parametrize("config", [LSTMConfig, TransformerConfig])
@pytest.mark.parametrize("start", [-1, 5000])
def test_a_start_token_that_is_none_is_refused(config, start):
    with pytest.raises(ValueError, match=f"start token {start}"):
        config(start=start)


def test_weights_begin_as_gpt_2_s():
    """N(0, 0.02), and smaller by the root of all that is added to the stream where it is added."""
    torch.manual_seed(0)
    weights = dict(TransformerGenerator(TransformerConfig(50, 64, 4, 8, length=8)).named_parameters())
    for name, expected in (("embedding", 0.02), ("blocks.3.merge", 0.02 / 4), ("blocks.3.dense.2", 0.02 / 4)):
        assert weights[f"{name}.weight"].std().item() == pytest.approx(expected, rel=0.1)
