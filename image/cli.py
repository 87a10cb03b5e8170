"""The command `generate-image`: pictures of a caption, or of digits, as one PNG."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqgan.command import MOST, Parser, call, encode_output, import_torch

if TYPE_CHECKING:
    import argparse

    from torch import Tensor

EXAMPLES = """examples:
  generate-image "red heart" --count 8 --seed 1 -o hearts.png
  generate-image --digits 0-9 --count 3        three of each, a column for a digit
  generate-image --digits 2026 --model runs/conditional/generator.safetensors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the model cannot be read or the picture not be written, 2 wrong usage, 130 interrupted."""
    encode_output(errors="surrogateescape")  # names of files that are not valid text
    parser = build_parser()
    args = parser.parse_args(arguments)

    def generate() -> int:
        check(parser, args)
        return run(args)

    return call(parser.prog, generate, args.debug)


def build_parser() -> Parser:
    parser = Parser("generate-image", "Draws what a caption says, or digits, and writes a PNG.", EXAMPLES)
    add = parser.add_argument
    add("caption", nargs="?", metavar="CAPTION", help='what to draw, in English: "red heart"')
    add("--digits", type=digits, metavar="DIGITS", help="instead of a caption: a range (0-9), or some in a row (2026)")
    add("--count", type=int, default=1, metavar="N", help="pictures of the caption, or of each digit; default: 1")
    add("--seed", type=int, metavar="N", help="the same number gives the same pictures; default: by chance")
    add("-o", "--output", type=Path, metavar="FILE", help="default: the caption or the digits, with .png")
    add("--overwrite", action="store_true", help="replace a file that exists")
    add("--scale", type=int, metavar="N", help="times that pictures are enlarged; default: to about 128 wide")
    add("--model", metavar="MODEL", help="a .safetensors file or folder; default: the bundled one")
    parser.add_common()
    return parser


def digits(text: str) -> list[int]:
    """ "0-9" or "2026" """
    found = re.fullmatch(r"([0-9])-([0-9])", text)
    if found and found[1] <= found[2]:
        return list(range(int(found[1]), int(found[2]) + 1))
    if re.fullmatch(r"[0-9]+", text):
        return [int(digit) for digit in text]
    from argparse import ArgumentTypeError

    raise ArgumentTypeError(f"{text!r} is neither a range such as 0-9 nor digits such as 2026")


def check(parser: Parser, args: argparse.Namespace) -> None:
    """Ends with exit code 2 where an option's value cannot be meant."""
    if args.caption is not None and args.digits is not None:
        parser.error("a caption or --digits, not both")
    if args.caption is None and args.digits is None:
        parser.error('say what to draw: a caption such as "red heart", or --digits 0-9')
    if args.caption is not None and not re.search(r"[^\W_]", args.caption):
        parser.error(f"a caption has words, not {args.caption!r}")
    parser.check_draws(args.count, args.seed)
    if args.digits and len(args.digits) * args.count > MOST:
        parser.error(f"{args.count} pictures of {len(args.digits)} digits: there may be {MOST} in all")
    if args.scale is not None and not 1 <= args.scale <= 64:
        parser.error(f"--scale {args.scale}: from 1 to 64")
    if args.output is None:
        name = re.sub(r"[\W_]+", "-", args.caption or "".join(map(str, args.digits))).strip("-").lower()
        args.output = Path(f"{name[:60]}.png")
    if args.output.suffix.lower() != ".png":
        parser.error(f"{args.output}: the picture is a PNG, so its name ends in .png")
    if not args.output.parent.is_dir():
        parser.error(f"no folder {args.output.parent}")
    if args.output.exists() and not args.overwrite:
        parser.error(f"{args.output} exists: choose another -o, or add --overwrite")


def run(args: argparse.Namespace) -> int:
    import_torch()
    from .data import grid, write_png

    pictures, columns = draw_digits(args) if args.caption is None else draw_caption(args)
    scale = args.scale or max(1, 128 // pictures.shape[2])
    write_png(args.output, grid(pictures, columns), scale)
    print(args.output)
    return 0


def draw_caption(args: argparse.Namespace) -> tuple[Tensor, int | None]:
    from .conditional import TextToImage

    model = TextToImage.from_pretrained(args.model)
    unknown = model.unknown(args.caption)
    if unknown:
        print(f"generate-image: unknown to the model, and left out: {', '.join(unknown)}", file=sys.stderr)
    return model(args.caption, args.count, args.seed), None


def draw_digits(args: argparse.Namespace) -> tuple[Tensor, int]:
    from .conditional import LabelToImage

    return LabelToImage.from_pretrained(args.model)(args.digits * args.count, args.seed), len(args.digits)
