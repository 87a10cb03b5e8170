"""Before SeqGAN's game: the oracle, real sequences and generated ones, maximum likelihood."""

import math

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from seqgan.text.networks import LSTMConfig
from seqgan.text.sampling import sample
from seqgan.text.seqgan import (
    Pool,
    RealAndFake,
    mle,
    negative_log_likelihood,
    oracle,
    random_oracle,
    scheduled_sampling,
)

from .seqgan_helpers import LENGTH, adam, assert_all_close, gradients, small_generator, some_tokens, turn

# The oracle


def random_arrays(vocabulary=7, embedding=3, hidden=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"g_embeddings": (vocabulary, embedding), "Wo": (hidden, vocabulary), "bo": (vocabulary,)}
    for gate in ("i", "f", "og", "c"):
        shapes |= {"W" + gate: (embedding, hidden), "U" + gate: (hidden, hidden), "b" + gate: (hidden,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def independent_log_probabilities(arrays, tokens):
    """The LSTM written out, one sequence and one token at a time, in float64."""
    p = {name: array.astype(np.float64) for name, array in arrays.items()}

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    found = np.zeros(tokens.shape)
    for row, sequence in enumerate(tokens):
        h, c, previous = np.zeros(len(p["bi"])), np.zeros(len(p["bi"])), 0
        for t, token in enumerate(sequence):
            x = p["g_embeddings"][previous]
            i, f, o, g = (x @ p["W" + k] + h @ p["U" + k] + p["b" + k] for k in ("i", "f", "og", "c"))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            logits = h @ p["Wo"] + p["bo"]
            found[row, t] = logits[token] - np.log(np.exp(logits).sum())
            previous = token
    return found


def test_the_oracle_of_a_file_is_the_lstm_of_the_paper(tmp_path):
    arrays = random_arrays()
    np.savez(tmp_path / "oracle.npz", **arrays)
    model = oracle(tmp_path / "oracle.npz")
    tokens = np.random.default_rng(1).integers(7, size=(5, 6))
    expected = independent_log_probabilities(arrays, tokens)
    np.testing.assert_allclose(model.log_probabilities(torch.from_numpy(tokens)).numpy(), expected, atol=1e-5)
    found = negative_log_likelihood(model, torch.from_numpy(tokens), rows=2)
    assert found == pytest.approx(-expected.mean(), abs=1e-5)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_what_is_no_oracle_is_told_with_its_name(tmp_path):
    arrays = random_arrays()
    cases = {
        "lacks.npz": {name: array for name, array in arrays.items() if name != "Uog"},
        "misfit.npz": arrays | {"Wo": arrays["Wo"][:-1]},
        "flat.npz": arrays | {"Wf": arrays["Wf"][0]},
        "gates.npz": arrays | {"bi": arrays["bi"][:-1]},
        "objects.npz": arrays | {"bo": np.array([None])},
    }
    for name, content in cases.items():
        np.savez(tmp_path / name, **content)
    (tmp_path / "text.npz").write_text("no arrays")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", arrays["Wo"])
    for name in [*cases, "text.npz", "empty.npz", "array.npy"]:
        with pytest.raises(ValueError, match=name):
            oracle(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        oracle(tmp_path / "nowhere.npz")


def test_an_oracle_of_ones_own_is_of_unit_weights():
    config = LSTMConfig(50, 8, 8)
    one, again, other = random_oracle(config, 1), random_oracle(config, 1), random_oracle(config, 2)
    tokens = sample(one, 400, LENGTH, generator=torch.Generator().manual_seed(0))
    assert negative_log_likelihood(one, tokens) == negative_log_likelihood(again, tokens)
    assert negative_log_likelihood(one, tokens) < math.log(50) - 0.5 < negative_log_likelihood(other, tokens)
    weights = torch.cat([one.embedding.weight.flatten(), one.lstm.weight_ih_l0.flatten(), one.output.weight.flatten()])
    assert weights.std().item() == pytest.approx(1, abs=0.1)


def test_the_biases_of_an_oracle_are_drawn_once():
    """PyTorch's second set of an LSTM would add to their variance."""
    assert not random_oracle(LSTMConfig(50, 8, 8), 1).lstm.bias_hh_l0.any()


# Data


def test_real_sequences_stand_beside_places_of_the_pool():
    data = RealAndFake(torch.arange(7)[:, None], size=5, seed=1)
    batch = default_collate([data[i] for i in range(35)])
    assert torch.bincount(batch["real"][:, 0]).tolist() == [5] * 7
    assert torch.bincount(batch["fake"]).tolist() == [7] * 5


def test_the_fakes_beside_real_sequences_are_in_an_order_of_their_own():
    data = RealAndFake(torch.arange(7)[:, None], size=7, seed=1)
    assert any(data[i]["real"].item() != data[i]["fake"] for i in range(7))


def test_the_pool_is_made_anew_by_the_generator_as_it_is_then():
    generator = small_generator()
    pool = Pool(generator, size=50, length=LENGTH, renew=2)
    places, random = torch.tensor([3, 3, 49]), torch.Generator().manual_seed(0)
    first = pool.draw(places, random)
    assert first.shape == (3, LENGTH) and torch.equal(first[0], first[1])
    with torch.no_grad():
        generator.output.bias[4] = 100.0
    assert torch.equal(pool.draw(places, random), first)
    again = Pool(generator, size=50, length=LENGTH, renew=2)
    again.load_state_dict(pool.state_dict())
    for each in (pool, again):
        assert (each.draw(places, random) == 4).all()


def test_the_pool_is_written_without_dropout():
    generator, random = small_generator(dropout=0.9), torch.Generator().manual_seed(0)
    drawn = Pool(generator.train(), 50, LENGTH, renew=1).draw(torch.arange(50), random)
    assert torch.equal(drawn, sample(generator.eval(), 50, LENGTH, generator=torch.Generator().manual_seed(0)))


# Likelihood


def test_mle_is_the_mean_negative_log_likelihood():
    generator, tokens = small_generator(), some_tokens()
    phase = mle(generator, adam(generator))
    terms = phase.loss(turn(tokens))
    assert terms.keys() == {"nll"} and phase.clip == 5
    assert terms["nll"].item() == pytest.approx(negative_log_likelihood(generator, tokens, rows=3), abs=1e-6)


def test_scheduled_sampling_of_the_truth_alone_is_mle():
    generator, tokens = small_generator(), some_tokens()
    phases = mle(generator, adam(generator)), scheduled_sampling(generator, adam(generator), lambda step: 1.0)
    losses = [phase.loss(turn(tokens))["nll"] for phase in phases]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6)
    assert_all_close(*(gradients(generator, loss) for loss in losses))


def test_scheduled_sampling_without_truth_reads_its_own_choices():
    """A generator that always chooses 4 reads 4s, and is still asked for the real tokens."""
    generator, tokens = small_generator(), some_tokens()
    with torch.no_grad():
        generator.output.bias[4] = 30.0
    asked = []
    phase = scheduled_sampling(generator, adam(generator), lambda step: asked.append(step) or 0.0)
    found = phase.loss(turn(tokens, step=17))["nll"]
    read = torch.cat([generator.start(4), torch.full((4, LENGTH - 1), 4)], 1)
    logits = generator.logits(generator(read)[0])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    torch.testing.assert_close(found, expected)
    assert set(asked) == {17}


def test_scheduled_sampling_mixes_by_its_probability():
    generator, tokens = small_generator(), torch.full((2000, 2), 3)
    with torch.no_grad():
        generator.output.bias[4] = 30.0
        generator.embedding.weight[3], generator.embedding.weight[4] = 5.0, -5.0
    now = turn(tokens)
    loss = scheduled_sampling(generator, adam(generator), lambda step: 0.7).loss(now)["nll"].item()
    with torch.no_grad():
        first, *second = (
            -generator.log_probabilities(torch.tensor([[previous, 3]]))[0, place].item()
            for previous, place in ((3, 0), (3, 1), (4, 1))
        )
    assert loss == pytest.approx((first + 0.7 * second[0] + 0.3 * second[1]) / 2, abs=0.05 * abs(second[0] - second[1]))
    assert now.watched["truth"] == 0.7
