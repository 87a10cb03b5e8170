"""The command `generate-poem`: Tang poems on standard output."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from seqgan.command import Parser, call, encode_output, import_torch

from .meter import FORMS

EXAMPLES = """examples:
  generate-poem                              a seven-character quatrain on a title of the poet's own
  generate-poem 春望 --form wulv --count 3   three eight-line poems on a title
  generate-poem --acrostic 春夏秋冬          its lines begin with these characters
  generate-poem --first-line 床前明月光 --form wujue
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the model cannot be read, 2 wrong usage, 130 interrupted."""
    encode_output(encoding="utf-8")  # whatever the locale, as are the arguments
    parser = build_parser()
    args = parser.parse_args(as_utf8(parser, sys.argv[1:] if arguments is None else arguments))
    parser.check_draws(args.count, args.seed)
    if not 1e-3 <= args.temperature <= 100:
        parser.error(
            f"--temperature {args.temperature:g}: a number from 0.001 to 100, 1 is the model as it was trained"
        )
    return call(parser.prog, lambda: run(parser, args), args.debug)


def as_utf8(parser: Parser, arguments: Sequence[str]) -> list[str]:
    try:
        return [os.fsencode(argument).decode("utf-8") for argument in arguments]
    except UnicodeError:
        parser.error("the arguments are not UTF-8")


def build_parser() -> Parser:
    parser = Parser("generate-poem", "Writes Tang poems that keep form, tone and rhyme.", EXAMPLES)
    add = parser.add_argument
    add("title", nargs="?", metavar="TITLE", help="of Chinese characters; without one the poet finds its own")
    forms = ", ".join(f"{name} ({form.lines} lines of {form.width})" for name, form in FORMS.items())
    add("--form", choices=list(FORMS), default="qijue", help=f"{forms}; default: qijue")
    add("--count", type=int, default=1, metavar="N", help="how many poems; default: 1")
    add("--seed", type=int, metavar="N", help="the same number gives the same poems; default: by chance")
    add("--first-line", metavar="LINE", help="the poem begins with this line")
    add("--acrostic", metavar="CHARACTERS", help="its lines begin with these, one for each")
    script = parser.add_mutually_exclusive_group()
    script.add_argument(
        "--simplified", dest="script", action="store_const", const="simplified", default="simplified",
        help="simplified characters (the default)",
    )  # fmt: skip
    script.add_argument("--traditional", dest="script", action="store_const", const="traditional", help="traditional")
    add("--show-tones", action="store_true", help="level (平) or oblique (仄) beside every line, 中 for either")
    add("--temperature", type=float, default=0.65, metavar="T", help="lower is safer, higher bolder; default: 0.65")
    add("--model", default="poet", metavar="MODEL", help="a .safetensors file or folder; default: the bundled one")
    add("--json", action="store_true", help="a list of objects: title, form, lines, tones, rhyme")
    parser.add_common()
    return parser


def run(parser: Parser, args: argparse.Namespace) -> int:
    torch = import_torch()
    from .poet import Poet
    from .sampling import Sampling

    torch.set_num_threads(1)  # the matrices are too small to share
    poet = Poet.from_pretrained(args.model)
    try:
        poems = poet(
            args.title,
            args.form,
            args.count,
            args.seed,
            first_line=args.first_line,
            acrostic=args.acrostic,
            script=args.script,
            sampling=Sampling(args.temperature),
        )
    except ValueError as error:
        if args.debug:
            raise
        parser.error(str(error))
    unknown = poet.unknown(args.title or "")
    if unknown:
        print(f"generate-poem: unknown to the poet, and not heeded: {', '.join(unknown)}", file=sys.stderr)
    if args.json:
        print(json.dumps([poem.as_dict() for poem in poems], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(poem.show(args.show_tones) for poem in poems))
    return 0
