"""SeqGAN piece by piece, then whole: it learns, and a run that was stopped ends as the one that was not."""

import math

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from seqgan.checkpoint import latest
from seqgan.game import Turn
from seqgan.policy import LearnedValue, MovingAverage, reinforce
from seqgan.text.discriminators import CNNConfig, CNNDiscriminator, RecurrentConfig, RecurrentDiscriminator
from seqgan.text.metrics import References
from seqgan.text.networks import LSTMConfig, LSTMGenerator
from seqgan.text.sampling import sample
from seqgan.text.seqgan import (
    Lagging,
    Pool,
    RealAndFake,
    Sequences,
    bleu,
    by_rollouts,
    constant,
    discriminate,
    mle,
    negative_log_likelihood,
    oracle,
    policy_gradient,
    random_oracle,
    realness,
    scheduled_sampling,
)
from seqgan.training import Stream, fit

VOCABULARY, LENGTH = 6, 5


def small_generator(seed=0, **options):
    torch.manual_seed(seed)
    return LSTMGenerator(LSTMConfig(VOCABULARY, 8, 16, **options))


def small_discriminator(seed=0):
    torch.manual_seed(seed)
    return CNNDiscriminator(CNNConfig(VOCABULARY, 8, ((1, 8), (2, 16), (3, 8))))


def adam(module, rate=0.01):
    return torch.optim.Adam(module.parameters(), rate)


def turn(batch=None, step=0, seed=0):
    return Turn(batch, step, torch.Generator().manual_seed(seed), {})


def some_tokens(batch=4, seed=0):
    return torch.randint(VOCABULARY, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def gradients(module, loss):
    return torch.autograd.grad(loss, list(module.parameters()))


def assert_all_close(left, right):
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other)


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


# Data


def test_every_epoch_has_each_sequence_once_in_another_order():
    tokens = torch.arange(7)[:, None].expand(-1, 3)
    data = Sequences(tokens, seed=1)
    epochs = [torch.stack([data[i] for i in range(start, start + 7)])[:, 0].tolist() for start in (0, 7)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(7)) and epochs[0] != epochs[1]
    assert torch.equal(data[3], Sequences(tokens, seed=1)[3])


def test_real_sequences_stand_beside_places_of_the_pool():
    data = RealAndFake(torch.arange(7)[:, None], size=5, seed=1)
    batch = default_collate([data[i] for i in range(35)])
    assert torch.bincount(batch["real"][:, 0]).tolist() == [5] * 7
    assert torch.bincount(batch["fake"]).tolist() == [7] * 5


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


# Likelihood


def test_mle_is_the_mean_negative_log_likelihood():
    generator, tokens = small_generator(), some_tokens()
    terms = mle(generator, adam(generator)).loss(turn(tokens))
    assert terms.keys() == {"nll"}
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


# Rewards


def test_the_constant_reward_is_1_whatever_was_chosen():
    assert constant(some_tokens(), torch.Generator()).tolist() == [[1.0] * LENGTH] * 4


def test_without_rollouts_each_choice_answers_for_its_sequence():
    tokens = some_tokens()
    found = by_rollouts(small_generator(), lambda tokens: tokens[:, -1] * 2.0, 0)(tokens, torch.Generator())
    assert torch.equal(found, tokens[:, -1:].expand(-1, LENGTH) * 2.0)


def test_rollouts_go_on_under_their_own_policy():
    """It always chooses 4, who wrote the tokens did not: Q counts the 4s so far and all that follow."""
    policy = small_generator(dropout=0.9)
    with torch.no_grad():
        policy.output.bias[4] = 100.0
    tokens = some_tokens()
    judge = by_rollouts(policy.train(), lambda tokens: (tokens == 4).sum(1).float(), 3)
    found = judge(tokens, torch.Generator().manual_seed(0))
    expected = (tokens == 4).cumsum(1) + torch.arange(LENGTH - 1, -1, -1)
    assert torch.equal(found, expected.float())


def test_realness_is_the_discriminators_probability():
    discriminator = small_discriminator()
    found = realness(discriminator)(some_tokens())
    torch.testing.assert_close(found, discriminator.eval()(some_tokens()).sigmoid().detach())


def test_bleu_of_single_sequences():
    references = References(some_tokens(20, seed=1), 2)
    found = bleu(references)(some_tokens(8))
    assert found.shape == (8,) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), references(some_tokens(8))[:, 1], rtol=1e-6)
    torch.testing.assert_close(bleu(references)(some_tokens(20, seed=1)), torch.ones(20))


# The players' turns


def token_4(tokens, random):
    return (tokens == 4).float()


def test_the_generators_gradient_is_that_of_what_it_sampled():
    generator = small_generator(dropout=0.5)
    seen = []

    def judge(tokens, random):
        seen.append(tokens)
        return token_4(tokens, random) + torch.arange(LENGTH)

    now = turn()
    terms = policy_gradient(generator, adam(generator), judge, batch=3, length=LENGTH).loss(now)
    assert terms.keys() == {"policy"} and seen[0].shape == (3, LENGTH)
    found = gradients(generator, terms["policy"])
    generator.eval()  # the policy that chose has no dropout
    values = (seen[0] == 4).float() + torch.arange(LENGTH)
    assert_all_close(found, gradients(generator, reinforce(generator.log_probabilities(seen[0]), values)))
    assert now.watched["reward"].item() == pytest.approx(values.mean().item())


def test_baseline_and_entropy_have_their_part():
    generator, baseline = small_generator(), MovingAverage()
    phase = policy_gradient(
        generator, adam(generator), constant, batch=3, length=LENGTH, baseline=baseline, entropy=0.1
    )
    assert phase.loss(turn())["policy"].item() > 1
    terms = phase.loss(turn())
    assert terms["policy"].item() == pytest.approx(0), "what is always so is no merit"
    assert terms["entropy"].item() == pytest.approx(-0.1 * LENGTH * math.log(VOCABULARY), rel=0.05)


def test_a_learned_value_is_trained_with_the_generator(tmp_path):
    generator, value = small_generator(), LearnedValue(16)
    optimizer = torch.optim.Adam([*generator.parameters(), *value.parameters()], 0.01)
    phase = policy_gradient(generator, optimizer, constant, batch=16, length=LENGTH, baseline=value)
    first = phase.loss(turn())["value"].item()
    fit([phase], None, 60, tmp_path)
    assert phase.loss(turn())["value"].item() < 0.05 * first


@pytest.mark.parametrize("count", [0, 2])
def test_what_is_rewarded_becomes_likelier(tmp_path, count):
    generator = small_generator()
    judge = by_rollouts(generator, lambda tokens: (tokens == 4).float().mean(1), count)
    phase = policy_gradient(generator, adam(generator, 0.03), judge, batch=32, length=LENGTH)
    fit([phase], None, 60, tmp_path)
    tokens = sample(generator, 200, LENGTH, generator=torch.Generator().manual_seed(0))
    assert (tokens == 4).float().mean() > 0.8


def test_the_discriminators_loss():
    discriminator, generator = small_discriminator().eval(), small_generator()
    pool = Pool(generator, 10, LENGTH, renew=5)
    batch = {"real": some_tokens(6), "fake": torch.arange(6)}
    now = turn(batch)
    terms = discriminate(discriminator, adam(discriminator), pool, None, l2=0.05).loss(now)
    real, fake = discriminator(batch["real"]), discriminator(pool.tokens[:6])
    scores, truth = torch.cat([real, fake]), torch.tensor([1.0] * 6 + [0.0] * 6)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, truth)
    torch.testing.assert_close(terms["adversary"], expected)
    output = discriminator.output
    assert terms["l2"].item() == pytest.approx(
        0.05 * (output.weight.square().sum() + output.bias.square().sum()).item()
    )
    assert float(now.watched["accuracy"]) == pytest.approx(((scores > 0) == truth.bool()).float().mean().item())
    recurrent = RecurrentDiscriminator(RecurrentConfig(VOCABULARY))
    assert discriminate(recurrent, adam(recurrent), pool, None).loss(turn(batch)).keys() == {"adversary"}


def test_the_rollout_policy_comes_after_the_generator():
    generator = small_generator()
    lagging = Lagging(generator, keep=0.75)
    before = [parameter.clone() for parameter in generator.parameters()]
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 1
    for moved in (0.25, 0.25 + 0.75 * 0.25):
        lagging.update()
        assert_all_close(lagging.parameters(), [parameter + moved for parameter in before])
    assert not any(parameter.requires_grad for parameter in lagging.parameters())
    assert all(name.startswith("model.") for name in lagging.state_dict())


# The whole


def rising(count, seed=0):
    """Sequences whose tokens follow one another: 2 3 4 5 0. Half a page of a language that can be learnt."""
    first = torch.randint(VOCABULARY, (count, 1), generator=torch.Generator().manual_seed(seed))
    return (first + torch.arange(LENGTH)) % VOCABULARY


def share_rising(generator):
    tokens = sample(generator, 500, LENGTH, generator=torch.Generator().manual_seed(0))
    return (tokens.diff(dim=1) % VOCABULARY == 1).float().mean().item()


class Game:
    """SeqGAN with everything that has a state."""

    def __init__(self, seed=0):
        self.generator, self.discriminator = small_generator(seed), small_discriminator(seed)
        self.pool = Pool(self.generator, 200, LENGTH, renew=3)
        self.lagging, self.baseline = Lagging(self.generator), MovingAverage()
        judge = by_rollouts(self.lagging.model, realness(self.discriminator), 4)
        data = Stream(RealAndFake(rising(300), self.pool.size), 32)
        self.phases = [
            policy_gradient(
                self.generator, adam(self.generator, 0.02), judge, batch=16, length=LENGTH, baseline=self.baseline,
                after=self.lagging.update,
            ),
            discriminate(self.discriminator, adam(self.discriminator, 0.005), self.pool, data, repeat=2),
        ]  # fmt: skip

    def fit(self, run, steps):
        state = {"pool": self.pool, "lagging": self.lagging, "baseline": self.baseline}
        fit(self.phases, None, steps, run, state=state, log_every=2)
        return self


def test_seqgan_learns_a_language_from_the_discriminator_alone(tmp_path):
    game = Game()
    before = share_rising(game.generator)
    assert before < 0.3
    game.fit(tmp_path, 150)
    assert share_rising(game.generator) > 0.8


def test_four_steps_are_two_and_two(tmp_path):
    Game().fit(tmp_path / "whole", 4)
    Game().fit(tmp_path / "parts", 2)
    Game(seed=1).fit(tmp_path / "parts", 4)
    whole, parts = (latest(tmp_path / name / "checkpoints", "adversarial")[1] for name in ("whole", "parts"))
    assert whole["state"]["pool"]["used"] == 8 and whole["state"]["baseline"]["weight"].shape == (LENGTH,)
    assert whole["state"]["lagging"].keys() == {f"model.{name}" for name in small_generator().state_dict()}
    flat = [torch.utils._pytree.tree_flatten_with_path(each)[0] for each in (whole, parts)]
    assert len(flat[0]) == len(flat[1]) > 60
    for (place, one), (other_place, other) in zip(*flat, strict=True):
        assert place == other_place
        if "seconds" not in str(place):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, place
