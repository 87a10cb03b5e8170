"""What a generator leaves out, where it can be counted: three digits stacked as red, green and blue, 1,000 modes.

    python recipes/stacked_digits.py --seed 0 --run runs/plain-0                      # DCGAN
    python recipes/stacked_digits.py --system packed --seed 0 --run runs/packed-0     # PacGAN (Lin et al. 2018)
    python recipes/stacked_digits.py --system ensemble --seed 0 --run runs/several-0  # several generators as one
    python recipes/stacked_digits.py --table runs/plain-0 runs/packed-0 ...           # seeds side by side
    python recipes/stacked_digits.py --data DIR --preset paper                        # MNIST, at PacGAN's size

A classifier of single digits says which modes the pictures show (Metz et al. 2017, "Unrolled GANs"). Without --data the
digits are scikit-learn's, brought to 16 x 16 pixels. Each member of an ensemble is trained as long as a plain generator
is. Interrupted anywhere, the same command goes on. The run's folder then holds the generators, grids of samples,
`curves.png` of each, and `scores.json`: modes and their KL, of the pictures, of as many real ones, and how many
held-out digits the classifier gets right, and which modes of the real ones are missing ("407" is a red 4, a green 0 and
a blue 7).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from seqgan.checkpoint import write_json, write_text
from seqgan.coverage import label_modes
from seqgan.figures import GAME, draw_run
from seqgan.image.data import Images, Stacked, grid, open_images, write_png
from seqgan.image.ensemble import Ensemble, missing, stacked_labels
from seqgan.image.gan import GAN, METHODS, phases
from seqgan.image.metrics import Classifier, check_labels, in_parts, train_classifier
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, read_run, run, with_preset
from seqgan.tables import markdown_table, spread
from seqgan.training import Stream, fit


@dataclass(frozen=True)
class Preset:
    size: int
    width: int
    batch: int
    steps: int


# PacGAN's: 50 epochs of 128,000 pictures.
PRESETS = {"paper": Preset(32, 64, 64, 100_000), "reduced": Preset(16, 32, 64, 4000)}


@dataclass(frozen=True)
class Settings:
    data: str = "digits"
    """A folder of MNIST's idx files, or "digits"."""
    run: Path = Path("runs/stacked_digits")
    """Folder of this run; with --table, of table.md."""
    system: Literal["plain", "packed", "ensemble"] = "plain"
    """A generator, one whose discriminator sees several pictures at once, or several generators."""
    method: str = "gan"
    """Of `seqgan.image.gan.METHODS`."""
    preset: Literal["paper", "reduced"] = "reduced"
    """Sizes and lengths, see above."""
    size: int | None = None
    """By default the preset's, as are the three that follow."""
    width: int | None = None
    """Channels at the picture's side, which double where it is halved."""
    batch: int | None = None
    """Pictures in a step, or packs of them."""
    steps: int | None = None
    """Of every generator."""
    weaker: int = 1
    """How many times narrower the discriminator is than the generator. Of equals neither loses much; at 4 a plain
    generator collapses (Metz et al. 2017, appendix D)."""
    pack: int = 4
    """Pictures that a packed system's discriminator sees at once."""
    members: int = 5
    """Of an ensemble."""
    latent: int = 100
    """Numbers of z."""
    samples: int = 26_000
    """Pictures in which modes are counted."""
    sample_every: int = 1000
    """Steps after which samples are drawn and modes are counted."""
    checkpoint_every: int = 1000
    """Steps after which all is saved from which an interrupted run goes on."""
    classifier_steps: int = 2000
    """Of the classifier that tells the digits."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    table: tuple[Path, ...] = ()
    """Do not train: set these runs side by side."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.table:
        found = tabulate(settings.table)
        write_text(settings.run / "table.md", found)
        print(found, end="")
    else:
        train(settings)


def train(settings: Settings) -> None:
    if settings.method not in METHODS:
        raise ValueError(f"no method {settings.method!r}; there are {', '.join(METHODS)}")
    chosen, folder = with_preset(settings, PRESETS[settings.preset]), settings.run
    check_counts(chosen, "size", "width", "batch", "steps", "weaker", "pack", "members", "samples")
    images = open_images(settings.data, chosen.size, channels=1)
    if images.labels is None:
        raise ValueError(f"{settings.data} has no labels, by which modes are counted")
    _ = networks(chosen), check_labels(images)  # they raise where these cannot be
    open_run(folder, settings, chosen.steps)
    held = torch.arange(len(images)) % 5 == 0  # of the classifier only: the generators learn from all
    taught, shown = (images.select(mask.nonzero()[:, 0].tolist()) for mask in (~held, held))
    classifier = train_classifier(taught, folder, settings.classifier_steps, seed=settings.seed)
    pixels = shown.pixels.to(next(classifier.parameters()).device)
    right = (in_parts(classifier, pixels).argmax(1).cpu() == shown.labels).float().mean().item()
    # Pictures that no generator was taught with: digits in other threes.
    stack = Stacked(images, settings.seed + 1)
    real = labels_of(torch.stack([stack.pixels(i) for i in range(settings.samples)]), classifier)
    classes = classifier.config.classes
    modes = classes**3
    members = settings.members if settings.system == "ensemble" else 1
    model = Ensemble([
        play(chosen, images, classifier, real, seed, folder / f"generator{i}" if members > 1 else folder)
        for i, seed in enumerate(range(settings.seed, settings.seed + 100 * members, 100))
    ])  # fmt: skip
    found, lacking = missing(labels_of(model(settings.samples, seed=settings.seed), classifier), real, modes)
    scores = {"generated": asdict(found), "real": asdict(label_modes(real, modes)), "classifier": right}
    scores["missing"] = [f"{m // classes**2}{m // classes % classes}{m % classes}" for m in lacking.tolist()]
    write_json(folder / "scores.json", scores)
    write_png(folder / "samples.png", grid(model(64, seed=0)), max(1, 64 // images.pixels.shape[2]))
    print(f"{found.captured} modes of {modes}, KL {found.kl:.3f}; of those of the data {len(lacking)} are missing")


def play(settings: Settings, images: Images, classifier: Classifier, real: Tensor, seed: int, folder: Path) -> GAN:
    """One generator, trained to its end; settings: with their preset's values."""
    method, (config, judge) = METHODS[settings.method], networks(settings)
    pack = judge.channels // config.channels
    torch.manual_seed(seed)
    generator, discriminator = Generator(config), Discriminator(judge)
    model = GAN(generator, next(generator.parameters()).device)

    def look(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        write_png(folder / "samples" / f"step{step:06}.png", grid(model(64, seed=0)), max(1, 64 // config.size))
        labels = labels_of(model(max(1, len(real) // 4), seed=seed), classifier)
        found, _ = missing(labels, real, classifier.config.classes**3)
        return {"validation/modes": found.captured, "validation/kl": found.kl}

    fit(
        phases(generator, discriminator, method.optimizers(generator, discriminator), method, pack),
        Stream(Stacked(images, seed), settings.batch * pack),
        settings.steps,
        folder,
        every=every_and_last(settings.sample_every, settings.steps, look),
        seed=seed,
        checkpoint_every=settings.checkpoint_every,
    )
    draw_run(folder, GAME | {"modes": {"validation/modes": ""}, "KL of the modes (nats)": {"validation/kl": ""}})
    return GAN(generator)


def networks(settings: Settings) -> tuple[NetworkConfig, NetworkConfig]:
    """Of the generator, and of the discriminator."""
    norm = METHODS[settings.method].discriminator_norm
    config = NetworkConfig(settings.size, 3, settings.latent, settings.width, discriminator_norm=norm)
    pack = settings.pack if settings.system == "packed" else 1
    return config, replace(config, channels=3 * pack, width=max(1, config.width // settings.weaker))


def labels_of(pixels: Tensor, classifier: Classifier) -> Tensor:
    """The modes of pictures (number, 3, height, width), uint8, on the CPU."""
    return stacked_labels(classifier, pixels.to(next(classifier.parameters()).device)).cpu()


def tabulate(folders: Sequence[Path]) -> str:
    """A row for all runs that differ in their seed only."""
    rows = []
    loaded = [read_run(folder, "weaker") for folder in folders]

    def kind(pair: Sequence[dict]) -> str:
        return json.dumps({name: value for name, value in pair[0].items() if name not in ("seed", "run")})

    for _, pairs in groupby(sorted(loaded, key=kind), kind):
        configs, scores = zip(*pairs, strict=True)
        config = configs[0]
        system = {"packed": f"packed by {config['pack']}", "ensemble": f"ensemble of {config['members']}"}
        steps = config["steps"] or PRESETS[config["preset"]].steps
        modes = spread([row["generated"]["captured"] for row in scores], ".0f")
        kl = spread([row["generated"]["kl"] for row in scores])
        real = spread([row["real"]["captured"] for row in scores], ".0f")
        name = system.get(config["system"], config["system"])
        rows.append((name, config["weaker"], Path(config["data"]).name, steps, len(scores), modes, kl, real))
    heads = ("system", "D narrower", "data", "steps", "seeds", "modes", "KL", "modes of real pictures")
    return markdown_table(heads, rows)


if __name__ == "__main__":
    run(main, Settings, __doc__)
