"""The penalties against their closed forms: for D(x) = slope * <direction, x> every gradient has length `slope`."""

import math

import pytest
import torch
from torch import nn

from seqgan.objectives import NonSaturating
from seqgan.penalties import (
    clip_weights,
    dragan_penalty,
    exchange,
    gradient_norm,
    gradient_penalty,
    instance_noise,
    r1_penalty,
    spectral_norm,
)

SHAPES = {2: (7,), 3: (2, 9), 4: (3, 4, 5), 5: (1, 2, 3, 4)}


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def plane(shape: tuple[int, ...], slope: float):
    """A discriminator of one slope everywhere, whatever the rank of its samples."""
    direction = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    direction = slope * direction / direction.norm()
    return lambda x: (x * direction).flatten(1).sum(dim=1, keepdim=True)


def test_the_penalty_is_between_real_and_fake():
    seen = []
    real, fake = torch.full((500, 3), 2.0), torch.full((500, 3), 5.0)
    gradient_penalty(lambda x: seen.append(x.detach()) or x.sum(1), real, fake, generator=random())
    places = seen[0]
    assert places.min() >= 2 and places.max() <= 5 and places.mean().item() == pytest.approx(3.5, abs=0.15)
    assert (places == places[:, :1]).all(), "each pair has one place"


@pytest.mark.parametrize("batch", [1, 16, 64])
@pytest.mark.parametrize("rank", SHAPES)
def test_a_1_lipschitz_discriminator_pays_nothing(batch, rank):
    """A norm over the whole batch, as found in the field, gives 49 at batch 64."""
    torch.manual_seed(batch)
    real, fake = torch.randn(batch, *SHAPES[rank]), torch.randn(batch, *SHAPES[rank])
    discriminator = plane(SHAPES[rank], slope=1.0)
    assert gradient_penalty(discriminator, real, fake).item() == pytest.approx(0, abs=1e-10)
    assert gradient_penalty(discriminator, real, fake, one_sided=True).item() == pytest.approx(0, abs=1e-10)
    assert r1_penalty(discriminator, real).item() == pytest.approx(0.5, rel=1e-5)
    if batch > 1:
        assert dragan_penalty(discriminator, real).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("batch", [1, 16, 64])
@pytest.mark.parametrize(("slope", "two_sided", "one_sided"), [(3.0, 4.0, 4.0), (0.5, 0.25, 0.0)])
def test_other_slopes_pay_their_distance_from_one(batch, slope, two_sided, one_sided):
    torch.manual_seed(0)
    real, fake = torch.randn(batch, 3, 4), torch.randn(batch, 3, 4)
    discriminator = plane((3, 4), slope)
    assert gradient_penalty(discriminator, real, fake).item() == pytest.approx(two_sided, rel=1e-4)
    assert gradient_penalty(discriminator, real, fake, one_sided=True).item() == pytest.approx(one_sided, rel=1e-4)
    assert r1_penalty(discriminator, real).item() == pytest.approx(slope**2 / 2, rel=1e-4)


def test_dragan_norm_is_per_sample_not_per_pixel():
    """On pictures of 8 x 8 a norm over the channels alone would be 1/8 of this at every pixel and the penalty 0.77."""
    picture = torch.randn(16, 1, 8, 8)
    uniform = torch.full((1, 8, 8), 1 / 8)  # of length 1
    assert dragan_penalty(lambda x: (x * uniform).flatten(1).sum(1), picture).item() == pytest.approx(0, abs=1e-10)


def test_dragan_looks_around_the_real_samples_at_the_stated_distance():
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return x.sum(dim=1)

    real = torch.randn(5000, 4) * torch.tensor([0.1, 1.0, 2.0, 5.0])
    dragan_penalty(discriminator, real, generator=random())
    dragan_penalty(discriminator, real, noise=0.1, generator=random())
    for places, noise in zip(seen, (0.5, 0.1), strict=True):  # of all numbers together, the same for each
        torch.testing.assert_close((places - real).std(0), (noise * real.std()).expand(4), rtol=0.05, atol=0)


def test_gradient_penalty_looks_between_real_and_fake_at_a_place_of_each_sample():
    seen = []

    def discriminator(x):
        seen.append(x.detach())
        return x.flatten(1).sum(dim=1)

    real, fake = torch.zeros(200, 2, 3), torch.ones(200, 2, 3)
    gradient_penalty(discriminator, real, fake, generator=random())
    places = seen[0]
    assert (places == places[:, :1, :1]).all()
    assert 0 <= places.min() < 0.05 and 0.95 < places.max() < 1


DRAWS = {
    "gradient penalty": lambda real, fake: gradient_penalty(lambda x: x.pow(3).sum(1), real, fake, generator=random()),
    "dragan": lambda real, fake: dragan_penalty(lambda x: x.pow(3).sum(1), real, generator=random()),
    "instance noise": lambda real, fake: instance_noise(real, 0.3, random()),
    "exchange": lambda real, fake: exchange(real, fake, 0.5, random())[0],
}


@pytest.mark.parametrize("name", DRAWS)
def test_chance_is_of_the_generator_that_is_given(name):
    real, fake = torch.randn(64, 3), torch.randn(64, 3)
    assert torch.equal(DRAWS[name](real, fake), DRAWS[name](real, fake))


def test_each_sample_has_its_own_norm():
    samples = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    norms = gradient_norm(lambda x: 0.5 * x.square().sum(dim=1), samples)
    torch.testing.assert_close(norms, torch.tensor([5.0, 1.0, 0.0]))


def test_a_map_of_scores_counts_as_its_average():
    discriminator = plane((3, 4), slope=1.0)
    real = torch.randn(5, 3, 4)
    assert gradient_norm(lambda x: discriminator(x).expand(-1, 7), real).tolist() == pytest.approx([1.0] * 5)


def test_the_penalty_trains_the_discriminator():
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1, bias=False))
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.02)
    real, fake = torch.randn(32, 4), torch.randn(32, 4)
    before = gradient_penalty(discriminator, real, fake).item()
    for _ in range(60):
        optimizer.zero_grad()
        gradient_penalty(discriminator, real, fake).backward()
        optimizer.step()
    assert gradient_penalty(discriminator, real, fake).item() < 0.1 * before


def test_a_flat_discriminator_gives_no_nan():
    discriminator = nn.Linear(3, 1)
    nn.init.zeros_(discriminator.weight)
    penalty = gradient_penalty(discriminator, torch.randn(4, 3), torch.randn(4, 3))
    penalty.backward()
    assert penalty.item() == pytest.approx(1)
    assert discriminator.weight.grad.isfinite().all()


def test_float32_within_autocast():
    dtypes = []

    def discriminator(x):
        score = layer(x)
        dtypes.append(score.dtype)
        return score

    layer = nn.Linear(3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = r1_penalty(discriminator, torch.randn(4, 3, dtype=torch.bfloat16))
        assert layer(torch.randn(4, 3)).dtype == torch.bfloat16
    assert dtypes == [torch.float32]
    assert penalty.item() == pytest.approx(0.5 * layer.weight.square().sum().item(), rel=1e-6)


def test_works_where_gradients_are_off():
    with torch.no_grad():
        assert r1_penalty(plane((5,), 2.0), torch.randn(3, 5)).item() == pytest.approx(2.0, rel=1e-4)


def test_clip_weights():
    layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
    nn.init.constant_(layers[0].weight, 0.005)
    clip_weights(layers, bound=0.01)
    assert all(p.abs().max() <= 0.01 for layer in layers for p in layer.parameters())
    assert layers[1].weight.abs().max().item() == pytest.approx(0.01)
    assert (layers[0].weight == 0.005).all()


def test_spectral_norm_makes_every_layer_1_lipschitz():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.LeakyReLU(0.2), nn.Linear(4 * 8, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(50)
    assert spectral_norm(network) is network
    for _ in range(100):
        network(torch.randn(2, 1, 10))
    for layer in (network[0], network[3]):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-3)
    assert gradient_penalty(network, torch.randn(4, 1, 10), torch.randn(4, 1, 10)).isfinite()
    assert nn.utils.parametrize.is_parametrized(spectral_norm(nn.ConvTranspose1d(2, 3, 4)), "weight")


def test_instance_noise():
    samples = torch.zeros(2000, 3)
    noisy = instance_noise(samples, 0.3, random())
    assert noisy.std().item() == pytest.approx(0.3, rel=0.03) and noisy.mean().abs() < 0.02
    assert instance_noise(samples, 0.0) is samples


def test_wrong_labels_bound_the_scores():
    """Where real and fake are apart, the minimax optimum is a score of log(1 / share - 1)."""
    chance, share = random(), 0.1
    score = torch.zeros(2, requires_grad=True)  # of fakes, of real samples
    optimizer = torch.optim.SGD([score], 1.0)
    for _ in range(400):
        real, fake = exchange(torch.ones(2000, dtype=torch.long), torch.zeros(2000, dtype=torch.long), share, chance)
        loss = NonSaturating().discriminator(score[real], score[fake])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bound = math.log(1 / share - 1)
    torch.testing.assert_close(score.detach(), torch.tensor([-bound, bound]), atol=0.15, rtol=0)
    real, fake = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    assert exchange(real, fake, 0.0) == (real, fake)
    for left, right, one, other in zip(*exchange(real, fake, 0.5, chance), real, fake, strict=True):
        same, swapped = torch.equal(left, one), torch.equal(left, other)
        assert same != swapped and torch.equal(right, other if same else one), "whole samples"
    with pytest.raises(ValueError, match="0 to 0.5, not 0.7"):
        exchange(real, fake, 0.7)
