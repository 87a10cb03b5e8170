"""What turns a training script of one settings dataclass and one `main` into a command."""

import json
import math
import os
import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import tyro

from .checkpoint import to_json, write_text

Settings = TypeVar("Settings")
Hook = TypeVar("Hook")


def run(main: Callable[[Settings], None], settings: type[Settings], description: str | None = None) -> None:
    """Reads the settings from the command line and calls `main` with them.

    What the user can mend (a missing folder, a value out of range, a package that is not installed) is told in one line
    with exit code 1; `--debug` shows where it was raised. --help tells what PRESETS beside `main` has, a mapping of
    dataclasses by name.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if not is_main_rank():  # the main one speaks for all
        sys.stdout = open(os.devnull, "w")
    presets = main.__globals__.get("PRESETS", {})
    lines = [description or "", *(f"--preset {name}: {told(preset)}" for name, preset in presets.items())]
    chosen = tyro.cli(settings, args=arguments, description="\n".join(lines))
    try:
        main(chosen)
    except KeyboardInterrupt:  # before or after the loop, which saves
        print(f"{sys.argv[0]}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    leave_ranks()


def told(settings: Any) -> str:
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in vars(settings).items() if value is not None)


def with_preset(settings: Settings, preset: Any) -> Settings:
    """The settings with the preset's values in the place of None (a 0 stays a 0); both are dataclasses."""
    missing = [name for name, value in vars(settings).items() if value is None]
    return replace(settings, **{name: value for name, value in vars(preset).items() if name in missing})


def check_counts(settings: Any, *names: str) -> None:
    """ValueError where one of these settings is below 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} counts from 1, not {getattr(settings, name)}")


RANGES = {
    "seed": (0, math.inf),
    "ema|decay|category_balance": (0, 1),
    "noise|learning_rate|.*_every": (0, math.inf),
    "classifier_steps|climb": (1, math.inf),
}


def check_ranges(settings: Any) -> None:
    """ValueError where one of the settings, a dataclass or a dict, is a number beyond its range in RANGES."""
    for path, value in _leaves(json.loads(to_json(settings)), ()):
        name = path.rpartition(".")[2]
        for pattern, (least, most) in RANGES.items():
            if isinstance(value, int | float) and re.fullmatch(pattern, name) and not least <= value <= most:
                span = f"{least} or more" if most == math.inf else f"from {least} to {most}"
                raise ValueError(f"--{path.replace('_', '-')} is {span}, not {value}")


def prepare_torch(threads: int | None) -> None:
    """threads: of torch on the CPU, None for one a core."""
    import torch

    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads are 1 or more, not {threads}")
        torch.set_num_threads(threads)
    # What fades (silence, probabilities near 0) makes denormal numbers, on which a CPU is many times slower.
    torch.set_flush_denormal(True)


def is_main_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


def leave_ranks() -> None:
    """Where there are other ranks, waits for them and ends this process with exit code 0; else does nothing.

    Distributed data parallelism keeps gloo's threads alive even after the group is destroyed, and one that runs into
    the interpreter's own end aborts the process (exit code -6), so that end is left out.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def warm_up_and_cosine(steps: int, warm_up: int, decay: float) -> Callable[[int], float]:
    """Factor on a learning rate: a rise over `warm_up` steps, a constant stretch, and a cosine down to a hundredth over
    the last share `decay` of the steps. Raising `steps` before the cosine begins prolongs a run."""

    def factor(step: int) -> float:
        left = min(1.0, (steps - step) / max(1, decay * steps))
        fall = 0.01 + 0.99 * 0.5 * (1 - math.cos(math.pi * left))
        return min(1.0, (step + 1) / max(1, warm_up)) * fall

    return factor


HARMLESS = re.compile(
    r"(run|data|decay|threads|(metric_)?workers|precision|(?!.*(critic|classifier)_steps)(.*[._])?(steps|epochs|every))"
)


def open_run(
    folder: Path, settings: Any, steps: int = sys.maxsize, earlier: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Makes the run's folder and writes `settings` (a dataclass or a dict) to its config.json.

    ValueError, and nothing written, where settings are beyond RANGES, or where a training was begun there with settings
    that would make another of it. How long it takes, how often it looks, and where it runs may change (HARMLESS), but
    its game cannot have more than `steps` behind it; and once a stage has begun, the lengths of those before it are
    what they were: `earlier` has the pattern of their names, by stage.
    """
    check_ranges(settings)
    done = max((int(path.stem.split("-")[1]) for path in folder.rglob("adversarial-*.pt")), default=0)
    if any((folder / "checkpoints").glob("*.pt")):
        settled = "|".join(names for stage, names in earlier.items() if any(folder.rglob(f"{stage}-*.pt")))
        refuse_others(folder, settings, re.compile(f"(?!({settled})$){HARMLESS.pattern}"))
    if done > steps:
        raise ValueError(f"{folder} holds a training of {done} steps, more than {steps}: choose another --run")
    write_text(folder / "config.json", to_json(settings))


def refuse_others(folder: Path, settings: Any, harmless: re.Pattern = HARMLESS) -> None:
    """ValueError where the folder's config.json has other settings, but for those whose names are `harmless`."""
    path = folder / "config.json"
    if not path.exists():
        return
    texts, whole = (path.read_text(encoding="utf-8"), to_json(settings)), set(_mappings(settings))
    old, new = (dict(_leaves(json.loads(text), whole)) for text in texts)
    changed = [name for name in old.keys() & new.keys() if old[name] != new[name] and not harmless.fullmatch(name)]
    if changed:
        told = ", ".join(f"{name} was {old[name]}, not {new[name]}" for name in sorted(changed))
        raise ValueError(f"{folder} holds a training with other settings ({told}): choose another --run")


def read_run(folder: Path, setting: str) -> tuple[Any, Any]:
    """What a finished run's config.json and scores.json hold; ValueError for one of another recipe, which has not this
    setting."""
    config, scores = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "scores.json")
    )
    if setting not in config:
        raise ValueError(f"{folder} holds a run of another recipe: it has no setting {setting}")
    return config, scores


def _leaves(settings: dict[str, Any], whole: Container[str], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and before + name not in whole:
            yield from _leaves(value, whole, f"{before}{name}.")
        else:
            yield before + name, value


def _mappings(settings: Any, before: str = "") -> Iterator[str]:
    """The settings whose value is a mapping, which is other settings where it has one key more or less."""
    for one in fields(settings) if is_dataclass(settings) else ():
        value = getattr(settings, one.name)
        if isinstance(value, Mapping):
            yield before + one.name
        yield from _mappings(value, f"{before}{one.name}.")


def every_and_last(interval: int, steps: int, hook: Hook) -> dict[int, Hook]:
    """`every` of `seqgan.training.fit`: a hook every so many steps, and at the end; interval 0 is at the end only."""
    return ({interval: hook} if interval else {}) | ({steps: hook} if not interval or steps % interval else {})
