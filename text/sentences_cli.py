"""The command `generate-sentences`: one sentence a line on standard output."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from seqgan.command import Parser, call, encode_output, import_torch

EXAMPLES = """examples:
  generate-sentences --count 10 --seed 1
  generate-sentences --model runs/wgan_gp_characters/generator.safetensors --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the model cannot be read or no output be written, 2 wrong usage, 130 interrupted."""
    encode_output(encoding="utf-8", errors="backslashreplace")  # whatever the locale
    parser = build_parser()
    args = parser.parse_args(arguments)
    parser.check_draws(args.count, args.seed)
    return call(parser.prog, lambda: run(args), args.debug)


def build_parser() -> Parser:
    parser = Parser("generate-sentences", "Writes sentences with a trained generator, one a line.", EXAMPLES)
    add = parser.add_argument
    add(
        "--model",
        default="wgan",
        metavar="MODEL",
        help="a bundled model, a .safetensors file, or a folder of save_pretrained; default: wgan",
    )
    add("--count", type=int, default=1, metavar="N", help="how many sentences; default: 1")
    add("--seed", type=int, metavar="N", help="the same number gives the same sentences; default: by chance")
    add("--json", action="store_true", help="a list of strings")
    parser.add_common()
    return parser


def run(args: argparse.Namespace) -> int:
    torch = import_torch()
    from .sentences import SentenceGenerator

    torch.set_num_threads(1)  # the matrices are too small to share
    sentences = SentenceGenerator.from_pretrained(args.model)(args.count, args.seed)
    if args.json:
        print(json.dumps(sentences, ensure_ascii=False, indent=2))
    else:
        print("\n".join(sentences))
    return 0
