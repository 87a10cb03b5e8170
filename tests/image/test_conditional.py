"""Labels and captions are obeyed: a tiny training of every way to tell the discriminator, judged by what is drawn."""

import pytest
import torch

from seqgan.image.captions import Captioned, build_words, encode
from seqgan.image.conditional import (
    ConditionalConfig,
    Discriminator,
    Generator,
    TextToImage,
    phases,
    variation,
)
from seqgan.image.data import Captions, Images
from seqgan.stream import Epochs
from seqgan.training import Stream, fit

from .test_infogan import quarters

PLACES = ("top left", "top right", "bottom left", "bottom right")


def players(**options):
    torch.manual_seed(0)
    config = ConditionalConfig(size=8, channels=1, latent=4, width=16, condition=8, **options)
    return Generator(config), Discriminator(config)


def train(generator, discriminator, images, run, steps=150, **options):
    optimizers = [
        torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.999)) for player in (generator, discriminator)
    ]
    game = phases(generator, discriminator, optimizers, **options)
    fit(game, Stream(images, 32), steps, run)


def brightest(pixels):
    """The quarter of each picture (number, 1, 8, 8) that is brightest."""
    return pixels.float().view(-1, 2, 4, 2, 4).mean((2, 4)).flatten(1).argmax(1)


@pytest.mark.parametrize(
    ("judge", "augmented"),
    [("concatenation", False), ("auxiliary", False), ("projection", False), ("projection", True)],
)
def test_labels_are_obeyed(judge, augmented, tmp_path):
    generator, discriminator = players(classes=4, judge=judge)
    train(generator, discriminator, quarters(), tmp_path, augmented=augmented)
    labels = torch.arange(4).repeat(25)
    with torch.no_grad():
        drawn = generator.eval()(generator.noise(100, torch.Generator().manual_seed(1)), labels)
    assert (brightest(drawn) == labels).float().mean() > 0.9


def test_captions_are_obeyed(tmp_path):
    images = quarters()
    captions = [PLACES[label] for label in images.labels.tolist()]
    words = build_words(captions)
    assert set(words) == {"top", "bottom", "left", "right"}
    generator, discriminator = players(words=words, judge="concatenation")
    train(generator, discriminator, Images(images.pixels, encode(captions, words)), tmp_path)
    model = TextToImage(generator)
    for label, place in enumerate(PLACES):
        assert (brightest(model(place, count=20, seed=1)) == label).float().mean() > 0.8
    assert torch.equal(model("Right, TOP!", 3, seed=2), model("top right", 3, seed=2))
    again = TextToImage.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert again.generator.config == generator.config
    assert (again("top left", 2, seed=3).int() - model("top left", 2, seed=3).int()).abs().max() <= 1
    assert model.unknown("a green top, green") == ["a", "green"], "once"
    assert model("green", 1, seed=0).shape == (1, 1, 8, 8), "still drawn"
    for wrong in ("", " ,"):
        with pytest.raises(ValueError, match="has words"):
            model(wrong)
    with pytest.raises(ValueError, match="1 or more"):
        model("top", count=0)


def test_variation():
    one, other = torch.zeros(2, 1, 4, 4), torch.tensor([0.5, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    z, other_z = torch.zeros(2, 3), torch.tensor([[1.0, -1.0, 1.0], [0.0, 0.0, 6.0]])
    assert variation(one, other, z, other_z).tolist() == [0.5, 0.5]


def test_variety_keeps_z_from_being_ignored(tmp_path):
    images = quarters()
    few = [(images.labels == label).nonzero()[i, 0].item() for label in range(4) for i in (0, 1)] * 8
    labels, found = torch.arange(4).repeat(25), {}
    for variety in (0.0, 5.0):
        generator, discriminator = players(classes=4)
        train(generator, discriminator, images.select(few), tmp_path / str(variety), variety=variety)
        z = [generator.noise(100, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
        with torch.no_grad():
            drawn = [generator.eval()(noise, labels) for noise in z]
        assert (brightest(drawn[0]) == labels).float().mean() > 0.9
        found[variety] = variation(*drawn, *z).mean().item()
    assert found[5.0] > 1.3 * found[0.0]


def test_words():
    assert build_words(["Red heart", "red_car", "red"], least=2) == ("red",)
    found = encode(["red red heart of", "unknown", ""], ("heart", "red"))
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 2 / 3], [0, 0], [0, 0]]))


def test_tags(tmp_path):
    """Each is a word of its own: what is blue, hair or eyes, makes a difference, and the order of them makes none."""
    captions = ["blue hair, red eyes", "red hair, blue eyes", "Re:Zero, ^_^, blue_hair"]
    words = build_words(captions, 1, tags=True)
    assert words == ("blue hair", "blue eyes", "re zero", "red eyes", "red hair")
    found = encode([*captions, "red eyes,blue hair"], words, tags=True)
    assert found.tolist() == [[0.5, 0, 0, 0.5, 0], [0, 0.5, 0, 0, 0.5], [0.5, 0, 0.5, 0, 0], [0.5, 0, 0, 0.5, 0]]
    generator, _ = players(words=words, tags=True)
    model = TextToImage.from_pretrained(TextToImage(generator).save_pretrained(tmp_path))
    pictures = [model(caption, seed=1) for caption in (*captions[:2], "Red eyes, blue hair")]
    assert not torch.equal(*pictures[:2]) and torch.equal(pictures[0], pictures[2])
    assert model.unknown("green hair, red eyes, hat") == ["green hair", "hat"]
    assert torch.equal(model("blue hair RED eyes", seed=1), pictures[0])
    assert model.split("a hat, long blue hair red eyes") == ["a hat", "long", "blue hair", "red eyes"]
    assert model.unknown("reblue hair red eyes-blue eyes") == ["reblue hair"]


def test_the_bundled_model_takes_words():
    config = TextToImage.from_pretrained().generator.config
    assert not config.tags and {"red", "heart"} <= set(config.words)
    assert encode(["red, heart"], config.words, config.tags).count_nonzero() == 2


def test_captions_of_a_picture_take_turns():
    pixels = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1)
    captions = (Captions(("a", "b")), Captions(("c",)), Captions(("a b", "c", "b")))
    words = ("a", "b", "c")
    data, one = Captioned(Images(pixels, captions=captions), words, seed=1), Epochs(Images(pixels), seed=1)
    for index in range(18):
        item = data[index]
        assert torch.equal(item["image"], one[index]["image"]), "in the order of pictures without captions"
        texts = captions[round((item["image"].item() + 1) * 127.5)].texts
        assert torch.equal(item["label"], encode([texts[index // 3 % len(texts)]], words)[0])
        assert torch.equal(item["label"], data[index]["label"])


@pytest.mark.parametrize(
    "options",
    [{}, {"classes": 3, "words": ("a",)}, {"words": ("a",), "judge": "auxiliary"}, {"classes": 3, "condition": 0}],
)
def test_conditions_that_cannot_be(options):
    with pytest.raises(ValueError):
        ConditionalConfig(**options)
