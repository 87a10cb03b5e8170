"""Trains a GAN on pictures, by any method of `seqgan.image.gan.METHODS`.

    python recipes/gan.py --data DIR --method wgan-gp                 # the paper's sizes: 64 x 64, DCGAN's widths
    python recipes/gan.py --data DIR --preset reduced                 # 32 x 32, a quarter of the widths, for the CPU
    python recipes/gan.py --data digits --preset reduced --size 8     # scikit-learn's digits, nothing to download
    python recipes/gan.py --compare RUN RUN ...                       # curves and pictures of several runs

DIR holds pictures (or is a zip archive of them), or MNIST's idx files. Interrupted anywhere, the same command goes on.
The run's folder then holds `generator.safetensors`, `discriminator.safetensors`, grids of samples over time,
`curves.png` and, where the data have labels, `scores.json`: by a classifier of these labels, how many of them are among
the generated pictures and how unevenly (KL, nats), and distances and coverage by its features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from seqgan.checkpoint import write_json
from seqgan.figures import GAME, draw_curves, new_figure, save_figure
from seqgan.image.data import Images, grid, open_images, write_png
from seqgan.image.gan import GAN, METHODS, Method, phases, without_spectral_norm
from seqgan.image.metrics import Classifier, check_labels, score, train_classifier
from seqgan.image.networks import Activation, Discriminator, Generator, NetworkConfig, Norm
from seqgan.objectives import NonSaturating
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, run, with_preset
from seqgan.record import read_metrics
from seqgan.training import EMA, Stream, fit


@dataclass(frozen=True)
class Preset:
    size: int
    width: int
    batch: int
    steps: int


PRESETS = {"paper": Preset(64, 128, 128, 50_000), "reduced": Preset(32, 32, 64, 2000)}


@dataclass(frozen=True)
class Settings:
    data: str | None = None
    """Folder or zip archive of pictures, a folder of MNIST's idx files, or "digits"."""
    run: Path = Path("runs/gan")
    """Folder of this run; with --compare, of comparison.png."""
    method: str = "gan"
    """minimax, gan (non-saturating), lsgan, wgan, wgan-gp, wgan-lp, loss-sensitive, hinge, sn-gan,
    relativistic-average, dragan, gan-r1, or f-gan-... with the name of a divergence."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    size: int | None = None
    """Height and width, a power of 2; by default the preset's, as are the three that follow."""
    width: int | None = None
    """Channels at the picture's side, which double where it is halved."""
    batch: int | None = None
    """Pictures in a step."""
    steps: int | None = None
    """Steps of the generator."""
    channels: Literal[1, 3] = 3
    """Of pictures; idx files and digits have one."""
    latent: int = 100
    """Numbers of z."""
    generator: Literal["dcgan", "mlp", "constant"] = "dcgan"
    """Convolutions, four dense layers, or convolutions with one number of channels and no normalisation."""
    norm: Norm | None = None
    """Of both networks; by default batch, in a discriminator under a gradient penalty layer, in sn-gan's none."""
    activation: Activation = "relu"
    """Between the layers of both networks."""
    layers: int | None = None
    """Of residual networks in the place of DCGAN's."""
    noise: float = 0.0
    """Standard deviation of the noise laid over what the discriminator sees; it falls to 0 over the run."""
    wrong: float = 0.0
    """Share of the discriminator's pictures that have the wrong label, which weakens it."""
    smoothing: float = 0.0
    """Real pictures are labelled 1 minus this, fakes still 0: of gan, dragan and gan-r1 only."""
    ema: float | None = None
    """Decay of averaged weights of the generator, which are then what is kept."""
    sample_every: int = 500
    """Steps after which samples are drawn and scored."""
    checkpoint_every: int = 500
    """Steps after which all is saved from which an interrupted run goes on."""
    classifier_steps: int = 500
    """Of the classifier by whose features the pictures are scored."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""
    compare: tuple[Path, ...] = ()
    """Do not train: draw these runs side by side."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.compare:
        for folder in settings.compare:
            if not read_metrics(folder):
                raise ValueError(f"{folder} holds no training: it has no metrics.jsonl")
        draw(settings.run / "comparison.png", {str(folder): folder for folder in settings.compare})
    else:
        train(settings)


def train(settings: Settings) -> None:
    if settings.data is None:
        raise ValueError("--data is needed: a folder or zip archive of pictures, idx files, or digits")
    if settings.method not in METHODS:
        raise ValueError(f"no method {settings.method!r}; there are {', '.join(METHODS)}")
    method, folder = smoothed(settings), settings.run
    chosen = with_preset(settings, PRESETS[settings.preset])
    check_counts(chosen, "size", "batch", "steps")
    images = open_images(settings.data, chosen.size, settings.channels)
    config = networks(chosen, images.pixels.shape[1])
    torch.manual_seed(settings.seed)
    generator = Generator(config).to(memory_format=torch.channels_last)  # a fifth faster when deep
    discriminator = Discriminator(config).to(memory_format=torch.channels_last)
    average = EMA(generator, settings.ema) if settings.ema else None
    game = phases(
        generator,
        discriminator,
        method.optimizers(generator, discriminator),
        method,
        noise=lambda step: settings.noise * (1 - step / chosen.steps),
        wrong=settings.wrong,
    )
    if images.labels is not None:
        check_labels(images)
    open_run(folder, settings, chosen.steps)
    classifier = None
    if images.labels is not None:
        classifier = train_classifier(images, folder, settings.classifier_steps, seed=settings.seed)

    def look(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        without_spectral_norm(discriminator).save(folder / "discriminator.safetensors")
        model = GAN(generator, next(generator.parameters()).device)
        write_png(folder / "samples" / f"step{step:06}.png", grid(model(64, seed=0)), scale=max(1, 64 // config.size))
        if classifier is None:
            return {}
        return {f"validation/{name}": value for name, value in judge(model, classifier, images, settings.seed).items()}

    fit(
        game,
        Stream(images, chosen.batch, seed=settings.seed),
        chosen.steps,
        folder,
        every=every_and_last(settings.sample_every, chosen.steps, look),
        ema=average,
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )
    scores = [line for line in read_metrics(folder) if "validation/frechet" in line]
    if scores:
        last = {name.removeprefix("validation/"): value for name, value in scores[-1].items() if "validation/" in name}
        write_json(folder / "scores.json", last)
        print("  ".join(f"{name} {value:.3f}" for name, value in last.items()))
    draw(folder / "curves.png", {folder.name: folder})


def networks(settings: Settings, channels: int) -> NetworkConfig:
    """Of settings that have their preset's values."""
    method = METHODS[settings.method]
    own = method.discriminator_norm
    if (settings.norm == "batch" and own != "batch") or (settings.norm == "layer" and own == "none"):
        raise ValueError(f"--norm {settings.norm} does not go with {settings.method}, whose discriminator has {own}")
    return NetworkConfig(
        settings.size,
        channels,
        settings.latent,
        settings.width,
        settings.generator,
        settings.norm or "batch",
        settings.norm or own,
        settings.activation,
        settings.layers,
    )


def smoothed(settings: Settings) -> Method:
    """The method, with the settings' labels of real pictures."""
    method = METHODS[settings.method]
    if not settings.smoothing:
        return method
    if not isinstance(method.objective, NonSaturating):
        possible = [name for name, other in METHODS.items() if isinstance(other.objective, NonSaturating)]
        raise ValueError(f"--smoothing is of {', '.join(possible)}, not of {settings.method}")
    return replace(method, objective=NonSaturating(settings.smoothing))


def judge(model: GAN, classifier: Classifier, images: Images, seed: int, number: int = 1000) -> dict[str, float]:
    """Of so many generated pictures against as many real ones."""
    number = min(number, len(images))
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:number]
    device = next(classifier.parameters()).device
    return score(classifier, images, images.pixels[chosen].to(device), model(number, seed=seed).to(device))


def draw(path: Path, runs: dict[str, Path]) -> None:
    """How the game went, and the last samples of each run."""
    panels = {
        **GAME,
        "Fréchet distance of features": {"validation/frechet": ""},
        "what of the data is there": {"validation/recall": "recall", "validation/coverage": "coverage"},
        "modes": {"validation/modes": ""},
    }
    several = len(runs) > 1
    figure = new_figure(4 * max(len(panels), len(runs)), 4 + 4 * several)
    rows = figure.subfigures(1 + several, 1, squeeze=False)[:, 0]
    axes = rows[0].subplots(1, len(panels))
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        draw_curves(axis, runs, names, title)
    axes[2].set_yscale("log")
    if several:
        for axis, (label, folder) in zip(rows[1].subplots(1, len(runs)), runs.items(), strict=True):
            axis.axis("off")
            found = sorted((folder / "samples").glob("step*.png"))
            if found:
                from PIL import Image

                axis.imshow(Image.open(found[-1]), cmap="gray")
            axis.set_title(label)
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, Settings, __doc__)
