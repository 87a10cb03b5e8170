"""Measures of enhanced speech against closed forms, and against slow, literal programs of their definitions."""

import subprocess
import sys

import numpy as np
import pytest

from seqgan.speech import metrics

RATE = 16_000


def voice(seconds: float = 2.5, seed: int = 0) -> np.ndarray:
    """Something that PESQ and STOI take for speech: syllables of harmonics under moving formants, with pauses."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = [500 + 250 * np.sin(2 * np.pi * 2.1 * time), 1500 + 500 * np.sin(2 * np.pi * 1.3 * time + 1), 2800]
    wave = np.zeros_like(time)
    for k in range(1, 40):
        gain = sum(np.exp(-(((k * pitch - formant) / 180) ** 2)) for formant in formants)
        wave += gain * np.sin(k * phase + random.uniform(0, 6))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + seed), 0, None) ** 0.5 * (time % 1.2 < 0.9)
    wave = wave * syllables + 1e-4 * random.standard_normal(time.size)
    return 0.3 * wave / np.abs(wave).max()


def noise(size: int, level: float, seed: int = 1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(size)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return voice()


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> np.ndarray:
    return clean + noise(clean.size, 0.02)


# Measures with a closed form.


@pytest.mark.parametrize("gain, amplitude", [(1, 0.1), (0.3, 0.3), (-2, 0.01)])
def test_si_sdr_of_a_scaled_copy_and_orthogonal_noise(gain: float, amplitude: float) -> None:
    turns = 2 * np.pi * np.arange(1600) / 1600
    clean, orthogonal = np.sin(10 * turns), np.cos(10 * turns)
    expected = 20 * np.log10(abs(gain) / amplitude)
    assert metrics.si_sdr(clean, gain * clean + amplitude * orthogonal) == pytest.approx(expected, abs=1e-9)


def test_si_sdr_of_silence_and_of_orthogonal_output() -> None:
    turns = 2 * np.pi * np.arange(1600) / 1600
    assert metrics.si_sdr(np.sin(turns), np.zeros(1600)) == -np.inf
    assert metrics.si_sdr(np.sin(turns), np.cos(turns)) < -250


@pytest.mark.parametrize("decibels, expected", [(12.5, 12.5), (-3, -3), (60, 35), (-20, -10)])
def test_segmental_snr_is_limited(decibels: float, expected: float) -> None:
    clean = noise(RATE, 0.1)  # the error is a scaled copy of the signal: the same ratio in every frame
    assert metrics.segmental_snr(clean, clean * (1 + 10 ** (-decibels / 20)), RATE) == pytest.approx(expected, abs=1e-6)


def test_distances_of_a_louder_copy(clean: np.ndarray) -> None:
    assert metrics.log_likelihood_ratio(clean, 2 * clean, RATE) == pytest.approx(0, abs=1e-6)
    assert metrics.weighted_spectral_slope(clean, 2 * clean, RATE) == pytest.approx(0, abs=1e-6)
    white = noise(RATE, 0.1)
    assert metrics.log_spectral_distance(white, 10 ** (-7 / 20) * white, RATE) == pytest.approx(7, abs=1e-6)


def test_log_spectral_distance_ends_where_half_of_a_double_does(clean: np.ndarray) -> None:
    white = noise(RATE, 0.1)
    assert metrics.log_spectral_distance(white, 1e-9 * white, RATE) < 80


def test_opinions_end_at_one_and_five() -> None:
    assert metrics._composite(4.6, 0, 0, 35)["covl"] == 5 and metrics._composite(1, 9, 99, -10)["csig"] == 1


def test_predictor_of_an_autoregressive_process() -> None:
    coefficient = 0.8  # x[t] = 0.8 x[t-1] + e[t] has the autocorrelation 0.8^k / (1 - 0.64)
    correlation = coefficient ** np.arange(11.0)[None] / (1 - coefficient**2)
    np.testing.assert_allclose(metrics._predictor(correlation), [[1, -coefficient] + [0] * 9], atol=1e-12)


def test_predictors_have_ten_coefficients_at_low_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, predictor = [], metrics._predictor
    monkeypatch.setattr(metrics, "_predictor", lambda found: orders.append(found.shape[1] - 1) or predictor(found))
    for rate in (8000, 16_000):
        metrics.log_likelihood_ratio(noise(rate, 0.1), noise(rate, 0.1, seed=2), rate)
    assert orders == [10, 10, 16, 16]


@pytest.mark.parametrize("shift", [0, 37, -160, 4000])
@pytest.mark.parametrize("gain", [0.5, -0.5])
def test_lag_and_level(shift: int, gain: float) -> None:
    clean = np.pad(voice(1.0), 5000)
    moved = gain * np.roll(clean, shift) + noise(clean.size, 1e-3)
    assert metrics.lag(clean, moved) == shift
    in_step = metrics.in_step(clean, moved)
    assert metrics.level_change(*in_step) == pytest.approx(20 * np.log10(0.5), abs=0.02)


def test_level_does_not_count_removed_noise() -> None:
    turns = 2 * np.pi * np.arange(1600) / 1600
    assert metrics.level_change(np.sin(turns), 2 * np.sin(turns) + 3 * np.cos(turns)) == pytest.approx(6.0206, abs=1e-4)


def test_identical_signals_have_the_best_scores(clean: np.ndarray) -> None:
    scores = metrics.full_reference(clean, clean, RATE)
    assert scores["pesq"] == pytest.approx(4.644, abs=1e-3)
    assert scores["stoi"] == pytest.approx(1, abs=1e-6) and scores["estoi"] == pytest.approx(1, abs=1e-6)
    assert (scores["csig"], scores["cbak"], scores["covl"]) == (5, 5, 5)
    assert scores["segmental_snr"] == pytest.approx(35, abs=0.5)
    for name in ("log_likelihood_ratio", "weighted_spectral_slope", "log_spectral_distance", "lag", "level_change"):
        assert scores[name] == pytest.approx(0, abs=1e-9)


# Against literal programs of the definitions, frame by frame and band by band.


def literal_frames(wave: np.ndarray) -> list[np.ndarray]:
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, 481) / 481))
    count = int((wave.size - 480) / 120)  # the last whole frame is left out
    return [wave[120 * k : 120 * k + 480] * window for k in range(count)]


def mean_of_best(values: list[float]) -> float:
    return float(np.mean(sorted(values)[: round(0.95 * len(values))]))


def literal_log_likelihood_ratio(clean: np.ndarray, enhanced: np.ndarray) -> float:
    from scipy.linalg import solve_toeplitz, toeplitz

    values = []
    for first, second in zip(literal_frames(clean), literal_frames(enhanced), strict=True):
        filters, matrices = [], []
        for frame in (first, second):
            correlation = np.correlate(frame, frame, "full")[479 : 479 + 17]
            filters.append(np.concatenate([[1], -solve_toeplitz(correlation[:16], correlation[1:])]))
            matrices.append(toeplitz(correlation))
        values.append(np.log((filters[1] @ matrices[0] @ filters[1]) / (filters[0] @ matrices[0] @ filters[0])))
    return mean_of_best(values)


def literal_peak(level: list[float], band: int) -> float:
    """The level of the peak next to a band, as the authors' program finds it: one band short when it lies above."""
    slope = np.diff(level)
    if slope[band] > 0:
        while band < 24 and slope[band] > 0:
            band += 1
        return level[band - 1]
    while band >= 0 and slope[band] <= 0:
        band -= 1
    return level[band + 1]


def literal_weighted_spectral_slope(clean: np.ndarray, enhanced: np.ndarray) -> float:
    centres = [float(hertz) for hertz in metrics.CENTRES.split()]
    widths = [float(hertz) for hertz in metrics.WIDTHS.split()]
    values = []
    for pair in zip(literal_frames(clean), literal_frames(enhanced), strict=True):
        slopes, weights = [], []
        for frame in pair:
            power = np.abs(np.fft.fft(frame, 1024)[:512]) ** 2
            level = []
            for centre, width in zip(centres, widths, strict=True):
                energy = 0.0
                for k in range(512):
                    gain = np.exp(-11 * ((k - int(centre * 1024 / RATE)) / (width * 1024 / RATE)) ** 2) * 70 / width
                    energy += gain * power[k] if gain > np.exp(-30 / 4.606) else 0
                level.append(10 * np.log10(max(energy, 1e-10)))
            slopes.append(np.diff(level))
            near_loudest = [20 / (20 + max(level) - level[k]) for k in range(24)]
            near_peak = [1 / (1 + literal_peak(level, k) - level[k]) for k in range(24)]
            weights.append(np.multiply(near_loudest, near_peak))
        weight = (weights[0] + weights[1]) / 2
        values.append((weight * (slopes[0] - slopes[1]) ** 2).sum() / weight.sum())
    return mean_of_best(values)


def test_composite_measures_against_literal_programs() -> None:
    clean = voice(0.8, seed=3)
    enhanced = 0.8 * clean + noise(clean.size, 3e-4)
    llr, wss = literal_log_likelihood_ratio(clean, enhanced), literal_weighted_spectral_slope(clean, enhanced)
    assert llr > 0.1 and wss > 5
    assert metrics.log_likelihood_ratio(clean, enhanced, RATE) == pytest.approx(llr, rel=1e-6)
    assert metrics.weighted_spectral_slope(clean, enhanced, RATE) == pytest.approx(wss, rel=1e-6)
    pesq, ratio = metrics.pesq(clean, enhanced, RATE), metrics.segmental_snr(clean, enhanced, RATE)
    opinions = metrics.composite(clean, enhanced, RATE)
    assert opinions["csig"] == pytest.approx(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss, abs=1e-6)
    assert opinions["cbak"] == pytest.approx(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ratio, abs=1e-6)
    assert opinions["covl"] == pytest.approx(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss, abs=1e-6)
    assert all(1 < opinion < 5 for opinion in opinions.values())


def test_log_spectral_distance_against_a_literal_program() -> None:
    """The mean over the frames of the root mean square over 240 bins; half of the frames are equal."""
    white = noise(RATE, 0.1)
    other = white + np.where(np.arange(RATE) < RATE // 2, 0, noise(RATE, 0.1, seed=2))
    values = []
    for pair in zip(literal_frames(white), literal_frames(other), strict=True):
        first, second = (np.abs(np.fft.rfft(frame)[:240]) ** 2 for frame in pair)
        values.append(np.sqrt(np.mean((10 * np.log10(first / second)) ** 2)))
    assert metrics.log_spectral_distance(white, other, RATE) == pytest.approx(np.mean(values), rel=1e-6)


# Against the packages, and across levels of noise.


def test_scores_fall_with_noise(clean: np.ndarray) -> None:
    better, worse = (metrics.full_reference(clean, clean + noise(clean.size, level), RATE) for level in (0.003, 0.03))
    for name in ("pesq", "stoi", "estoi", "si_sdr", "segmental_snr", "csig", "cbak", "covl"):
        assert better[name] > worse[name], name
    for name in ("log_likelihood_ratio", "weighted_spectral_slope", "log_spectral_distance"):
        assert better[name] < worse[name], name
    assert all(np.isfinite(value) for value in worse.values())


def test_stoi_and_estoi_equal_the_package(clean: np.ndarray, noisy: np.ndarray) -> None:
    package = pytest.importorskip("pystoi")
    found = metrics.full_reference(clean, noisy, RATE)
    assert found["estoi"] == pytest.approx(package.stoi(clean, noisy, RATE, extended=True))
    assert found["stoi"] == pytest.approx(package.stoi(clean, noisy, RATE)) != found["estoi"]


def test_dnsmos_equals_the_package(noisy: np.ndarray) -> None:
    dnsmos = pytest.importorskip("speechmos.dnsmos")
    ours, theirs = metrics.dnsmos(noisy, RATE), dnsmos.run(noisy.astype(np.float32), RATE)
    assert ours == pytest.approx({name: float(theirs[f"{name}_mos"]) for name in ours}, abs=1e-4)
    beyond = metrics.dnsmos(10 * noisy, RATE)  # the package raises here
    assert all(1 <= value <= 5 for value in beyond.values())


def test_other_sample_rates_agree(clean: np.ndarray, noisy: np.ndarray) -> None:
    wide = metrics.full_reference(clean, noisy, RATE)
    up = metrics.full_reference(*(metrics.resample(wave, RATE, 48_000) for wave in (clean, noisy)), 48_000)
    for name in ("pesq", "stoi", "estoi", "csig", "cbak", "covl"):
        assert up[name] == pytest.approx(wide[name], rel=0.02), name


# What cannot be measured.

COMPARED = ["pesq", "stoi", "segmental_snr", "log_likelihood_ratio", "weighted_spectral_slope", "log_spectral_distance"]
COMPARED += ["composite", "full_reference", "score"]


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize(
    "reference, enhanced, message",
    [
        (np.zeros(8000), np.ones(8000), "silent"),
        (np.ones(8000), np.ones(8001), "differ in length"),
        (np.ones(0), np.ones(0), "empty"),
        (np.ones(8000), np.full(8000, np.nan), "not finite"),
        (np.ones((2, 8000)), np.ones((2, 8000)), "one channel at a time"),
    ],
)
def test_unusable_pairs(name: str, reference: np.ndarray, enhanced: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(reference, enhanced, RATE)


@pytest.mark.parametrize("name", COMPARED[:-2])
@pytest.mark.parametrize("samples", [1, 200])
def test_too_short(name: str, samples: int) -> None:
    with pytest.raises(ValueError, match="too few|below|less than"):
        getattr(metrics, name)(noise(samples, 0.1), noise(samples, 0.1, seed=2), RATE)


def test_reference_without_speech() -> None:
    faint, other = noise(8000, 1e-7), noise(8000, 1e-7, seed=2)
    with pytest.raises(ValueError, match="0.4 s of speech"):
        metrics.stoi(faint[:4000], other[:4000], RATE)
    scores = metrics.full_reference(faint[:200], other[:200], RATE)
    assert np.isnan(scores["pesq"]) and np.isnan(scores["csig"]) and np.isfinite(scores["si_sdr"])


def test_silent_output(clean: np.ndarray) -> None:
    silent = np.zeros_like(clean)
    with pytest.raises(ValueError, match="silent"):
        metrics.pesq(clean, silent, RATE)
    scores = metrics.score(clean, silent, RATE)
    assert scores["si_sdr"] == -np.inf and np.isnan(scores["lag"]) and np.isnan(scores["pesq"])
    assert scores["segmental_snr"] <= 0 and 1 <= scores["dnsmos_ovrl"] <= 5


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, clean: np.ndarray, noisy: np.ndarray) -> None:
    for package in ("pesq", "pystoi", "speechmos", "speechmos.dnsmos"):
        monkeypatch.setitem(sys.modules, package, None)
    metrics._dnsmos_model.cache_clear()
    for call in (lambda: metrics.pesq(clean, noisy, RATE), lambda: metrics.stoi(clean, noisy, RATE)):
        with pytest.raises(ImportError, match=r"pip install 'seqgan\[metrics\]'"):
            call()
    with pytest.raises(ImportError, match=r"pip install 'seqgan\[metrics\]'"):
        metrics.dnsmos(noisy, RATE)
    scores = metrics.score(clean, noisy, RATE)
    assert {"si_sdr", "segmental_snr", "weighted_spectral_slope"} <= scores.keys()
    assert not {"pesq", "csig", "stoi", "dnsmos_ovrl"} & scores.keys()


def test_importing_costs_nothing() -> None:
    heavy = "{'torch', 'librosa', 'pesq', 'pystoi', 'scipy', 'onnxruntime', 'speechmos', 'soxr'}"
    code = f"import seqgan.speech.metrics, sys; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
