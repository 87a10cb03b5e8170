"""Pictures to batches: folders and zip archives, idx files, captions and tags, scikit-learn's digits.

Everything is held in memory as bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seqgan.stream import shuffled

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLITS = ("train", "valid", "test")
IDX_BYTES = 8  # the only element type of MNIST and its relatives: unsigned bytes
Note = Callable[[str], None]


def tell(message: str) -> None:
    print(message, file=sys.stderr)


@dataclass(frozen=True)
class Captions:
    """What a file of captions says of one picture. split: one of SPLITS; category: "" where it has none; tags: whether
    each text is tags with commas between them."""

    texts: tuple[str, ...]
    split: str = "train"
    category: str = ""
    tags: bool = False


@dataclass(frozen=True)
class Images(Dataset):
    """pixels: (number, channel, height, width), uint8; labels: (number,), int64; names, captions: as many, or none.

    An item is what a game is given: {"image": (channel, height, width) within -1 and 1, "label"}.
    """

    pixels: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    captions: tuple[Captions, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        found = {"image": to_range(self.pixels[index])}
        return found if self.labels is None else found | {"label": self.labels[index]}

    def select(self, index: Sequence[int]) -> Images:
        """Some of them, in this order."""
        index = list(index)
        return Images(
            self.pixels[index],
            None if self.labels is None else self.labels[index],
            tuple(self.names[i] for i in index) if self.names else (),
            tuple(self.captions[i] for i in index) if self.captions else (),
        )

    def resized(self, size: int) -> Images:
        """Each to size x size, by area where that is smaller and bilinearly where it is larger."""
        if self.pixels.shape[2:] == (size, size):
            return self
        smaller = size <= min(self.pixels.shape[2:])
        options = {"mode": "area"} if smaller else {"mode": "bilinear", "align_corners": False}
        parts = [
            torch.nn.functional.interpolate(part.float(), (size, size), **options).round().clamp(0, 255).byte()
            for part in self.pixels.split(1024)
        ]
        return replace(self, pixels=torch.cat(parts))


class Stacked(Dataset):
    """Pictures of `channels` channels, each a picture of one channel: three digits as red, green and blue make 1,000
    modes (Metz et al. 2017, stacked MNIST). There is no end of them: every epoch of the images deals them anew."""

    def __init__(self, images: Images, seed: int = 0, channels: int = 3):
        if images.pixels.shape[1] != 1:
            raise ValueError(f"pictures of one channel are stacked, not of {images.pixels.shape[1]}")
        self.images, self.seed, self.channels = images, seed, channels

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"image": to_range(self.pixels(index))}

    def pixels(self, index: int) -> Tensor:
        """(channel, height, width), uint8"""
        first = index * self.channels
        items = [shuffled(first + i, len(self.images), self.seed)[1] for i in range(self.channels)]
        return self.images.pixels[items, 0]


def to_range(pixels: Tensor) -> Tensor:
    """Bytes to numbers within -1 and 1, the range of a generator's tanh."""
    return pixels.float() / 127.5 - 1


def to_bytes(image: Tensor) -> Tensor:
    """The inverse of `to_range`; what lies outside is cut off."""
    return ((image.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()


# ------------------------------------------------------------------------------------------------------ reading


def read_images(path: str | Path, size: int, channels: int = 3, note: Note = tell) -> Images:
    """Every picture below a folder or in a zip archive, cut to a square about its middle and brought to size x size.

    channels: 3 or 1. Transparent pictures are laid on white, animations give their first frame. A file that cannot be
    read is named and skipped, and the number of these is told at the end. ValueError where no picture is left.
    """
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels here, not {channels}")
    found, names, skipped = [], [], 0
    for name, content in _files(Path(path)):
        try:
            found.append(_decode(content(), size, channels))
            names.append(name)
        except Exception as error:  # a damaged file can fail in any way
            skipped += 1
            note(f"skipped {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    if skipped:
        note(f"skipped {skipped} of {skipped + len(found)} pictures in {path}")
    if not found:
        raise ValueError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
    return Images(torch.stack(found), names=tuple(names))


def open_images(data: str | Path, size: int, channels: int = 3, split: str = "train", note: Note = tell) -> Images:
    """Of size x size; data: "digits", a folder of MNIST's idx files (both of one channel, whatever `channels` says), or
    a folder or zip archive of pictures."""
    if data == "digits":
        return read_digits().resized(size)
    path = Path(data)
    if path.is_dir() and any(path.glob("*[-.]idx3-ubyte*")):
        return read_mnist(path, split).resized(size)
    return read_images(path, size, channels, note)


def _files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield str(file.relative_to(path)), file.read_bytes
    elif zipfile.is_zipfile(path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # whichever byte is wrong
            raise ValueError(f"{path} is a damaged zip archive: {error}") from error
        with archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(SUFFIXES):
                    yield name, lambda name=name: archive.read(name)
    else:
        raise ValueError(f"{path} is neither a folder nor a zip archive of pictures")


def _decode(content: bytes, size: int, channels: int) -> Tensor:
    """(channel, size, size), uint8"""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("it is no picture") from None
    with opened as picture:
        picture = ImageOps.exif_transpose(picture)  # as it was held when it was taken
        if picture.mode == "F" or (picture.mode == "I" and opened.format != "PNG"):  # an older Pillow's of 16 bits
            raise ValueError("grey levels of 32 bits, of unknown range")
        if picture.mode.startswith("I"):  # of 16 bits, which `convert` would clip
            picture = Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8))
        picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    array = np.array(picture.convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(array).view(size, size, channels).permute(2, 0, 1).contiguous()


def read_idx(path: Path) -> Tensor:
    """The array of an idx file of bytes, gzipped or not, as MNIST's are; ValueError where it is cut short or none."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != IDX_BYTES:
        raise ValueError(f"{path} is not an idx file of bytes")
    rank = content[3]
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    start, needed = 4 + 4 * rank, math.prod(shape)
    if len(content) < start:
        raise ValueError(f"{path} is cut short, within its header")
    if not needed:
        raise ValueError(f"{path} holds nothing: its shape is {shape}")
    if len(content) - start < needed:
        raise ValueError(
            f"{path} is cut short: {needed} bytes of shape {shape} are promised, {len(content) - start} there"
        )
    return torch.frombuffer(bytearray(content[start : start + needed]), dtype=torch.uint8).view(shape)


def read_mnist(folder: str | Path, split: str = "train") -> Images:
    """`train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (test: `t10k-...`), each perhaps with .gz, or with a dot
    before idx."""
    stems = {"train": "train", "test": "t10k"}
    if split not in stems:
        raise ValueError(f"MNIST has the splits {', '.join(stems)}, not {split!r}")
    parts = []
    for kind, rank in (("images", 3), ("labels", 1)):
        names = [f"{stems[split]}-{kind}{mark}idx{rank}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
        files = [Path(folder) / name for name in names]
        parts.append(read_idx(next((file for file in files if file.exists()), files[0])))
    pixels, labels = parts
    if pixels.dim() != 3 or labels.dim() != 1 or len(pixels) != len(labels):
        raise ValueError(f"{folder}: pictures {tuple(pixels.shape)} and labels {tuple(labels.shape)} do not match")
    return Images(pixels[:, None], labels.long())


def read_digits() -> Images:
    """scikit-learn's 1,797 digits, 8 x 8: they come with it, nothing is downloaded."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images * 255 / 16).round().byte()
    return Images(pixels[:, None], torch.from_numpy(digits.target).long())


def read_captions(path: str | Path) -> dict[str, Captions]:
    """File name, or path below the pictures' folder, -> its captions.

    A tab-separated table with the columns `file` and `caption` and perhaps `split` and `category`, or a tag file as of
    anime heads, whose lines are `id,tag1:#post<tab>tag2:#post...`: the file is then `id.jpg`, the caption the tags
    without their counts, `tag1, tag2`. A picture may have several rows; what is said twice counts once. ValueError,
    with the line, for a row that is neither, of a split that there is not, or at odds with an earlier one.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: {error}") from error
    first = content.split("\n", 1)[0].split("\t")
    rows = _table_rows if "file" in first and "caption" in first else _tag_rows
    captions: dict[str, Captions] = {}
    for where, file, row in rows(path, content):
        before = captions.get(file, row)
        if (row.split, row.category) != (before.split, before.category):
            raise ValueError(f"{where}: {file} has another split or category in a row before")
        captions[file] = replace(row, texts=tuple(dict.fromkeys(before.texts + row.texts)))
    return captions


def _table_rows(path: Path, content: str) -> Iterator[tuple[str, str, Captions]]:
    """Of every row: where it is, the file, and what it says of it."""
    table = csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        for row in table:  # which leaves out empty lines
            where = f"{path}, line {table.reader.line_num}"
            if not row["file"] or row["caption"] is None:
                raise ValueError(f"{where}: no file and caption")
            split, category = row.get("split", "train") or "", row.get("category") or ""
            if split not in SPLITS:
                raise ValueError(f"{where}: a split is train, valid or test, not {split!r}")
            yield where, row["file"], Captions((row["caption"],), split, category)
    except csv.Error as error:
        raise ValueError(f"{path}, line {table.reader.line_num}: {error}") from error


def _tag_rows(path: Path, content: str) -> Iterator[tuple[str, str, Captions]]:
    """The same, of a tag file."""
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where, match = f"{path}, line {number}", re.fullmatch(r"(\d+),(.*)", line)
        if match is None:
            raise ValueError(f"{where}: neither a table of file and caption nor `id,tag:#post<tab>...`")
        tags = [tag.rsplit(":", 1)[0].strip() for tag in match[2].split("\t")]
        yield where, f"{match[1]}.jpg", Captions((", ".join(tag for tag in tags if tag),), tags=True)


def with_captions(images: Images, captions: dict[str, Captions], note: Note = tell) -> Images:
    """Those of the images that have captions, by their path or else by their file's name, with them; ValueError where
    none has. What has no picture, or no caption, is counted and told."""
    keys = [name if name in captions else Path(name).name for name in images.names]
    index = [i for i, key in enumerate(keys) if key in captions]
    if not index:
        raise ValueError("no picture has a caption: the names in the caption file are not those of the pictures")
    if len(index) < len(images):
        note(f"{len(images) - len(index)} pictures have no caption and are left out")
    unused = sum(len(captions[key].texts) for key in captions.keys() - set(keys))
    if unused:
        note(f"{unused} captions have no picture")
    return replace(images.select(index), captions=tuple(captions[keys[i]] for i in index))


# ------------------------------------------------------------------------------------------------------ writing


def grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Tensor:
    """Pictures side by side: (number, channel, height, width) uint8 -> (channel, height, width), on white."""
    if not len(images):
        raise ValueError("a grid of no pictures")
    number, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(number))
    rows = math.ceil(number / columns)
    sheet = torch.full((channels, rows * (height + gap) + gap, columns * (width + gap) + gap), 255, dtype=torch.uint8)
    for i, image in enumerate(images.cpu()):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def write_png(path: Path, image: Tensor, scale: int = 1) -> None:
    """image: (channel, height, width), uint8; scale: pixels of the file for each of its own."""
    from PIL import Image

    from seqgan.checkpoint import replacing

    array = image.cpu().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    if scale > 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    with replacing(path) as part:
        picture.save(part, format="png", optimize=True)
