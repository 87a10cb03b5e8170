"""The table of the SeqGAN paper (Yu et al. 2017, section 5), and the controls without which its numbers prove nothing.

    python recipes/seqgan_oracle.py --oracle FILE.npz --system mle --run runs/mle-0           # maximum likelihood
    python recipes/seqgan_oracle.py --oracle FILE.npz --start runs/mle-0 --run runs/seqgan-0  # and SeqGAN from there
    python recipes/seqgan_oracle.py --table runs/mle-0 runs/seqgan-0 --run runs/table         # table and picture

An oracle, an LSTM with random weights, writes 10,000 sequences of 20 tokens, from which a generator learns. Each
evaluation records three numbers: NLL_oracle, of the generator's samples under the oracle (nats per token, quality);
NLL_gen, of fresh sequences of the oracle under the generator (coverage); and self-BLEU-2 of 2,000 samples (sameness).
The first alone can be had by lowering the temperature. Systems are those of the paper, and a reward that is always 1.

Without --oracle one is drawn by --oracle-seed. With --preset reduced a seed takes less than an hour of a core; --start
takes the likelihood stage of another run of the same seed. Interrupted anywhere, the same command goes on. A run's
folder holds `generator.safetensors`, `samples/`, `metrics.jsonl` and, of mle, `best.safetensors` (the epoch of the best
NLL_gen) and `controls.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from seqgan_material import BATCH, LENGTH, Material, controls
from seqgan_table import EXPERIMENT, Run, evaluations, tabulate

from seqgan.checkpoint import latest, replacing, write_json, write_text
from seqgan.policy import MovingAverage, Preceding
from seqgan.recipe import every_and_last, open_run, prepare_torch, run
from seqgan.record import read_metrics
from seqgan.text.discriminators import CNNConfig, CNNDiscriminator
from seqgan.text.metrics import References
from seqgan.text.networks import LSTMConfig, LSTMGenerator
from seqgan.text.seqgan import (
    Lagging,
    Pool,
    RealAndFake,
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
from seqgan.training import Phase, Stream, fit

RATE = 0.01  # of maximum likelihood
SHARED = (*EXPERIMENT, "seed")  # by runs of which one starts from the other


@dataclass(frozen=True)
class Schedule:
    """An epoch is all real sequences once; the discriminator sees as many generated ones beside them."""

    mle_epochs: int
    mle_evaluate: int  # epochs between evaluations
    truth_fall: float  # scheduled sampling: by so much less truth after every epoch
    discriminator: CNNConfig
    pairs: int  # real and as many generated sequences in a batch of the discriminator
    discriminator_rate: float
    weight_decay: float  # of the discriminator, as in AdamW
    l2: float  # weight of the squared weights of its last layer
    discriminator_epochs: float  # before the game
    epochs_per_step: float  # after every step of the generator
    renew: float  # epochs that see the same generated sequences
    steps: int  # of the generator
    batch: int  # sequences that it samples in a step
    rollouts: int  # of each of their prefixes
    generator_rate: float
    baseline: Literal["none", "average", "preceding"]  # what is subtracted from a reward, unless that is constant
    evaluate_every: int  # steps


PRESETS = {
    # That of the authors' program, whose discriminator takes 97 % of the time (3,150 epochs).
    "paper": Schedule(
        mle_epochs=120, mle_evaluate=5, truth_fall=0.002,
        discriminator=CNNConfig(), pairs=32, discriminator_rate=1e-4, weight_decay=0.0, l2=0.05,
        discriminator_epochs=150, epochs_per_step=15, renew=3,
        steps=200, batch=64, rollouts=16, generator_rate=0.01, baseline="none", evaluate_every=5,
    ),
    # For a core. 10,000 sequences are soon learnt by heart, and a discriminator that has done so says nothing of other
    # ones. With the paper's decay, of the last layer only, and 500 filters the area under its curve on held-out
    # sequences was at most .64 (seed 7, after five epochs, learnt by heart after seven); with 320, all weights decayed,
    # .66 (after nine; after thirteen). So it is taught for eight, and goes on slowly in the game.
    # It is seldom sure, so what it says of a choice drowns in chance. Two gradients of seed 7, each of other samples,
    # had a cosine of .03 with 256 sequences and 4 rollouts of each prefix (2.7 s), .11 with the same judged by the
    # `Preceding` baseline, and .38 with 5,120 sequences and no rollouts (4.5 s): a core is better spent on sequences.
    # At a rate of .003 the two players circled (NLL_oracle down by .03 after 20 steps, up again after 40).
    "reduced": Schedule(
        mle_epochs=14, mle_evaluate=2, truth_fall=0.02,
        discriminator=CNNConfig(
            embedding=32, filters=tuple((width, 64) for width in range(1, 6)), reach=0.2, dropout=0.5
        ),
        pairs=160, discriminator_rate=1e-3, weight_decay=1.0, l2=0.005,
        discriminator_epochs=8, epochs_per_step=0.1, renew=0.05,
        steps=300, batch=5120, rollouts=0, generator_rate=0.001, baseline="average", evaluate_every=10,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    oracle: Path | None = None
    """Arrays of an oracle, see `seqgan.text.seqgan.oracle`; by default one of 5,000 tokens is drawn."""
    run: Path = Path("runs/seqgan_oracle")
    """Folder of this run; with --table, of table.md and table.png."""
    system: Literal["mle", "scheduled-sampling", "constant", "pg-bleu", "seqgan"] = "seqgan"
    """What the likelihood stage is followed by, or replaced with."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    start: Path | None = None
    """Run of the same seed whose likelihood stage is taken instead of training one."""
    mle_epochs: int | None = None
    """By default the preset's, as are those that follow."""
    discriminator_epochs: float | None = None
    """Of the discriminator alone, before the game."""
    epochs_per_step: float | None = None
    """Of the discriminator, after every step of the generator."""
    steps: int | None = None
    """Of the generator in the game."""
    batch: int | None = None
    """Sequences that it samples in a step."""
    rollouts: int | None = None
    """Of each of their prefixes; 0 rewards whole sequences."""
    generator_rate: float | None = None
    """Learning rate of the game."""
    baseline: Literal["none", "average", "preceding"] | None = None
    """What is subtracted from a reward."""
    evaluate_every: int | None = None
    """Steps after which NLL_oracle is measured."""
    seed: int = 0
    """Of the sequences, the weights and the training."""
    oracle_seed: int = 0
    """Of an oracle that is drawn, as is its vocabulary."""
    vocabulary: int = 5000
    """Tokens of an oracle that is drawn."""
    sequences: int = 10_000
    """Real ones, which the oracle writes."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    table: tuple[Path, ...] = ()
    """Do not train: set these runs side by side."""

    @property
    def schedule(self) -> Schedule:
        preset = PRESETS[self.preset]
        own = {field.name: getattr(self, field.name, None) for field in fields(preset)}
        return replace(preset, **{name: value for name, value in own.items() if value is not None})

    def batches(self, epochs: float) -> int:
        """Of the discriminator."""
        return max(1, round(epochs * (self.sequences // self.schedule.pairs)))


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.table:
        print(tabulate(settings.table, settings.run), end="")
    else:
        train(settings)


def train(settings: Settings) -> None:
    if settings.sequences < max(2 * BATCH, settings.schedule.pairs):
        raise ValueError(f"{settings.sequences} sequences are too few for a batch and as many to compare with")
    if settings.schedule.baseline == "preceding" and not settings.schedule.rollouts:
        raise ValueError(
            "--baseline preceding needs --rollouts: without them all choices of a sequence are worth the same"
        )
    if settings.system in ("mle", "scheduled-sampling") and settings.start is not None:
        raise ValueError(f"--system {settings.system} is trained from the beginning, so it has no --start")
    config = {**asdict(settings), "schedule": asdict(settings.schedule)}
    found = None if settings.start is None else likelihood_of(settings.start, config)
    likelihood_only, both = (rf"(schedule\.)?({name})_epochs" for name in ("mle", "mle|discriminator"))
    open_run(settings.run, config, settings.schedule.steps, {"discriminator": likelihood_only, "adversarial": both})
    if found is not None:
        adopt(settings.start, found, settings.run)
    if settings.oracle is None:
        writer = random_oracle(LSTMConfig(settings.vocabulary), settings.oracle_seed)
    else:
        writer = oracle(settings.oracle)
    material = Material.of(writer, settings.sequences, settings.seed)
    torch.manual_seed(settings.seed)
    generator = LSTMGenerator(LSTMConfig(material.oracle.config.vocabulary))
    likelihood(generator, material, settings)
    if settings.system == "mle":
        write_json(settings.run / "controls.json", controls(generator, material, settings.run))
    elif settings.system != "scheduled-sampling":
        game(generator, material, settings)


def likelihood(generator: LSTMGenerator, material: Material, settings: Settings) -> None:
    schedule, optimizer = settings.schedule, torch.optim.Adam(generator.parameters(), RATE, fused=True)
    per_epoch = settings.sequences // BATCH
    if settings.system == "scheduled-sampling":
        stage = "scheduled-sampling"
        fall = schedule.truth_fall / per_epoch
        phase = scheduled_sampling(generator, optimizer, lambda step: max(0.0, 1 - fall * step))
    else:
        stage, phase = "mle", mle(generator, optimizer)
    look = watch(generator, material, settings.run, stage)

    def hook(step: int) -> dict[str, float]:
        values = look(step)
        if all(values["nll_gen"] < past["nll_gen"] for past in evaluations(settings.run, stage)):
            generator.save(settings.run / "best.safetensors")
        return values

    fit(
        [phase],
        Stream(material.training, BATCH, seed=settings.seed),
        schedule.mle_epochs * per_epoch,
        settings.run,
        stage=stage,
        every=every_and_last(schedule.mle_evaluate * per_epoch, schedule.mle_epochs * per_epoch, hook),
        seed=settings.seed,
    )


def game(generator: LSTMGenerator, material: Material, settings: Settings) -> None:
    """The policy gradient, by a reward that is always 1, by BLEU, or by a discriminator that learns as well."""
    schedule, lagging = settings.schedule, Lagging(generator)
    state: dict[str, Any] = {"lagging": lagging}
    if schedule.baseline != "none" and settings.system != "constant":
        state["baseline"] = MovingAverage() if schedule.baseline == "average" else Preceding()
    others: list[Phase] = []
    discriminator = None
    if settings.system == "constant":
        judge = constant
    elif settings.system == "pg-bleu":
        judge = by_rollouts(lagging.model, bleu(References(material.training, 2)), schedule.rollouts)
    else:
        torch.manual_seed(settings.seed)
        discriminator = CNNDiscriminator(replace(schedule.discriminator, vocabulary=len(generator.output.weight)))
        judge = by_rollouts(lagging.model, realness(discriminator), schedule.rollouts)
        renew = settings.batches(schedule.renew)
        pool = state["pool"] = Pool(generator, min(settings.sequences, renew * schedule.pairs), LENGTH, renew)
        data = Stream(RealAndFake(material.training, pool.size, settings.seed), schedule.pairs)
        optimizer = torch.optim.AdamW(
            discriminator.parameters(), schedule.discriminator_rate, weight_decay=schedule.weight_decay, fused=True
        )
        alone = discriminate(discriminator, optimizer, pool, data, l2=schedule.l2)
        others = [replace(alone, repeat=settings.batches(schedule.epochs_per_step))]
        fit(
            [alone],
            None,
            settings.batches(schedule.discriminator_epochs),
            settings.run,
            stage="discriminator",
            state={"pool": pool},
            seed=settings.seed,
        )
        pool.used = 0  # the game begins with new sequences
    own = policy_gradient(
        generator,
        torch.optim.Adam(generator.parameters(), schedule.generator_rate, fused=True),
        judge,
        batch=schedule.batch,
        length=LENGTH,
        baseline=state.get("baseline"),
        after=lagging.update,
    )
    fit(
        [own, *others],
        None,
        schedule.steps,
        settings.run,
        state=state,
        every=every_and_last(
            schedule.evaluate_every,
            schedule.steps,
            watch(generator, material, settings.run, "adversarial", discriminator),
        ),
        seed=settings.seed,
        log_every=schedule.evaluate_every,
    )


def watch(
    generator: LSTMGenerator,
    material: Material,
    folder: Path,
    stage: str,
    discriminator: CNNDiscriminator | None = None,
) -> Callable[[int], dict[str, float]]:
    """The hook that measures, and keeps the weights and some samples."""

    def hook(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        samples = material.drawn_from(generator)
        write_text(folder / "samples" / f"{stage}-{step:06}.txt", "".join(f"{row}\n" for row in samples[:20].tolist()))
        values = material.measure(samples, negative_log_likelihood(generator, material.fresh))
        if discriminator is not None:
            device = next(discriminator.parameters()).device
            real, fake = (discriminator.score(part[:1000].to(device)) for part in (material.fresh, samples))
            # Area under the curve: how often a real sequence that nobody learnt from has a higher score than a fake.
            values["held_out_area"] = (real[:, None] > fake).float().mean().item()
        return values

    return hook


def likelihood_of(start: Path, config: Mapping[str, Any]) -> Path:
    """The checkpoint of another run's likelihood stage; ValueError where it has none or is of other settings."""
    theirs = Run(start).config
    ours = json.loads(json.dumps(config, default=str))
    differing = [name for name in SHARED if theirs[name] != ours[name]]
    differing += ["mle_epochs"] if theirs["schedule"]["mle_epochs"] != ours["schedule"]["mle_epochs"] else []
    if differing:
        raise ValueError(f"{start} differs in {', '.join(differing)}, so this run cannot start there")
    found = latest(start / "checkpoints", "mle")
    if found is None:
        raise ValueError(f"{start} has no stage mle")
    return found[0]


def adopt(start: Path, checkpoint: Path, folder: Path) -> None:
    """Copies the likelihood stage of another run to this one, which then finds it finished."""
    if (folder / "checkpoints" / checkpoint.name).exists():
        return
    lines = [json.dumps(line) + "\n" for line in read_metrics(start) if line["stage"] == "mle"]
    write_text(folder / "metrics.jsonl", "".join(lines))
    with replacing(folder / "checkpoints" / checkpoint.name) as part:
        shutil.copyfile(checkpoint, part)


if __name__ == "__main__":
    run(main, Settings, __doc__)
