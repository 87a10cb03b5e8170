"""The command `generate-sentences`: one sentence a line on standard output."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from seqgan import __version__

EXAMPLES = """examples:
  generate-sentences --count 10 --seed 1
  generate-sentences --model runs/wgan_gp_characters/generator.safetensors --json
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage before it."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the model cannot be read or no output be written, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.count < 1:
        parser.error(f"--count {args.count}: 1 or more")
    if args.seed is not None and not 0 <= args.seed < 2**63:
        parser.error(f"--seed {args.seed}: from 0 to {2**63 - 1}")
    try:
        return run(args)
    except BrokenPipeError:  # standard output is closed; python would try to flush it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        if args.debug:
            raise
        print(f"generate-sentences: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("generate-sentences: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="generate-sentences",
        description="Writes sentences with a trained generator, one a line.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    add("--debug", action="store_true", help="show where an error came from")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def run(args: argparse.Namespace) -> int:
    import torch

    from .sentences import SentenceGenerator

    torch.set_num_threads(1)  # the matrices are too small to share
    sentences = SentenceGenerator.from_pretrained(args.model)(args.count, args.seed)
    if args.json:
        print(json.dumps(sentences, ensure_ascii=False, indent=2))
    else:
        print("\n".join(sentences))
    sys.stdout.flush()
    return 0
