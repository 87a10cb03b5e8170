"""Why GANs are hard to train, and what changes it, in one dimension, where every distance is known.

    python recipes/theory.py --run runs/theory      # two minutes of one core

Small discriminators are trained to their end between two fixed distributions; what they then say of fresh samples is an
estimate of a distance, drawn beside its closed form. The run's folder holds `theory.png` and `theory.md`:

* Wasserstein-1 of two Gaussians: with a gradient penalty (Gulrajani et al. 2017) the estimate is the distance, with
  clipped weights (Arjovsky et al. 2017) it falls short of it.
* Two intervals that do not overlap: Jensen-Shannon is log 2 however far apart they are, so that a generator is not told
  which way to go, while Wasserstein shrinks with the distance (Arjovsky and Bottou 2017).
* A weak, a middling and a strong generator: the estimate of the divergence tells them apart, but only once the
  discriminator is trained.
* Every f-divergence (Nowozin et al. 2016) between two Gaussians, as the game finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqgan.checkpoint import write_text
from seqgan.divergences import NAMES, FDivergence
from seqgan.figures import new_figure, save_figure
from seqgan.objectives import Wasserstein
from seqgan.penalties import clip_weights, gradient_penalty
from seqgan.recipe import check_counts, prepare_torch, run
from seqgan.tables import markdown_table

Samples = Callable[[int, torch.Generator], Tensor]  # so many, drawn by a generator: (count, 1)
PENALTY, CLIP = 50.0, 0.01
PARAMETERS = {"weighted-jensen-shannon": 0.3, "alpha": 1.5}
SHIFTS = {"weak": 3.0, "middling": 1.0, "strong": 0.3}  # of a generator's Gaussian from the real one


@dataclass(frozen=True)
class Settings:
    run: Path = Path("runs/theory")
    """Folder of theory.png and theory.md."""
    steps: int = 600
    """Of every discriminator."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""


def gaussian(mean: float) -> Samples:
    """N(mean, 1)"""
    return lambda count, generator: torch.randn(count, 1, generator=generator) + mean


def interval(begin: float) -> Samples:
    """Uniform from begin to begin + 1."""
    return lambda count, generator: torch.rand(count, 1, generator=generator) + begin


def estimate(
    objective: Any,
    real: Samples,
    fake: Samples,
    *,
    steps: int = 600,
    penalty: float = 0.0,
    one_sided: bool = False,
    flat: bool = True,
    clip: float | None = None,
    look_every: int = 0,
) -> list[float]:
    """What a discriminator says of 100,000 fresh samples: the objective's value, which it maximises.

    After its last step; before that also after every `look_every` steps and before the first. penalty: weight of a
    gradient penalty. clip: bound of every weight. flat: the discriminator begins as 0 everywhere. One that happens to
    begin with a slope of the wrong sign is held there by the penalty, whose least is at -1 as well as at 1 and whose
    greatest lies between (in more dimensions one goes around).
    """
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Linear(1, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 1))
    if flat:
        nn.init.zeros_(discriminator[-1].weight)
        nn.init.zeros_(discriminator[-1].bias)
    optimizer = torch.optim.Adam(discriminator.parameters(), 3e-3, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 3e-5)
    generator = torch.Generator().manual_seed(0)
    fresh = [draw(100_000, torch.Generator().manual_seed(seed)) for seed, draw in ((1, real), (2, fake))]
    found = []

    @torch.no_grad()
    def look() -> None:
        found.append(-objective.discriminator(*map(discriminator, fresh)).item())

    for step in range(steps):
        if look_every and step % look_every == 0:
            look()
        x, y = real(512, generator), fake(512, generator)
        loss = objective.discriminator(discriminator(x), discriminator(y))
        if penalty:
            loss = loss + penalty * gradient_penalty(discriminator, x, y, one_sided=one_sided, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if clip is not None:
            clip_weights([discriminator], clip)
    look()
    return found


def divergence(objective: FDivergence, shift: float) -> float:
    """Of N(shift, 1) from N(0, 1), by numerical integration of q f(p / q)."""
    x = torch.linspace(-16, 16 + shift, 40_001, dtype=torch.float64)
    q = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return (q * objective.row.f(torch.exp(shift * x - shift**2 / 2))).sum().item() * (x[1] - x[0]).item()


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    check_counts(settings, "steps")
    figure = new_figure(18, 4)
    axes = figure.subplots(1, 4)
    rows: list[Row] = []
    panels = (two_gaussians, two_intervals, three_generators, every_divergence)
    for axis, panel in zip(axes, panels, strict=True):
        print(panel.__name__.replace("_", " "), flush=True)
        rows += panel(axis, settings.steps)
    save_figure(figure, settings.run / "theory.png")
    cells = ((name, f"{exact:.3f}", f"{found:.3f}") for name, exact, found in rows)
    table = markdown_table(("experiment", "exact", "estimated"), cells)
    write_text(settings.run / "theory.md", table)
    print(table, end="")


Row = tuple[str, float, float]  # what, its exact value, its estimate


def two_gaussians(axis: Any, steps: int) -> list[Row]:
    shifts, rows = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0), []
    ways = {"gradient penalty": {"penalty": PENALTY}, "clipping": {"clip": CLIP}}
    axis.plot(shifts, shifts, "k--", label="exact")
    for name, way in ways.items():
        found = [estimate(Wasserstein(), gaussian(shift), gaussian(0), steps=steps, **way)[-1] for shift in shifts]
        axis.plot(shifts, found, "o-", label=name)
        rows += [(f"Wasserstein-1 of N({shift:g}, 1), N(0, 1) by {name}", shift, value)
                 for shift, value in zip(shifts, found, strict=True)]  # fmt: skip
    axis.set(title="Wasserstein-1 of two Gaussians", xlabel="distance of the means")
    axis.legend()
    return rows


def two_intervals(axis: Any, steps: int) -> list[Row]:
    """Of [0, 1] and [s, s + 1]: JS is s log 2 while they overlap and log 2 from there on, W1 is s."""
    shifts = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
    objective, rows = FDivergence("jensen-shannon"), []  # which is twice the divergence
    js = [estimate(objective, interval(shift), interval(0), steps=steps)[-1] / 2 for shift in shifts]
    w1 = [estimate(Wasserstein(), interval(s), interval(0), steps=steps, penalty=PENALTY)[-1] for s in shifts]
    overlapping = [min(shift, 1) * math.log(2) for shift in shifts]
    for name, exact, found in (("Jensen-Shannon", overlapping, js), ("Wasserstein-1", shifts, w1)):
        axis.plot(shifts, exact, "k--")
        axis.plot(shifts, found, "o-", label=name)
        rows += [(f"{name} of [0, 1], [{shift:g}, {shift + 1:g}]", *pair)
                 for shift, *pair in zip(shifts, exact, found, strict=True)]  # fmt: skip
    axis.set(title="two intervals, apart from 1 on", xlabel="distance")
    axis.legend()
    return rows


def three_generators(axis: Any, steps: int) -> list[Row]:
    """The estimate of Jensen-Shannon while the discriminator learns."""
    objective, every, rows = FDivergence("jensen-shannon"), max(1, steps // 60), []
    for color, (name, shift) in enumerate(SHIFTS.items()):
        curve = estimate(objective, gaussian(shift), gaussian(0), steps=steps, look_every=every)
        found, exact = [value / 2 for value in curve], divergence(objective, shift) / 2
        axis.plot(
            [min(i * every, steps) for i in range(len(found))], found, f"C{color}", label=f"{name}, {shift:g} off"
        )
        axis.axhline(exact, color=f"C{color}", linestyle="--", linewidth=1)
        rows.append((f"Jensen-Shannon of a {name} generator", exact, found[-1]))
    axis.set(title="Jensen-Shannon of three generators", xlabel="step of the discriminator", ylim=(-0.05, 0.72))
    axis.legend()
    return rows


def every_divergence(axis: Any, steps: int) -> list[Row]:
    """But for "gan", which is "jensen-shannon" less log 4."""
    names, rows = [name for name in NAMES if name != "gan"], []
    for name in names:
        objective = FDivergence(name, PARAMETERS.get(name))
        found = estimate(objective, gaussian(0.5), gaussian(0), steps=steps)[-1]
        rows.append((f"{name} of N(0.5, 1) from N(0, 1)", divergence(objective, 0.5), found))
    axis.barh(names, [exact for _, exact, _ in rows], color="0.8", label="exact")
    axis.plot([found for *_, found in rows], names, "C0o", label="estimated")
    axis.set(title="f-divergences of N(0.5, 1) from N(0, 1)")
    axis.invert_yaxis()
    axis.legend(loc="lower right")
    return rows


if __name__ == "__main__":
    run(main, Settings, __doc__)
