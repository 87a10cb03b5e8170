"""SEGAN: a waveform in, a clean waveform out (Pascual, Bonafonte and Serra 2017, "SEGAN: Speech enhancement generative
adversarial network", arXiv:1703.09452).

The generator is a convolutional encoder and decoder with skips and a random vector between them; the discriminator sees
pairs (candidate, noisy) and says whether the candidate is the recording or the generator's. Both work on pre-emphasised
windows of about a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchaudio.functional import lfilter

from seqgan.checkpoint import SavedModel, find_weights, save_folder
from seqgan.objectives import LeastSquares
from seqgan.training import Phase, Turn

from .audio import duration
from .data import Pairs
from .enhancer import Wave, as_array, check_shape, like
from .metrics import resample


@dataclass(frozen=True)
class SEGANConfig:
    """Settings of both networks. The defaults are the paper's (section 4)."""

    channels: tuple[int, ...] = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)  # of layers that halve the rate
    width: int = 31  # of the filters, samples
    window: int = 16_384  # samples
    sample_rate: int = 16_000  # Hz
    emphasis: float = 0.95
    slope: float = 0.3  # of D's leaky ReLUs, below zero
    spread: float | None = 0.02  # standard deviation of the weights at the beginning; None: by each layer's inputs
    level: float | None = None  # root mean square to which pre-emphasised noisy windows are brought; None: as they come

    @property
    def bottleneck(self) -> int:
        """Samples that are left of a window between encoder and decoder."""
        return self.window // 2 ** len(self.channels)


PAPER = SEGANConfig()
# Half the channels, and no more than 64 of them, for training in an hour or two on a CPU. With few inputs to a sum the
# paper's small weights would need thousands of steps to grow. VoiceBank, the paper's corpus, has one level; what is
# mixed from many corpora has not, and a small network has no capacity to spend on it. Without pre-emphasis, since
# de-emphasis multiplies the errors at low frequencies by 20, which such a network does not get small enough.
REDUCED = SEGANConfig(
    channels=(8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64), emphasis=0.0, spread=None, level=0.1
)  # fmt: skip


def emphasise(wave: Tensor, coefficient: float) -> Tensor:
    """x[t] - coefficient * x[t - 1]; wave: (batch, samples)."""
    return wave - coefficient * F.pad(wave, (1, 0))[:, :-1]


def deemphasise(wave: Tensor, coefficient: float) -> Tensor:
    """The inverse of `emphasise`."""
    taps = wave.new_tensor([[1.0, -coefficient], [1.0, 0.0]])
    return lfilter(wave, *taps, clamp=False)


def initialise(network: nn.Module, spread: float | None) -> None:
    """Small weights and no biases, as in the authors' program; spread None: weights that keep the signal's energy.

    The paper does not say, but it matters: with PyTorch's own, the biases and what comes of z are much louder than
    speech at its usual level, and drown it for hundreds of steps. Of energy see He et al. 2015, "Delving deep into
    rectifiers", equation 15, with the slope that PReLU begins with.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            inputs = module.in_channels * module.kernel_size[0]
            if isinstance(module, nn.ConvTranspose1d):
                inputs /= module.stride[0]  # as many meet in one output sample
            deviation = math.sqrt(2 / (1 + 0.25**2) / inputs) if spread is None else spread
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            nn.init.zeros_(module.bias)


class Generator(SavedModel):
    """Strided convolutions down, transposed ones up; skips and the vector z join by concatenation."""

    CONFIG, FORMAT = SEGANConfig, "seqgan.speech.segan/1"

    def __init__(self, config: SEGANConfig = PAPER):
        super().__init__()
        self.config = config
        pairs = list(zip((1, *config.channels[:-1]), config.channels, strict=True))
        width, half = config.width, config.width // 2
        self.encoder = nn.ModuleList(nn.Conv1d(a, b, width, 2, half) for a, b in pairs)
        self.decoder = nn.ModuleList(nn.ConvTranspose1d(2 * b, a, width, 2, half, 1) for a, b in reversed(pairs))
        self.encoder_activations = nn.ModuleList(nn.PReLU(b) for _, b in pairs)
        self.decoder_activations = nn.ModuleList([*(nn.PReLU(a) for a, _ in reversed(pairs[1:])), nn.Tanh()])
        initialise(self, config.spread)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ N(0, 1): (batch, channel, bottleneck), 1024 x 8 in the paper."""
        shape = (batch, self.config.channels[-1], self.config.bottleneck)
        return torch.randn(shape, generator=generator, device=self.encoder[0].weight.device)

    def forward(self, noisy: Tensor, z: Tensor) -> Tensor:
        """noisy: (batch, window), pre-emphasised -> enhanced: (batch, window), within -1 and 1."""
        x, skips = noisy[:, None], []
        for convolution, activation in zip(self.encoder, self.encoder_activations, strict=True):
            skips.append(convolution(x))  # before the activation: the paper does not say, its authors' program does so
            x = activation(skips[-1])
        skips[-1] = z  # the innermost layer is handed on itself, and z takes the place of its skip
        for convolution, activation in zip(self.decoder, self.decoder_activations, strict=True):
            x = activation(convolution(torch.cat([x, skips.pop()], 1)))
        return x[:, 0]


class VirtualBatchNorm(nn.Module):
    """Normalises each example by the statistics of a fixed reference batch, which the example itself joins as one more.

    Salimans et al. 2016, "Improved techniques for training GANs", section 3.4. An example's output thus depends on no
    other example of its batch. The reference is normalised by its own statistics alone.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5):
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(channels, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor, references: int) -> Tensor:
        """x: (batch, channel, sample), of which the first `references` examples are the reference batch."""
        reference, examples = x[:references], x[references:]
        variance, mean = torch.var_mean(reference, (0, 2), keepdim=True, correction=0)  # (1, channel, 1)
        own_variance, own_mean = torch.var_mean(examples, 2, keepdim=True, correction=0)  # (batch, channel, 1)
        share = 1 / (references + 1)
        mixed_mean = (1 - share) * mean + share * own_mean
        # Of a mixture: the mean of the variances and the variance of the means.
        mixed_variance = (1 - share) * variance + share * own_variance + share * (1 - share) * (mean - own_mean) ** 2
        means = torch.cat([mean.expand(references, -1, -1), mixed_mean])
        variances = torch.cat([variance.expand(references, -1, -1), mixed_variance])
        return (x - means) * (variances + self.epsilon).rsqrt() * self.scale + self.shift


class Discriminator(nn.Module):
    """The generator's encoder on two channels, with virtual batch normalisation; a raw score for each pair.

    reference: (batch, 2, window), the pairs (clean, noisy) of the reference batch, pre-emphasised. They are part of the
    state, so that a resumed run and saved weights have the same ones.
    """

    reference: Tensor

    def __init__(self, config: SEGANConfig, reference: Tensor):
        super().__init__()
        self.config = config
        pairs = list(zip((2, *config.channels[:-1]), config.channels, strict=True))
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, config.width, 2, config.width // 2) for a, b in pairs)
        self.norms = nn.ModuleList(VirtualBatchNorm(channels) for channels in config.channels)
        self.merge = nn.Conv1d(config.channels[-1], 1, 1)
        self.score = nn.Linear(config.bottleneck, 1)
        self.register_buffer("reference", reference)
        initialise(self, config.spread)

    def forward(self, candidate: Tensor, noisy: Tensor) -> Tensor:
        """candidate, noisy: (batch, window), pre-emphasised -> (batch,)"""
        references = len(self.reference)
        x = torch.cat([self.reference, torch.stack([candidate, noisy], 1)])
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x), references), self.config.slope)
        return self.score(self.merge(x[references:])[:, 0])[:, 0]


def prepare(noisy: Tensor, clean: Tensor, config: SEGANConfig) -> tuple[Tensor, Tensor]:
    """Windows as the networks see them, pre-emphasised and at their level; both: (batch, window)."""
    noisy, clean = (emphasise(wave, config.emphasis) for wave in (noisy, clean))
    gain = gain_to_level(noisy, config)
    return noisy * gain, clean * gain


def gain_to_level(noisy: Tensor, config: SEGANConfig) -> Tensor | float:
    """The factor (batch, 1) that brings pre-emphasised windows to the level; 40 dB at most, so silence stays quiet."""
    if config.level is None:
        return 1.0
    return config.level / noisy.square().mean(1, keepdim=True).sqrt().clamp_min(config.level / 100)


def phases(
    generator: Generator,
    generator_optimizer: torch.optim.Optimizer,
    discriminator: Discriminator | None = None,
    discriminator_optimizer: torch.optim.Optimizer | None = None,
    weight: float = 100.0,
    schedule: Callable[[int], float] | None = None,
) -> list[Phase]:
    """The game of the paper's equations 3 and 4; without a discriminator the generator minimises the L1 term alone.

    A batch has "noisy" and "clean", each (batch, window), as recorded. weight: of the L1 term. schedule: factor on both
    learning rates.
    """
    objective = LeastSquares()

    def play(turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
        if "waves" not in turn.share:
            noisy, clean = prepare(turn.batch["noisy"], turn.batch["clean"], generator.config)
            turn.share["waves"] = noisy, clean, generator(noisy, generator.noise(len(noisy), turn.generator))
        return turn.share["waves"]

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        noisy, clean, enhanced = play(turn)
        # One pass for both, so that the reference batch is taken along once; no example's score depends on another.
        scores = discriminator(torch.cat([clean, enhanced.detach()]), torch.cat([noisy, noisy]))
        real, fake = scores.chunk(2)
        turn.log("real", real.mean())
        turn.log("fake", fake.mean())
        return {"adversary": objective.discriminator(real, fake)}

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        noisy, clean, enhanced = play(turn)
        terms = {"l1": weight * (enhanced - clean).abs().mean()}
        if discriminator is not None:
            terms["adversary"] = objective.generator(discriminator(enhanced, noisy))
        return terms

    game = [Phase("generator", [generator], generator_optimizer, generator_loss, schedule=schedule)]
    if discriminator is not None:
        first = Phase("discriminator", [discriminator], discriminator_optimizer, discriminator_loss, schedule=schedule)
        game.insert(0, first)
    return game


class Windows(Dataset):
    """Every window of recorded pairs with half an overlap, as in the paper; a finite dataset.

    The last window of a recording is filled up with silence.
    """

    def __init__(self, pairs: Pairs, window: int = PAPER.window):
        self.pairs, self.window = pairs, window
        self.places = [
            (pair, start)
            for pair in pairs.pairs
            for start in range(0, max(self.samples(pair) - window // 2, 1), window // 2)
        ]

    def samples(self, pair: tuple[Path, Path]) -> int:
        """Length of the shorter one."""
        return round(min(map(duration, pair)) * self.pairs.library.sample_rate)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair, start = self.places[index]
        waves = [self.pairs.library[path] for path in pair]
        end = min(start + self.window, *map(len, waves))
        parts = (wave[start:end] for wave in waves)
        clean, noisy = (torch.from_numpy(np.pad(part, (0, self.window - len(part)))) for part in parts)
        return {"noisy": noisy, "clean": clean}


class SEGAN:
    """A trained generator, ready for recordings. recipes/segan.py trains it.

    segan = SEGAN.from_pretrained("runs/segan/generator.safetensors")
    clean = segan(noisy, sample_rate=16_000)
    """

    def __init__(self, generator: Generator, device: str | torch.device = "cpu"):
        self.generator, self.config = generator.eval().to(device), generator.config

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str | torch.device = "cpu") -> SEGAN:
        """A bundled model, a .safetensors file, or a folder that `save_pretrained` wrote."""
        return cls(Generator.load(find_weights(name_or_path, "seqgan.speech")), device)

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with config.json and model.safetensors (float16)."""
        return save_folder(path, self.config, self.generator.save)

    def __call__(self, noisy: Wave, sample_rate: int = 16_000, cross_fade: bool = False, seed: int = 0) -> Wave:
        """Enhanced wave of the same kind (NumPy array or tensor), type, device and shape; seed: of z.

        noisy: (samples,), (channels, samples) or (batch, channels, samples), floating point, full scale 1.0. The
        model's band ends at half its rate (8 kHz), and of a recording at a higher rate no more comes back.
        cross_fade: see `enhance`.
        """
        shape, rate = tuple(noisy.shape), self.config.sample_rate
        check_shape(shape)
        if 0 in shape:
            return like(as_array(noisy), noisy)
        samples = as_array(noisy).reshape(-1, shape[-1])
        if not np.isfinite(samples).all():
            raise ValueError("the recording has samples that are not finite")
        wave = torch.from_numpy(resample(samples.T, sample_rate, rate).T.astype(np.float32))
        enhanced = resample(self.enhance(wave, cross_fade, seed).numpy().T, rate, sample_rate).T[:, : shape[-1]]
        enhanced = np.pad(enhanced, ((0, 0), (0, shape[-1] - enhanced.shape[1])))  # rounding may cost a sample
        return like(enhanced.reshape(shape), noisy)

    @torch.no_grad()
    def enhance(self, wave: Tensor, cross_fade: bool = False, seed: int = 0, batch: int = 16) -> Tensor:
        """wave: (channels, samples) at the model's rate -> the same shape, on the CPU.

        As in the paper, windows follow one another without overlap and are joined as they are. With cross_fade (which
        the paper does not have) they overlap by half and are faded into one another, at twice the cost.
        """
        config, device = self.config, self.generator.encoder[0].weight.device
        size, samples = config.window, wave.shape[1]
        hop = size // 2 if cross_fade else size
        margin = size - hop  # half a window of silence at both ends gives every sample two windows
        padded = F.pad(emphasise(wave, config.emphasis), (margin, margin + -samples % hop))
        windows = padded.unfold(1, size, hop)  # (channels, window, size)
        random = torch.Generator(device).manual_seed(seed)
        pieces = []
        for piece in windows.reshape(-1, size).split(batch):
            gain = gain_to_level(piece, config)
            z = self.generator.noise(len(piece), random)
            pieces.append(self.generator((piece * gain).to(device), z).cpu() / gain)
        joined = torch.cat(pieces).view(windows.shape)
        if cross_fade:
            joined = joined * torch.hann_window(size)  # two that overlap by half add up to 1
            joined = joined[:, :-1, hop:] + joined[:, 1:, :hop]
        return deemphasise(joined.flatten(1)[:, :samples], config.emphasis)
