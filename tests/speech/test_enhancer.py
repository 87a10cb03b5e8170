"""The enhancer as a library: any shape, kind, rate and chunking, in time, never louder, never anything but numbers."""

import json
import math
import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from seqgan.speech import Enhancer
from seqgan.speech.networks import GeneratorConfig, MaskGenerator, ShortTimeFourier
from seqgan.speech.windows import Grid

RATES = [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000]
GRID = Grid(block=12, past=8, ahead=6, fade=4)  # short windows, so that short recordings have many
SAMPLE = Path(__file__).parents[2] / "speech" / "samples" / "noisy.wav"


class Gain(torch.nn.Module):
    """Stands in for a network: multiplies every frame by a number that depends on when it is."""

    def __init__(self, gain, causal=False):
        super().__init__()
        self.config, self.fourier, self.gain, self.frame = GeneratorConfig(causal=causal), ShortTimeFourier(), gain, 0

    def forward(self, spectrum, state=None):
        frames = torch.arange(spectrum.shape[2]) + (state or 0)
        gains = torch.tensor([self.gain(frame) for frame in frames.tolist()])
        return spectrum * gains**0.3, (state or 0) + spectrum.shape[2]


@pytest.fixture(scope="module", params=["ahead", "causal", "causal paths"])
def enhancer(request):
    """An untrained network that does something to every bin."""
    torch.manual_seed(0)
    causal, paths = "causal" in request.param, 2 * ("paths" in request.param)
    config = GeneratorConfig(channels=(4, 4), paths=paths, path_hidden=8, hidden=8, layers=1, causal=causal)
    generator = MaskGenerator(config)
    torch.nn.init.normal_(generator.decoder[-1].conv.weight, std=0.5)
    return Enhancer(generator, grid=GRID)


@pytest.fixture(scope="module", params=["base", "small"])
def trained(request):
    return Enhancer.from_pretrained(request.param)


@pytest.fixture(scope="module")
def noisy():
    return soundfile.read(SAMPLE, dtype="float32")[0]


def noise(samples, channels=1, seed=0, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def decibels(part, whole):
    return 10 * math.log10(np.square(part, dtype=float).sum() / np.square(whole, dtype=float).sum() + 1e-30)


@pytest.mark.parametrize("rate", RATES)
def test_chunked_is_whole(enhancer, rate):
    wave = noise(rate + 17, 2)
    whole = enhancer(wave, rate)
    cuts = np.sort(np.random.default_rng(1).integers(0, wave.shape[1], 9))
    chunked = np.concatenate(list(enhancer.stream(np.split(wave, cuts, 1), rate)), 1)
    assert whole.shape == chunked.shape == wave.shape
    assert decibels(whole - chunked, whole) < -100
    assert decibels(whole - wave, wave) > -40  # something was done


def test_chunked_is_whole_for_the_shipped_models(trained, noisy):
    noisy = noisy[:50_000]
    chunks = list(trained.stream(np.split(noisy, range(1700, len(noisy), 1700))))
    assert decibels(np.concatenate(chunks) - trained(noisy), noisy) < -100


def test_the_first_window_is_one_pass(trained, noisy):
    wave = torch.from_numpy(noisy[None, :30_000])
    with torch.inference_mode():
        assert torch.allclose(trained(wave), trained.generator.enhance(wave), atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("causal", [False, True])
def test_one_gain_is_one_gain_at_every_rate(rate, causal):
    """Low band and high band are two halves of one whole, in time to the sample: else -12 dB would not come out."""
    wave = noise(rate, 2)
    enhanced = Enhancer(Gain(lambda frame: 0.25, causal), grid=GRID)(wave, rate)
    assert decibels(enhanced - 0.25 * wave, wave) < -90


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_the_delay_is_as_stated(enhancer, rate):
    stream, longest = enhancer.open_stream(rate), 0
    for chunk in np.split(noise(rate), range(rate // 80, rate, rate // 80), 1):
        stream.push(chunk)
        longest = max(longest, stream.received - stream.settled)
    hop = 256 / 16_000
    assert stream.delay - hop < longest / rate <= stream.delay


def test_the_shipped_delays():
    assert Enhancer.from_pretrained("base").delay <= 2.0
    small = Enhancer.from_pretrained("small")
    assert small.delay == 0.032
    assert all(small.open_stream(rate).delay <= 0.0401 for rate in RATES if rate >= 8_000)


def test_never_louder_by_more_than_one_decibel():
    wave = noise(16_000)
    enhanced = Enhancer(Gain(lambda frame: 1.8))(wave)
    assert decibels(enhanced, wave) == pytest.approx(1, abs=0.05)


def test_numbers_come_out_of_a_network_that_makes_none():
    enhanced = Enhancer(Gain(lambda frame: math.nan if frame % 2 else math.inf))(noise(16_000))
    assert np.isfinite(enhanced).all()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_silence_stays_silence(enhancer, rate):
    assert not enhancer(np.zeros((1, rate), np.float32), rate).any()


@pytest.mark.parametrize("samples", [0, 1, 2, 255, 257, 5000])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_any_length(enhancer, samples, rate):
    enhanced = enhancer(noise(samples), rate)
    assert enhanced.shape == (1, samples) and np.isfinite(enhanced).all()


def test_strength_and_attenuation_mix_with_the_input():
    """Strength s: x + s (y - x). Attenuation A: y + 10^(-A / 20) (x - y); both one after the other."""
    enhancer, wave = Enhancer(Gain(lambda frame: 0.1)), noise(20_000)
    enhanced = enhancer(wave)
    assert np.allclose(enhancer(wave, strength=0.5), wave + 0.5 * (enhanced - wave), atol=1e-6)
    assert np.allclose(enhancer(wave, max_attenuation=6), enhanced + 10 ** (-6 / 20) * (wave - enhanced), atol=1e-6)
    both = enhancer(wave, strength=0.5, max_attenuation=6)
    assert np.allclose(both, wave + 0.5 * (1 - 10 ** (-6 / 20)) * (enhanced - wave), atol=1e-6)
    assert np.array_equal(enhancer(wave, strength=0), wave)
    assert np.array_equal(enhancer(wave, max_attenuation=0), wave)
    assert decibels(enhancer(wave, max_attenuation=6), wave) > -6
    for wrong in ({"strength": 1.1}, {"strength": math.nan}, {"max_attenuation": -1}):
        with pytest.raises(ValueError, match="strength|attenuation"):
            enhancer(wave, **wrong)


def test_same_kind_and_shape_out(enhancer):
    wave = noise(3000, 6)
    expected = enhancer(wave)
    for shape in [(6, 3000), (2, 3, 3000)]:
        for kind in (np.float32, np.float64, np.float16):
            enhanced = enhancer(wave.reshape(shape).astype(kind))
            assert isinstance(enhanced, np.ndarray) and enhanced.dtype == kind and enhanced.shape == shape
            assert np.allclose(enhanced.reshape(6, -1), expected, atol=1e-3 if kind == np.float16 else 1e-5)
        for kind in (torch.float32, torch.float64, torch.bfloat16):
            enhanced = enhancer(torch.from_numpy(wave).reshape(shape).to(kind))
            assert isinstance(enhanced, torch.Tensor) and enhanced.dtype == kind and enhanced.shape == shape
    assert np.allclose(enhancer(wave[4]), expected[4], atol=1e-6)  # one channel by itself
    learnt = torch.ones(1, requires_grad=True)
    (enhancer(torch.from_numpy(wave)) * learnt).sum().backward()  # the result may be trained on


def test_what_is_no_wave_is_refused(enhancer):
    with pytest.raises(ValueError, match="divide 16-bit ones by 32768"):
        enhancer(np.zeros(100, np.int16))
    with pytest.raises(ValueError, match="transpose"):
        enhancer(np.zeros((48_000, 2), np.float32))
    with pytest.raises(ValueError, match="batch, channels, samples"):
        enhancer(np.zeros((1, 1, 1, 5), np.float32))
    with pytest.raises(ValueError, match="3999 Hz is outside of 4000 to 192000 Hz"):
        enhancer(np.zeros(100, np.float32), 3_999)
    with pytest.raises(ValueError, match="whole number of Hz, not 16000.5"):
        enhancer(np.zeros(100, np.float32), 16_000.5)
    with pytest.raises(ValueError, match="no channel"):
        enhancer(np.zeros((0, 100), np.float32))
    stream = enhancer.open_stream(channels=2)
    with pytest.raises(ValueError, match=r"\(2, samples\)"):
        stream.push(np.zeros((1, 5), np.float32))


def test_samples_that_are_no_numbers_are_counted(enhancer):
    wave = noise(3000)
    wave[0, [5, 70, 2000]] = math.nan, math.inf, -math.inf
    with pytest.warns(RuntimeWarning, match="3 samples were NaN or infinite"):
        enhanced = enhancer(wave)
    assert np.isfinite(enhanced).all()
    assert np.array_equal(enhanced, enhancer(np.where(np.isfinite(wave), wave, 0)))
    with pytest.warns(RuntimeWarning, match="2 samples were NaN or infinite"):
        list(enhancer.stream([wave[0, :50], wave[0, 50:100]]))


def test_noise_falls_and_speech_stays(trained, noisy):
    """The sample: rain alone for half a second, then speech."""
    enhanced = trained(noisy)
    pause, speech = slice(1600, 6400), slice(20_000, 30_000)
    assert decibels(enhanced[pause], noisy[pause]) < -8
    assert decibels(enhanced[speech], noisy[speech]) > -4


def test_neither_noise_nor_music_bursts(trained):
    time = np.arange(32_000) / 16_000
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220, 277.2, 329.6, 440, 1760)) * np.exp(-2 * (time % 0.5))
    for wave in (noise(32_000)[0], noise(32_000, level=1e-4)[0], (0.1 * chord).astype(np.float32)):
        parts = zip(np.split(trained(wave), 10), np.split(wave, 10), strict=True)
        assert max(decibels(enhanced, part) for enhanced, part in parts) < 1.5


def test_saved_and_loaded(tmp_path, enhancer):
    folder = enhancer.save_pretrained(tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    assert config["hidden"] == 8
    wave = noise(9000)
    first, second = (Enhancer.from_pretrained(path)(wave) for path in (folder, folder / "model.safetensors"))
    assert np.array_equal(first, second)
    kept = Enhancer(enhancer.generator)(wave)
    assert decibels(first - kept, kept) < -40  # the weights are rounded to float16


def test_a_rate_may_be_a_whole_floating_point_number(enhancer):
    wave = noise(8000)
    np.testing.assert_array_equal(enhancer(wave, 48_000.0), enhancer(wave, 48_000))


def test_torch_s_default_type_is_of_no_consequence(tmp_path, enhancer):
    wave = noise(8000)
    expected = enhancer(wave)
    enhancer.save_pretrained(tmp_path / "model")
    torch.set_default_dtype(torch.float64)
    try:
        torch.testing.assert_close(enhancer(wave), expected)
        loaded = Enhancer.from_pretrained(tmp_path / "model")(wave)
    finally:
        torch.set_default_dtype(torch.float32)
    assert loaded.dtype == np.float32 and np.abs(loaded - expected).max() < 0.01 * np.abs(expected).max()


def test_a_model_of_the_hub(tmp_path, enhancer, monkeypatch):
    import huggingface_hub

    folder = enhancer.save_pretrained(tmp_path)
    asked = []

    def download(*names):
        asked.append(names)
        return str(folder / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    Enhancer.from_pretrained("some-one/a.model")
    assert asked == [("some-one/a.model", "model.safetensors")]

    def fail(*_):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ValueError, match="no model 'some-one/other': .* the hub says: no route$"):
        Enhancer.from_pretrained("some-one/other")


def test_uploaded_to_the_hub(enhancer, monkeypatch):
    import huggingface_hub

    uploads = []

    class Api:
        def create_repo(self, repo_id, private, exist_ok):
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, repo_id, folder_path):
            uploads.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert enhancer.push_to_hub("me/mine") == "https://huggingface.co/me/mine"
    assert uploads == [("me/mine", ["config.json", "model.safetensors"])]


def test_what_is_no_model_is_refused(tmp_path, enhancer):
    good = enhancer.save_pretrained(tmp_path) / "model.safetensors"
    weights, config = load_file(good), asdict(enhancer.generator.config)
    bad = tmp_path / "bad.safetensors"

    def refused(words):
        with pytest.raises(ValueError, match=words) as caught:
            Enhancer.from_pretrained(bad)
        assert "bad.safetensors" in str(caught.value)

    for data in (b"", b"text", good.read_bytes()[:-100], pickle.dumps({"a": 1}), (2**60).to_bytes(8, "little") + b"{}"):
        bad.write_bytes(data)
        refused("not a valid safetensors file")
    save_file(weights, bad)
    refused("no model of an Enhancer")
    wrong = [
        {"hidden": 2**19},  # of a network of terabytes
        {"layers": 60},
        {"paths": 3},
        {"layers": 10**9},
        {"window": 2**19},
        {"channels": [4] * 10_000},
        {"channels": "aa"},
        {"channels": []},
        {"compression": 0},
        {"mask_limit": float("nan")},
        {"sample_rate": 0},
        {"hidden": -1},
        {"unknown": 1},
    ]
    for change in wrong:
        settings = json.dumps(config | change)
        save_file(weights, bad, {"format": MaskGenerator.FORMAT, "config": settings})
        refused("settings")
    with pytest.raises(ValueError, match="no model 'medium'.*base, small"):
        Enhancer.from_pretrained("medium")
    with pytest.raises(ValueError, match="cannot be used"):
        Enhancer(enhancer.generator, device="abacus")
