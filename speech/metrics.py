"""How good enhanced speech is: the measures that papers on speech enhancement report, on arrays of shape (samples,).

Those that compare take the clean reference first. All take any sample rate; PESQ, the composite measures and DNSMOS are
defined at 16 kHz and resample. What cannot be measured (a silent reference, a too short recording) is a ValueError.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Wave = np.ndarray  # float64, (samples,)

TINY = np.finfo(float).eps


def pesq(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> float:
    """Perceptual evaluation of speech quality, wide band (ITU-T P.862.2): a predicted opinion from 1.04 to 4.64.

    It aligns levels and delays before it compares.
    """
    package = _package("pesq")
    clean, enhanced = (resample(wave, sample_rate, 16_000) for wave in _pair(clean, enhanced))
    if not enhanced.any():
        raise ValueError("PESQ is not defined: the enhanced signal is silent")
    try:
        return float(package.pesq(16_000, clean, enhanced, "wb"))
    except package.NoUtterancesError:
        raise ValueError("PESQ is not defined: it finds no speech in the reference") from None
    except package.BufferTooShortError:
        raise ValueError(f"PESQ is not defined below 0.25 s: the signals have {clean.size / 16_000:.3f} s") from None


def stoi(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int, extended: bool = False) -> float:
    """Short-time objective intelligibility, about 0 to 1 (Taal et al. 2011); extended: ESTOI (Jensen & Taal 2016)."""
    package = _package("pystoi")
    clean, enhanced = _pair(clean, enhanced)
    try:
        with warnings.catch_warnings():
            # Below 30 frames of speech pystoi warns and gives 1e-5, which would pass for a score.
            warnings.simplefilter("error", RuntimeWarning)
            return float(package.stoi(clean, enhanced, sample_rate, extended))
    except (RuntimeWarning, ValueError, IndexError):
        raise ValueError("STOI is not defined: the reference has less than 0.4 s of speech") from None


def si_sdr(clean: ArrayLike, enhanced: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 3); -inf for silence."""
    clean, enhanced = _pair(clean, enhanced)
    target = (enhanced @ clean) / (clean @ clean) * clean
    distortion = enhanced - target
    with np.errstate(divide="ignore"):
        if not target.any():
            return -np.inf
        return float(10 * np.log10((target @ target) / (distortion @ distortion)))


def segmental_snr(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> float:
    """Mean over frames of 30 ms of the signal-to-noise ratio in dB, each limited to -10 to 35 dB (Hu & Loizou 2008)."""
    clean, enhanced = _frames(*_pair(clean, enhanced), sample_rate)
    signal, noise = np.square(clean).sum(1), np.square(clean - enhanced).sum(1)
    return float(np.clip(10 * np.log10(signal / (noise + TINY) + TINY), -10, 35).mean())


def log_likelihood_ratio(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> float:
    """Distance of two all-pole envelopes, 0 when they agree (Quackenbush et al. 1988); mean of the best 95 % of frames.

    It is the log of the error that the enhanced signal's linear predictor leaves in the clean one over the least error.
    """
    clean, enhanced = _frames(*_pair(clean, enhanced), sample_rate)
    order = 10 if sample_rate < 10_000 else 16
    correlation = _autocorrelation(clean, order)
    best, other = _predictor(correlation), _predictor(_autocorrelation(enhanced, order))
    index = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    matrix = correlation[:, index]  # (frame, order + 1, order + 1), Toeplitz
    error, least = (np.einsum("fi,fij,fj->f", a, matrix, a) for a in (other, best))
    tiny = np.finfo(float).tiny
    return _mean_of_best(np.log(np.maximum(error, tiny) / np.maximum(least, tiny)))


# Critical bands of the weighted spectral slope, in Hz.
CENTRES = """50 120 190 260 330 400 470 540 617.372 703.378 798.717 904.128 1020.38 1148.30 1288.72 1442.54 1610.70
    1794.16 1993.93 2211.08 2446.71 2701.97 2978.04 3276.17 3597.63"""
WIDTHS = """70 70 70 70 70 70 70 77.3724 86.0056 95.3398 105.411 116.256 127.914 140.423 153.823 168.154 183.457
    199.776 217.153 235.631 255.255 276.072 298.126 321.465 346.136"""


def weighted_spectral_slope(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> float:
    """Distance of the slopes between neighbouring critical bands, weightier near spectral peaks (Klatt 1982).

    0 when they agree; mean of the best 95 % of frames. The bands end at 3.6 kHz.
    """
    frames = _frames(*_pair(clean, enhanced), sample_rate)
    size = 2 ** int(np.ceil(np.log2(2 * frames[0].shape[1])))
    bands = _critical_bands(sample_rate, size)
    levels = [10 * np.log10(np.maximum(_power(frame, size) @ bands.T, 1e-10)) for frame in frames]  # (frame, band)
    slopes = [np.diff(level, axis=1) for level in levels]
    weight = sum(_slope_weight(level, slope) for level, slope in zip(levels, slopes, strict=True))
    distance = (weight * (slopes[0] - slopes[1]) ** 2).sum(1) / weight.sum(1)
    return _mean_of_best(distance)


def composite(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> dict[str, float]:
    """Predicted opinions, 1 to 5, of signal distortion (csig), background (cbak) and the whole (covl).

    The regressions of Hu & Loizou (2008), with wide-band PESQ for their narrow-band one, as tables since SEGAN have.
    """
    clean, enhanced = (resample(wave, sample_rate, 16_000) for wave in _pair(clean, enhanced))
    return _composite(
        pesq(clean, enhanced, 16_000),
        log_likelihood_ratio(clean, enhanced, 16_000),
        weighted_spectral_slope(clean, enhanced, 16_000),
        segmental_snr(clean, enhanced, 16_000),
    )


def log_spectral_distance(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> float:
    """Difference of log spectra in dB: root mean square over frequency, mean over frames (Gray & Markel 1976).

    What lies more than 80 dB below the loudest bin of the clean signal counts as lying just there.
    """
    frames = _frames(*_pair(clean, enhanced), sample_rate)
    power = [_power(frame, frame.shape[1]) for frame in frames]
    floor = 1e-8 * power[0].max()
    first, second = (10 * np.log10(np.maximum(p, floor)) for p in power)
    return float(np.sqrt(np.square(first - second).mean(1)).mean())


def dnsmos(wave: ArrayLike, sample_rate: int) -> dict[str, float]:
    """Opinions, 1 to 5, that a network predicts without a reference (DNSMOS P.835, Reddy et al. 2022).

    Of the speech (sig), the background (bak) and the whole (ovrl), and the older p808. Below 9 s the recording is
    repeated, as its authors do; samples beyond full scale are clipped.
    """
    wave = resample(_wave(wave, "the signal"), sample_rate, 16_000)
    opinion = _dnsmos_model()(np.clip(wave, -1, 1).astype(np.float32), 16_000, False)
    return {name: float(opinion[f"{name}_mos"]) for name in ("sig", "bak", "ovrl", "p808")}


def level_change(before: ArrayLike, after: ArrayLike) -> float:
    """How many dB louder the copy of `before` is that fits best into `after`: removed or added noise does not count.

    The signals must be in step (see lag).
    """
    before, after = _pair(before, after)
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(np.abs(after @ before) / (before @ before)))


def lag(before: ArrayLike, after: ArrayLike) -> int:
    """How many samples `after` is late (positive) or early: where the cross-correlation is largest, of either sign."""
    before, after = _pair(before, after)
    if not after.any():
        raise ValueError("a lag is not defined: the second signal is silent")
    size = 2 ** int(np.ceil(np.log2(2 * before.size)))
    correlation = np.fft.irfft(np.fft.rfft(after, size) * np.fft.rfft(before, size).conj(), size)
    peak = int(np.argmax(np.abs(correlation)))
    return peak - size if peak > size // 2 else peak


def in_step(before: ArrayLike, after: ArrayLike) -> tuple[Wave, Wave]:
    """Both without the lag: what remains of them, equally long."""
    before, after = _pair(before, after)
    late = lag(before, after)
    return (before[: before.size - late], after[late:]) if late >= 0 else (before[-late:], after[:late])


def full_reference(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> dict[str, float]:
    """Every measure that compares and whose package is installed; NaN where a pair has none, as PESQ without speech.

    level_change (dB) is that of the speech, after lag (samples) is taken out.
    """
    clean, enhanced = _pair(clean, enhanced)
    wide = [resample(wave, sample_rate, 16_000) for wave in (clean, enhanced)]
    measures = {
        "pesq": lambda: pesq(*wide, 16_000),
        "stoi": lambda: stoi(clean, enhanced, sample_rate),
        "estoi": lambda: stoi(clean, enhanced, sample_rate, extended=True),
        "si_sdr": lambda: si_sdr(clean, enhanced),
        "segmental_snr": lambda: segmental_snr(*wide, 16_000),
        "log_likelihood_ratio": lambda: log_likelihood_ratio(*wide, 16_000),
        "weighted_spectral_slope": lambda: weighted_spectral_slope(*wide, 16_000),
        "log_spectral_distance": lambda: log_spectral_distance(*wide, 16_000),
        "lag": lambda: lag(clean, enhanced),
        "level_change": lambda: level_change(*in_step(clean, enhanced)),
    }
    scores: dict[str, float] = {}
    for name, measure in measures.items():
        try:
            scores[name] = measure()
        except ImportError:
            continue
        except ValueError:
            scores[name] = float("nan")
    if "pesq" in scores:
        parts = ("pesq", "log_likelihood_ratio", "weighted_spectral_slope", "segmental_snr")
        scores |= _composite(*(scores[part] for part in parts))
    return scores


def score(clean: ArrayLike, enhanced: ArrayLike, sample_rate: int) -> dict[str, float]:
    """All there is: `full_reference` and, where it is installed, DNSMOS of the enhanced signal (dnsmos_sig, ...)."""
    scores = full_reference(clean, enhanced, sample_rate)
    try:
        scores |= {f"dnsmos_{name}": value for name, value in dnsmos(enhanced, sample_rate).items()}
    except ImportError:
        pass
    return scores


def resample(wave: Wave, sample_rate: int, wanted: int) -> Wave:
    """wave: (samples,) at sample_rate Hz -> (samples * wanted / sample_rate,)."""
    if sample_rate == wanted:
        return wave
    import soxr

    return soxr.resample(wave, sample_rate, wanted)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this measure needs {name} ({error}): pip install 'seqgan[metrics]'") from error


def _wave(wave: ArrayLike, name: str) -> Wave:
    wave = np.asarray(wave, float)
    if wave.ndim != 1:
        raise ValueError(f"{name} must have shape (samples,), not {wave.shape}: score one channel at a time")
    if not wave.size:
        raise ValueError(f"{name} is empty")
    if not np.isfinite(wave).all():
        raise ValueError(f"{name} has samples that are not finite")
    return wave


def _pair(clean: ArrayLike, enhanced: ArrayLike) -> tuple[Wave, Wave]:
    clean, enhanced = _wave(clean, "the reference"), _wave(enhanced, "the enhanced signal")
    if clean.size != enhanced.size:
        raise ValueError(f"the signals differ in length: reference {clean.size}, enhanced {enhanced.size} samples")
    if not clean.any():
        raise ValueError("the reference is silent: nothing can be compared with it")
    return clean, enhanced


def _frames(clean: Wave, enhanced: Wave, sample_rate: int) -> list[np.ndarray]:
    """Both as (frame, sample): 30 ms under a Hann window, every 7.5 ms."""
    size = round(0.03 * sample_rate)
    hop = size // 4
    count = int((clean.size - size) / hop)  # less the last whole frame, like the programs behind all tables
    if count < 1:
        raise ValueError(f"{clean.size} samples at {sample_rate} Hz are too few: at least 37.5 ms are needed")
    window = np.hanning(size + 2)[1:-1]
    view = np.lib.stride_tricks.sliding_window_view
    # The tiny offset, theirs too, gives frames of digital silence a spectrum.
    return [view(wave + TINY, size)[: count * hop : hop] * window for wave in (clean, enhanced)]


def _power(frames: np.ndarray, size: int) -> np.ndarray:
    return np.abs(np.fft.rfft(frames, size)[:, : size // 2]) ** 2  # without the bin at half the sample rate


def _mean_of_best(distance: np.ndarray) -> float:
    return float(np.sort(distance)[: max(1, round(0.95 * distance.size))].mean())


def _autocorrelation(frames: np.ndarray, order: int) -> np.ndarray:
    size = frames.shape[1]
    return np.stack([(frames[:, : size - k] * frames[:, k:]).sum(1) for k in range(order + 1)], 1)


def _predictor(correlation: np.ndarray) -> np.ndarray:
    """Prediction error filters [1, a_1, ...] from autocorrelations, both (frame, order + 1): Levinson's recursion."""
    frames, terms = correlation.shape
    filters = np.zeros((frames, terms))
    filters[:, 0] = 1
    error = correlation[:, 0].copy()
    for k in range(1, terms):
        reflection = -(filters[:, :k] * correlation[:, k:0:-1]).sum(1) / error
        filters[:, 1 : k + 1] += reflection[:, None] * filters[:, k - 1 :: -1][:, :k]
        error *= 1 - reflection**2
    return filters


@functools.cache
def _critical_bands(sample_rate: int, size: int) -> np.ndarray:
    """(band, bin) Gaussians of equal area; below exp(-30 / 4.606) of their peak they are cut."""
    bins = np.arange(size // 2)
    centres, widths = (np.array(hertz.split(), float)[:, None] * size / sample_rate for hertz in (CENTRES, WIDTHS))
    bands = np.exp(-11 * ((bins - np.floor(centres)) / widths) ** 2) * (widths[0] / widths)
    return bands * (bands > np.exp(-30 / (2 * 2.303)))


def _slope_weight(level: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Weights (frame, band - 1): near 1 where the band is close to the loudest and to the next peak of its spectrum."""
    count = slope.shape[1]
    up, down = level[:, :count].copy(), level[:, :count].copy()
    for k in range(1, count):  # going down from a peak on the left
        down[:, k] = np.where(slope[:, k - 1] > 0, level[:, k], down[:, k - 1])
    for k in range(count - 2, -1, -1):  # going up to a peak on the right; the authors' program stops one band before it
        up[:, k] = np.where(slope[:, k + 1] > 0, up[:, k + 1], level[:, k])
    peak = np.where(slope > 0, up, down)
    level, loudest = level[:, :count], level.max(1, keepdims=True)
    return 20 / (20 + loudest - level) * (1 / (1 + peak - level))


def _composite(pesq: float, llr: float, wss: float, segsnr: float) -> dict[str, float]:
    opinions = {
        "csig": 3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss,
        "cbak": 1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * segsnr,
        "covl": 1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss,
    }
    return {name: float(np.clip(opinion, 1, 5)) for name, opinion in opinions.items()}


@functools.cache
def _dnsmos_model() -> Any:
    """speechmos's model, on one thread: its own sessions take every core, which workers beside one another must not."""
    module = _package("speechmos.dnsmos")
    from pathlib import Path

    onnx = _package("onnxruntime")
    options = onnx.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(module.__file__).parent / "dnsmos_models"

    class OneThread(module.DNSMOS):
        def __init__(self) -> None:
            self.onnx_sess = onnx.InferenceSession(folder / "sig_bak_ovr.onnx", options)
            self.p808_onnx_sess = onnx.InferenceSession(folder / "model_v8.onnx", options)

    return OneThread()
