"""compare_enhancers.py from end to end, as a command, on three small pairs and systems whose effect is known."""

import csv
import importlib
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .processes import run_recipe

ADAPTERS = """
import time

import numpy as np

def load_identity(threads):
    return lambda wave: wave

def load_half(threads):
    def half(wave):
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        return 0.5 * wave
    return half

def load_delayed(threads):
    return lambda wave: np.concatenate([np.zeros(40, np.float32), wave])

def load_broken(threads):
    raise RuntimeError("it broke")

def load_not_a_number(threads):
    return lambda wave: wave * np.float32("nan")

def load_absent(threads):
    raise ImportError("pip install absent")

def load_silence(threads):
    return lambda wave: 0 * wave
"""


def voice(rate: int, seed: int) -> np.ndarray:
    """1.2 s of harmonics in syllables: PESQ and STOI find speech in it, and DNSMOS takes one window."""
    time = np.arange(int(1.2 * rate)) / rate
    phase = 2 * np.pi * np.cumsum(130 + 30 * np.sin(2 * np.pi * time + seed)) / rate
    wave = sum(np.sin(k * phase) / k for k in range(1, 25)) * np.clip(np.sin(2 * np.pi * 3 * time), 0, None) ** 0.5
    return 0.3 * wave / np.abs(wave).max()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "trio"
    for side in ("clean", "noisy"):
        (folder / side).mkdir(parents=True)
    lines = ["utt\tnoise\tsnr_db"]
    # One of them at another rate and in stereo; the snr column is not in order.
    for seed, (rate, channels, snr) in enumerate([(16_000, 1, 10), (16_000, 1, -2.5), (48_000, 2, 10)]):
        clean = voice(rate, seed)
        noise = np.random.default_rng(seed).standard_normal(clean.size)
        noise -= clean * (noise @ clean) / (clean @ clean)  # orthogonal: it does not change the level of the speech
        noise *= np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-snr / 20)
        for side, wave in (("clean", clean), ("noisy", clean + noise)):
            path = folder / side / f"take{seed}.wav"
            soundfile.write(path, np.repeat(wave[:, None], channels, 1), rate, subtype="FLOAT")
        lines.append(f"take{seed}\t{'rain/light' if seed else 'rain/heavy'}\t{snr}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder


compare = partial(run_recipe, "compare_enhancers.py")


def read_table(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(out / "table.csv", newline="") as file:
        return {(row["system"], row["by"], row["value"]): row for row in csv.DictReader(file)}


def test_systems_are_measured_and_cached(pairs: Path, tmp_path: Path) -> None:
    adapters, out = tmp_path / "adapters.py", tmp_path / "out"
    adapters.write_text(ADAPTERS)
    common = ("--pairs", pairs, "--out", out, "--adapters", adapters, "--dnsmos", 2, "--systems")

    every = ("noisy", "identity", "half", "broken", "not_a_number", "absent", "delayed")
    first = compare(*common, *every)
    assert first.returncode == 1, first.stderr  # two failed, the rest is done
    table = read_table(out)
    rows = {name: table[name, "all", ""] for name in ("noisy", "identity", "half", "delayed")}
    assert {system for system, _, _ in table} == rows.keys()
    assert "broken failed: RuntimeError: it broke" in first.stdout
    assert "not_a_number failed: ValueError: " in first.stdout
    assert "absent is skipped: pip install absent" in first.stdout

    number = {name: {key: float(row[key]) for key in list(row)[4:]} for name, row in rows.items()}
    assert number["noisy"]["level_change"] == pytest.approx(0, abs=0.02)
    assert number["half"]["level_change"] == pytest.approx(-6.02, abs=0.02)
    assert [number[name]["lag_ms"] for name in rows] == [0, 0, 0, 2.5]
    assert number["identity"]["pesq"] == number["noisy"]["pesq"]
    assert number["noisy"]["si_sdr"] == pytest.approx((10 - 2.5 + 14.8) / 3, abs=0.3)  # 16 of 48 kHz: -4.8 dB
    assert number["delayed"]["si_sdr"] == pytest.approx(number["noisy"]["si_sdr"], abs=0.3)  # scored in step
    for row in number.values():
        assert 5 < row["log_spectral_distance"] < 40
        assert row["recordings"] == 3 and 1 < row["pesq"] < 4.6 and 20 < row["memory"] < 1000
    assert number["half"]["cpu"] == pytest.approx(0.3 / 1.2, abs=0.03), "0.3 s for 1.2"
    assert number["identity"]["cpu"] < 0.03
    assert "DNSMOS) are of 2 of the recordings: noisy, " in first.stdout
    assert float(rows["noisy"]["dnsmos_ovrl"]) > 1
    assert "delayed: changes the length by +40 to +40 samples" in first.stdout

    assert [key[1:] for key in table if key[0] == "noisy"] == [
        ("all", ""),
        ("snr_db", "-2.5"),
        ("snr_db", "10"),
        ("noise", "rain"),
    ]
    assert float(table["noisy", "snr_db", "-2.5"]["si_sdr"]) == pytest.approx(-2.5, abs=0.3)
    assert table["noisy", "snr_db", "10"]["recordings"] == "2"
    assert (out / "table.md").read_text() == first.stdout
    assert first.stdout.splitlines()[4].startswith("| noisy |")

    # An interruption: the last line of one system's scores is cut short, and one recording of another is lost.
    # A third system's adapter is changed. These are measured again, and what was not asked for keeps its rows.
    scores, runs = out / "identity" / "scores.jsonl", out / "delayed" / "runs.jsonl"
    scores.write_text(scores.read_text()[:-20])
    runs.write_text("\n".join(runs.read_text().splitlines()[:-1]))
    adapters.write_text(ADAPTERS.replace("0.5 * wave", "0.25 * wave"))
    second = compare(*common, "identity", "delayed", "half", "--draw", 2, "--against", "noisy")
    assert second.returncode == 0
    assert second.stderr.splitlines() == [
        "delayed: enhancing 1 recordings",
        "half: enhancing 3 recordings",
        "identity: scores of 1 recordings",
        "half: scores of 3 recordings",
        "half: opinions of 2 recordings",
    ]
    assert (out / "spectrograms-trio.png").read_bytes().startswith(b"\x89PNG")
    # Half of half as loud, by every recording; the copy is the input itself.
    lines = second.stdout.split("Differences from noisy")[1].split("\n\n")[1].splitlines()
    titles, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    found = {row[1]: dict(zip(titles, row, strict=True)) for row in rows}
    assert found.keys() == {"identity", "half", "delayed"}
    assert found["half"]["level dB"] == "-12.041 ± 0.000"
    assert found["identity"]["PESQ"] == "+0.000 ± 0.000"
    assert found["identity"]["OVRL"] == "+0.000 ± 0.000"  # of two recordings
    after = read_table(out)
    assert after.keys() == table.keys()
    assert all(after[key]["pesq"] == row["pesq"] for key, row in table.items())
    assert float(after["half", "all", ""]["level_change"]) == pytest.approx(-12.04, abs=0.02)

    # Opinions of what other weights made since do not stand beside the scores of these.
    opinions = out / "half" / "opinions.jsonl"
    records = [
        json.loads(line) | {"identity": "others", "dnsmos_ovrl": 5.0} for line in opinions.open() if line.strip()
    ]
    opinions.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert compare(*common[:6], "--dnsmos", 0, "--systems", "identity").returncode == 0
    assert read_table(out)["half", "all", ""]["dnsmos_ovrl"] in ("", "nan")

    # Silence has an SI-SDR of minus infinity; adapters that cannot be read concern their own systems alone.
    silent = compare(*common[:6], "--dnsmos", 0, "--systems", "silence", "--against", "noisy")
    assert silent.returncode == 0, silent.stderr
    assert "silence: SI-SDR dB is infinite for 3 of 3 recordings" in silent.stdout
    adapters.write_text("import no_such_package\n" + ADAPTERS)
    apart = compare(*common[:2], "--out", tmp_path / "apart", *common[4:6], "--dnsmos", 0, "--systems", "noisy", "half")
    assert apart.returncode == 0 and "half is skipped: No module named" in apart.stdout and "| noisy |" in apart.stdout


def test_a_lag_beyond_a_tenth_of_a_second_is_not_taken_out(script, tmp_path: Path) -> None:
    clean = np.random.default_rng(0).standard_normal(16_000) * 0.1
    for name, lag in (("clean", 0), ("near", 800), ("far", 3200)):
        soundfile.write(tmp_path / f"{name}.wav", np.roll(clean, lag), 16_000, subtype="FLOAT")
    score = script("compare_enhancers").compare
    near, far = (score(tmp_path / "clean.wav", tmp_path / f"{name}.wav") for name in ("near", "far"))
    assert (near["lag_ms"], far["lag_ms"]) == (50, 200)
    assert near["si_sdr"] > 50 and far["si_sdr"] < 10


def test_a_page_has_what_is_loud_bright_and_silence_dark(pairs: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    pictures = importlib.import_module("recipes.enhancer_pictures")
    silence, voice = tmp_path / "silence.wav", pairs / "noisy" / "take0.wav"
    soundfile.write(silence, np.zeros(19_200), 16_000)
    pictures.draw_page(tmp_path / "page.png", ["a", "b"], {"noise": [voice, voice], "nothing": [silence, silence]})
    page = image.imread(tmp_path / "page.png")[..., :3]
    height, width = page.shape[:2]
    inside = page[height // 4 : height // 2 - 20, :, :]
    left, right = inside[:, width // 4 : width // 2 - 20], inside[:, width // 2 + 20 : -20]
    assert left.mean() > 0.3 and left.std() > 0.1 and right.max() < 0.05


def test_our_own_model_by_path(pairs: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from seqgan.speech.enhancer import Enhancer
    from seqgan.speech.networks import SMALL, MaskGenerator

    torch.manual_seed(0)
    Enhancer(MaskGenerator(SMALL)).save_pretrained(tmp_path / "model")
    done = compare("--pairs", pairs, "--out", tmp_path / "out", "--dnsmos", 0, "--systems", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    row = read_table(tmp_path / "out")[str(tmp_path / "model"), "all", ""]
    assert (
        row["dnsmos_ovrl"] == "nan"
        and float(row["lag_ms"]) == 0
        and float(row["cpu"]) > 0
        and float(row["memory"]) > 100
    )
    assert "changes the length" not in done.stdout
    # Two names that make one folder: the second is refused, and the first keeps its row.
    other = str(tmp_path / "model").replace("/", "_").strip("_")
    (tmp_path / other).mkdir()
    again = compare("--pairs", pairs, "--out", tmp_path / "out", "--dnsmos", 0, "--systems", other)
    assert again.returncode == 1 and f"holds {tmp_path / 'model'}; choose another --out" in again.stdout
    assert read_table(tmp_path / "out")[str(tmp_path / "model"), "all", ""] == row


FAULTS = {
    "no folder": "nowhere: has no recordings",
    "one side": "data: a is in only one of clean/ and noisy/",
    "twice": "clean/ has both a.flac and a.wav",
    "sets": "would both be called x-data: rename a folder",
    "lengths": "a has 8000 samples in clean/ and 9000 in noisy/",
    "silent": "a is silent in clean/",
    "text": "a.wav",
    "no adapters": "adapters.py: has no function load_NAME(threads)",
    "not python": "adapters.py: not Python",
    "against": "--against base: neither one of --systems nor measured",
    "by": "--by snrdb: no manifest.tsv of these pairs has such a column",
    "workers": "--workers are 1 or more, not 0",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_usage_is_one_line(pairs: Path, tmp_path: Path, fault: str) -> None:
    folder, adapters = tmp_path / "data", tmp_path / "adapters.py"
    adapters.write_text("def load_it(:" if fault == "not python" else "")
    for side in ("clean", "noisy"):
        (folder / side).mkdir(parents=True)
        size = 8000 if fault == "lengths" and side == "clean" else 9000
        level = 0 if fault == "silent" and side == "clean" else 0.1
        soundfile.write(folder / side / "a.wav", np.full(size, float(level)), 16_000)
    if fault == "one side":
        (folder / "noisy" / "a.wav").rename(folder / "noisy" / "b.wav")
    if fault == "twice":
        soundfile.write(folder / "clean" / "a.flac", np.full(9000, 0.1), 16_000)
    if fault == "text":
        (folder / "noisy" / "a.wav").write_text("this is text")
    data = tmp_path / "nowhere" if fault == "no folder" else folder
    more = ("--adapters", adapters) if "adapters" in fault or "python" in fault else ()
    more += {"against": ("--against", "base"), "by": ("--by", "snrdb"), "workers": ("--workers", 0)}.get(fault, ())
    sets = [data]
    if fault == "sets":
        sets = [shutil.copytree(folder, tmp_path / f"{name}" / "x" / "data") for name in "ab"]
    done = compare("--pairs", *sets, "--out", tmp_path / "out", "--systems", "noisy", *more)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert FAULTS[fault] in done.stderr
