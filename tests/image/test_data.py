"""Pictures of all sorts in, tensors of one sort out; and what is wrong with a file is said."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from seqgan.image.data import (
    Captions,
    Images,
    Stacked,
    grid,
    open_images,
    read_captions,
    read_digits,
    read_idx,
    read_images,
    read_mnist,
    to_bytes,
    to_range,
    with_captions,
    write_png,
)
from seqgan.training import Stream


def save(path, mode, colour, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_pictures_of_every_sort(tmp_path):
    save(tmp_path / "a" / "grey.png", "L", 100)
    save(tmp_path / "a" / "alpha.png", "RGBA", (255, 0, 0, 0))
    save(tmp_path / "b" / "wide.jpg", "RGB", (0, 0, 255), size=(32, 16), quality=95)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30] + [0] * 762)
    palette.save(tmp_path / "b" / "palette.gif")
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    found = read_images(tmp_path, 16)
    assert found.names == ("a/alpha.png", "a/grey.png", "b/palette.gif", "b/wide.jpg")
    assert found.pixels.shape == (4, 3, 16, 16) and found.pixels.dtype == torch.uint8
    assert (found.pixels[0] == 255).all(), "what is transparent is white"
    assert (found.pixels[1] == 100).all()
    assert found.pixels[2, :, 3, 3].tolist() == [10, 200, 30]
    assert found.pixels[3, 2].min() > 240 and found.pixels[3, 0].max() < 16
    assert read_images(tmp_path, 16, channels=1).pixels.shape == (4, 1, 16, 16)


def test_what_cameras_and_scanners_write(tmp_path):
    """16 bits of grey are brought to 8, a picture is turned as its camera was held, floating point has no range."""
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    lying = Image.new("L", (8, 8), 0)
    lying.paste(255, (0, 0, 8, 4))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the upper half is then on the right
    lying.save(tmp_path / "lying.png", exif=exif)
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tiff")
    Image.fromarray(np.full((8, 8), 200, np.int32)).save(tmp_path / "long.tiff")
    notes = []
    found = read_images(tmp_path, 8, channels=1, note=notes.append)
    deep, turned = found.pixels[:, 0]
    assert (deep - torch.from_numpy(ramp / 257)).abs().max() <= 0.5
    assert (turned[:, 4:] == 255).all() and (turned[:, :4] == 0).all()
    for name in ("float.tiff", "long.tiff"):
        assert any(f"{name}: grey levels of 32 bits" in note for note in notes)


def test_it_is_the_middle_that_is_kept(tmp_path):
    array = np.zeros((8, 24), np.uint8)
    array[:, 8:16] = 200
    Image.fromarray(array).save(tmp_path / "wide.png")
    assert (read_images(tmp_path, 8, channels=1).pixels == 200).all()


def test_a_damaged_picture_is_named_and_skipped(tmp_path):
    save(tmp_path / "good.png", "RGB", (1, 2, 3))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("words")
    told = []
    assert read_images(tmp_path, 8, note=told.append).names == ("good.png",)
    assert [line.split(":")[0] for line in told[:2]] == ["skipped short.png", "skipped text.png"]
    assert told[2].startswith("skipped 2 of 3 pictures")
    told.clear()
    assert open_images(tmp_path, 4, channels=1, note=told.append).pixels.shape == (1, 1, 4, 4) and len(told) == 3


def test_what_is_skipped_is_told_on_stderr(tmp_path, capsys):
    save(tmp_path / "a.png", "RGB", (1, 2, 3))
    (tmp_path / "b.png").write_text("none")
    read_images(tmp_path, 4)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("skipped b.png")


def test_a_zip_archive(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(content, "png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/one.png", content.getvalue())
    found = read_images(tmp_path / "all.zip", 4)
    assert found.names == ("in/one.png",) and (found.pixels == 9).all()
    whole = (tmp_path / "all.zip").read_bytes()
    (tmp_path / "all.zip").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x03"))
    with pytest.raises(ValueError, match=r"all\.zip is a damaged zip archive"):
        read_images(tmp_path / "all.zip", 4)


def test_places_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        read_images(tmp_path, 8)
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        read_images(tmp_path / "missing", 8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def test_idx_files(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("plain", "packed.gz"):
        assert torch.equal(read_idx(tmp_path / name), torch.from_numpy(array))
    (tmp_path / "short").write_bytes(idx(array)[:-1])
    with pytest.raises(ValueError, match="short is cut short: 24 bytes"):
        read_idx(tmp_path / "short")
    (tmp_path / "short.gz").write_bytes(gzip.compress(idx(array))[:-9])
    with pytest.raises(ValueError, match="cut short"):
        read_idx(tmp_path / "short.gz")
    (tmp_path / "head").write_bytes(idx(array)[:9])
    with pytest.raises(ValueError, match="head is cut short, within its header"):
        read_idx(tmp_path / "head")
    (tmp_path / "nothing").write_bytes(idx(array[:0]))
    with pytest.raises(ValueError, match="nothing holds nothing"):
        read_idx(tmp_path / "nothing")
    (tmp_path / "words").write_text("no idx file")
    with pytest.raises(ValueError, match="not an idx file"):
        read_idx(tmp_path / "words")


def test_mnist(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((5, 28, 28), np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(5, dtype=np.uint8))))
    found = read_mnist(tmp_path, "test")
    assert found.pixels.shape == (5, 1, 28, 28) and found.labels.tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "t10k-images-idx3-ubyte").rename(tmp_path / "t10k-images.idx3-ubyte")
    assert torch.equal(open_images(tmp_path, 28, split="test").pixels, found.pixels)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(4, dtype=np.uint8))))
    with pytest.raises(ValueError, match="do not match"):
        read_mnist(tmp_path, "test")


def test_mnist_without_a_split(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 4, 4), np.uint8)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([3, 1], np.uint8)))
    assert read_mnist(tmp_path).labels.tolist() == [3, 1]
    with pytest.raises(ValueError, match="valid"):
        read_mnist(tmp_path, "valid")


def test_digits_alone():
    digits = read_digits()
    assert digits.pixels.shape == (1797, 1, 8, 8) and digits.pixels.max() == 255
    assert digits.labels.bincount().min() > 170
    assert open_images("digits", 16).pixels.shape == (1797, 1, 16, 16)


def test_captions_and_tags(tmp_path):
    table = tmp_path / "captions.tsv"
    table.write_text("\ufefffile\tcaption\tsplit\r\n1.png\tred heart\ttrain\r\n2.png\tsun\ttrain\r\n", encoding="utf-8")
    assert read_captions(table) == {"1.png": Captions(("red heart",)), "2.png": Captions(("sun",))}
    tags = tmp_path / "tags.csv"
    tags.write_text("0,touhou:17705\tchen:123\n1,blue hair:9\tre:zero:4\n\n")
    found = read_captions(tags)
    assert found == {
        "0.jpg": Captions(("touhou, chen",), tags=True),
        "1.jpg": Captions(("blue hair, re:zero",), tags=True),
    }
    tags.write_text("0,touhou:17705\nwhat\n")
    with pytest.raises(ValueError, match="tags.csv, line 2"):
        read_captions(tags)
    table.write_text("file\tcaption\n1.png\n")
    with pytest.raises(ValueError, match="captions.tsv, line 2"):
        read_captions(table)
    table.write_text("file\tcaption\n\n\n1.png\tred\n2.png\n")
    with pytest.raises(ValueError, match="captions.tsv, line 5: no file and caption"):
        read_captions(table)
    table.write_text(f"file\tcaption\n1.png\tred\n2.png\t{'x' * 131_073}\n")
    with pytest.raises(ValueError, match="captions.tsv, line 3: field larger than"):
        read_captions(table)
    table.write_bytes("file\tcaption\n1.png\tcafé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"captions.tsv is not in UTF-8"):
        read_captions(str(table))


def test_several_captions_of_a_picture(tmp_path):
    table = tmp_path / "captions.tsv"
    rows = ["1.png\tred\ttest\tfruit", "2.png\tsun\ttrain\t", "1.png\tround\ttest\tfruit", "1.png\tred\ttest\tfruit"]
    table.write_text("\n".join(["file\tcaption\tsplit\tcategory", *rows]))
    found = read_captions(table)
    assert found == {"1.png": Captions(("red", "round"), "test", "fruit"), "2.png": Captions(("sun",))}
    for row in ("1.png\tripe\ttrain\tfruit", "1.png\tripe\ttest\ttoy"):
        table.write_text("\n".join(["file\tcaption\tsplit\tcategory", *rows, row]))
        with pytest.raises(ValueError, match=r"line 6: 1.png has another split or category"):
            read_captions(table)
    for split in ("training", "dev", ""):
        table.write_text("\n".join(["file\tcaption\tsplit", "1.png\tred\ttrain", f"2.png\tsun\t{split}"]))
        with pytest.raises(ValueError, match=f"line 3: a split is train, valid or test, not '{split}'"):
            read_captions(table)
    tags = tmp_path / "tags.csv"
    tags.write_text("0,a:1\n0,b:2\tc:1\n0,a:7\n")
    assert read_captions(tags) == {"0.jpg": Captions(("a", "b, c"), tags=True)}


def test_pictures_with_their_captions():
    heart, sun, moon = (Captions((text,)) for text in ("red heart", "sun", "moon"))
    images, told = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), names=("x/1.png", "x/3.png", "x/2.png")), []
    found = with_captions(images, {"1.png": heart, "2.png": sun, "9.png": moon}, note=told.append)
    assert found.captions == (heart, sun)
    assert told == ["1 pictures have no caption and are left out", "1 captions have no picture"]
    images = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), names=("a/1.png", "b/1.png", "c/2.png"))
    told.clear()
    several = Captions(("its first", "its second"))
    found = with_captions(images, {"1.png": heart, "b/1.png": sun, "9.png": several, "8.png": moon}, note=told.append)
    assert found.names == ("a/1.png", "b/1.png") and found.captions == (heart, sun)
    assert told[-1] == "3 captions have no picture"
    with pytest.raises(ValueError, match="no picture has a caption"):
        with_captions(images, {"a.png": heart})


def test_range_and_items():
    pixels = torch.arange(256, dtype=torch.uint8).view(64, 1, 2, 2)
    assert torch.equal(to_bytes(to_range(pixels)), pixels)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    images = Images(pixels, torch.arange(64))
    batches = Stream(images, 64, seed=3)(0)
    first, second = next(batches), next(batches)
    assert sorted(first["label"].tolist()) == sorted(second["label"].tolist()) == list(range(64))
    assert not torch.equal(first["label"], second["label"])
    assert torch.equal(to_bytes(first["image"]), pixels[first["label"]])
    assert Images(pixels)[2].keys() == {"image"} and images[2]["label"] == 2


def test_sizes():
    images = Images(torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4))
    assert images.resized(2).pixels.flatten().tolist() == [2, 4, 10, 12]  # of four: 2.5, 4.5, ... rounded to even
    assert images.resized(8).pixels.shape == (1, 1, 8, 8) and images.resized(4) is images
    stripes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stripes[..., ::4] = 200
    assert (Images(stripes).resized(2).pixels == 50).all(), "an average, not a sample"


def test_stacked_pictures_are_each_dealt_once_an_epoch():
    images = Images(torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1))
    found = [[Stacked(images, seed=seed).pixels(i).flatten().tolist() for i in range(3)] for seed in (1, 2)]
    assert sorted(sum(found[0], [])) == sorted(sum(found[1], [])) == list(range(9)) and found[0] != found[1]
    with pytest.raises(ValueError, match="one channel are stacked, not of 3"):
        Stacked(Images(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)))


def test_a_grid_goes_row_by_row():
    sheet = grid(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), columns=3, gap=0)
    assert sheet.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert grid(torch.zeros(5, 1, 4, 4, dtype=torch.uint8)).shape == (1, 14, 20), "two rows of three"
    with pytest.raises(ValueError, match="no pictures"):
        grid(torch.zeros(0, 3, 4, 4, dtype=torch.uint8))


def test_a_grid(tmp_path):
    sheet = grid(torch.zeros(5, 3, 4, 6, dtype=torch.uint8), columns=2, gap=1)
    assert sheet.shape == (3, 16, 15)
    assert (sheet[:, 0] == 255).all() and (sheet[:, 11:15, 8:14] == 255).all(), "the sixth place is empty"
    write_png(tmp_path / "grid.png", sheet, scale=2)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (30, 32) and picture.mode == "RGB"
    write_png(tmp_path / "grey.png", sheet[:1])
    with Image.open(tmp_path / "grey.png") as picture:
        assert picture.mode == "L"
