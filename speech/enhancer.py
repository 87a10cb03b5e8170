"""The enhancer: noisy speech in, clean speech out, at any sample rate, at once or as a stream."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from seqgan.checkpoint import find_weights, load_weights, read_metadata, save_folder

from .networks import GeneratorConfig, MaskGenerator
from .streaming import LOWEST_RATE, EnhancementStream
from .windows import GRID, Grid

Wave = TypeVar("Wave", np.ndarray, Tensor)


class Enhancer:
    """Removes noise from speech.

        enhancer = Enhancer.from_pretrained()
        clean = enhancer(noisy, sample_rate=48_000)

    `base` looks two seconds ahead, `small` 32 ms (see `delay`).
    """

    def __init__(self, generator: MaskGenerator, device: str | torch.device = "cpu", grid: Grid = GRID):
        try:
            self.generator = generator.eval().to(device, memory_format=torch.channels_last)
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # as torch finds it
            raise ValueError(f"the device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
        self.grid = grid

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "base", device: str | torch.device = "cpu") -> Enhancer:
        """A bundled model (base, small), a .safetensors file, a folder of `save_pretrained` or of a training, or a hub
        id owner/name."""
        try:
            path = find_weights(name_or_path, "seqgan.speech")
        except ValueError:
            if Path(name_or_path).exists() or not is_hub_id(name_or_path):
                raise
            path = fetch(str(name_or_path))
        check_settings(path)
        return cls(MaskGenerator.load(path), device)

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with config.json and model.safetensors (float16)."""
        return save_folder(path, self.generator.config, self.generator.save)

    def push_to_hub(self, repo_id: str, private: bool = False) -> str:
        """Uploads what `save_pretrained` writes to huggingface.co under "owner/name"; returns the address."""
        from tempfile import TemporaryDirectory

        from huggingface_hub import HfApi

        api = HfApi()
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            api.upload_folder(repo_id=repo_id, folder_path=self.save_pretrained(folder))
        return str(address)

    @property
    def sample_rate(self) -> int:
        """The model's own rate in Hz; other rates are brought to it and back."""
        return self.generator.config.sample_rate

    @property
    def delay(self) -> float:
        """Seconds of input beyond a sample that a stream at the model's own rate waits for before it yields it.

        At other rates resampling adds a few milliseconds: `open_stream(sample_rate).delay`.
        """
        return self.open_stream(self.sample_rate).delay

    def __call__(
        self, wave: Wave, sample_rate: int = 16_000, strength: float = 1.0, max_attenuation: float | None = None
    ) -> Wave:
        """Enhanced wave of the same kind (numpy array or tensor), type, device and shape.

        wave: (samples,), (channels, samples) or (batch, channels, samples), floating point, full scale 1.0; every
        channel is enhanced by itself. strength: 1 is the model's output, 0 the input. max_attenuation: dB beyond which
        nothing is attenuated.
        """
        shape = tuple(wave.shape)
        check_shape(shape)
        samples = as_array(wave).reshape(math.prod(shape[:-1]), shape[-1])
        stream = self.open_stream(sample_rate, len(samples), strength, max_attenuation)
        enhanced = np.concatenate([stream.push(samples), stream.finish()], 1).reshape(shape)
        warn_of_replaced(stream)
        return like(enhanced, wave)

    def stream(
        self,
        chunks: Iterable[Wave],
        sample_rate: int = 16_000,
        strength: float = 1.0,
        max_attenuation: float | None = None,
    ) -> Iterator[Wave]:
        """Enhanced chunks of a recording that comes in chunks of any sizes, each (channels, samples) or all (samples,).

        Put together they are what a call gives for the whole. A sample comes out as soon as the input is known `delay`
        seconds beyond it, the rest at the end.
        """
        stream = chunk = None
        for chunk in chunks:
            if chunk.ndim not in (1, 2):
                raise ValueError(f"a chunk has the shape (channels, samples) or (samples,), not {tuple(chunk.shape)}")
            samples = as_array(chunk)
            if stream is None:
                stream = self.open_stream(
                    sample_rate, len(samples) if chunk.ndim == 2 else 1, strength, max_attenuation
                )
            enhanced = stream.push(samples if chunk.ndim == 2 else samples[None])
            if enhanced.shape[1]:
                yield like(enhanced if chunk.ndim == 2 else enhanced[0], chunk)
        if stream is not None:
            enhanced = stream.finish()
            warn_of_replaced(stream)
            yield like(enhanced if chunk.ndim == 2 else enhanced[0], chunk)

    def open_stream(
        self, sample_rate: int = 16_000, channels: int = 1, strength: float = 1.0, max_attenuation: float | None = None
    ) -> EnhancementStream:
        """A stream to push chunks into by hand, as a microphone's callback does."""
        return EnhancementStream(self.generator, sample_rate, channels, strength, max_attenuation, self.grid)


def check_settings(path: Path) -> None:
    """ValueError if a weights file's settings are not those of its tensors.

    A model made from them then takes no more memory than the tensors do, which are as large as the file.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != MaskGenerator.FORMAT:
        raise ValueError(f"{path} is no model of an Enhancer (its metadata says {metadata.get('format')})")
    try:
        settings = json.loads(metadata["config"])
        config = GeneratorConfig(**{**settings, "channels": tuple(settings["channels"])})
        plausible = 0 < config.compression <= 1 and 0 < config.mask_limit <= 10 and config.sample_rate >= LOWEST_RATE
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no model of an Enhancer: its settings cannot be read ({error!r})") from error
    shapes = {name: list(tensor.shape) for name, tensor in load_weights(path).items()}
    if not plausible or any(shapes.get(name) != shape for name, shape in telling_shapes(config).items()):
        raise ValueError(f"{path} is no model of an Enhancer: its settings are not those of its weights")


def telling_shapes(config: GeneratorConfig) -> dict[str, list[int]]:
    """Of the tensors by which a generator's size is known. torch's meta device would take a second."""
    channels, bands = config.channels[-1], config.bins // 2 ** len(config.channels)
    shapes = {}
    for i, (before, after) in enumerate(zip((3, *config.channels), config.channels, strict=False)):
        shapes[f"encoder.{i}.conv.weight"] = [after, before, 3, 5 if i == 0 else 3]
    for i in range(config.paths):
        shapes[f"paths.{i}.across.weight_ih_l0"] = [3 * (config.path_hidden // 2), channels]
        shapes[f"paths.{i}.norm.0.weight"] = [bands, channels]
    if config.layers:
        inside = config.hidden * (1 if config.causal else 2)
        shapes["project.weight"] = [channels * bands, inside]
        shapes["recurrent.weight_ih_l0"] = [3 * config.hidden, channels * bands]
        for layer in range(config.layers):
            shapes[f"recurrent.weight_hh_l{layer}"] = [3 * config.hidden, config.hidden]
    return shapes


def warn_of_replaced(stream: EnhancementStream) -> None:
    if stream.replaced:
        warnings.warn(f"{stream.replaced} samples were NaN or infinite; they count as silence", RuntimeWarning, 3)


def check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2, 3):
        raise ValueError(f"a wave is (samples,), (channels, samples) or (batch, channels, samples), not {shape}")
    if 0 in shape[:-1]:
        raise ValueError(f"a wave of shape {shape} has no channel")
    if len(shape) > 1 and shape[-2] > 64 >= shape[-1] > 0:
        raise ValueError(
            f"a wave of shape {shape} has {shape[-2]} channels: (channels, samples) is meant, transpose it"
        )


def as_array(wave: np.ndarray | Tensor) -> np.ndarray:
    """The samples as float32 or float64; ValueError where they are no floating point numbers."""
    if isinstance(wave, Tensor):
        wave = wave.detach().cpu()
        wave = (wave if wave.dtype == torch.float64 or not wave.is_floating_point() else wave.float()).numpy()
    if wave.dtype.kind != "f":
        raise ValueError(
            f"samples are floating point with full scale 1.0, not {wave.dtype}: divide 16-bit ones by 32768"
        )
    return wave if wave.dtype == np.float64 else wave.astype(np.float32, copy=False)


def like(samples: np.ndarray, wave: Wave) -> Wave:
    """The samples as the kind, type and device of `wave`."""
    if isinstance(wave, Tensor):
        return torch.from_numpy(samples).to(wave.device, wave.dtype)
    return samples.astype(wave.dtype, copy=False)


def is_hub_id(name: str | Path) -> bool:
    return (
        isinstance(name, str)
        and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
        and not name.endswith(".safetensors")
        and not Path(name).parent.is_dir()  # a path that is mistyped
    )


def fetch(repo_id: str) -> Path:
    """model.safetensors of a repository on huggingface.co, from the local cache if it is there."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id, "model.safetensors"))
    except Exception as error:  # of the network, the hub, or a missing repository, each of its own class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"no model {repo_id!r}: no file or folder here, and the hub says: {reason}") from error
