"""The command `enhance`: noisy recordings in, clean ones out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from seqgan.command import Parser, call, encode_output, end_in_order, on_terminal

from .plan import Failure, Task, UsageError, is_special, plan
from .work import Done, Progress, Settings, work

LONG = 30  # seconds of audio from which on a single recording gets a progress bar

EXAMPLES = """examples:
  enhance noisy.wav                      writes noisy.enhanced.wav
  enhance talk.mp3 -o talk.flac          format by the name of the output
  enhance recordings/ -o clean/ --jobs 4 all audio below a folder, mirrored below another
  ffmpeg -i video.mp4 -f wav - | enhance - > clean.wav
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""
    encode_output(errors="surrogateescape")  # names of files that are not valid text
    parser = build_parser()
    args = parser.parse_intermixed_args(arguments)
    check(parser, args)
    # One thread for numpy's matrix products: they are small, and idle threads of theirs would spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    end_in_order()

    def enhance() -> int:
        try:
            tasks, failures = plan(args.inputs, args.output, args.overwrite, args.skip_existing)
            check_streams(tasks, args.plot)
        except UsageError as error:
            parser.error(str(error))
        return run(args, tasks, failures)

    return call(parser.prog, enhance, args.debug)


def build_parser() -> Parser:
    description = "Removes noise from recordings of speech. Sample rate, channels and length are kept."
    parser = Parser("enhance", description, EXAMPLES)
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="IN",
        help="audio files (wav, flac, ogg, opus, mp3), folders, patterns; - is a wav on standard input",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="a file or - for one input, else a folder; default: NAME.enhanced.wav beside the input",
    )
    add(
        "--model",
        default="base",
        metavar="MODEL",
        help="base (best), small (faster, causal), a .safetensors file, a saved folder or hub id; default: base",
    )
    add(
        "--strength",
        type=float,
        default=1.0,
        metavar="0..1",
        help="0 gives back the input, 1 takes out all noise; default: 1",
    )
    add("--max-attenuation", type=float, metavar="DB", help="never attenuate anything by more than so many dB")
    add("--device", default="cpu", help="cpu, cuda, mps, ...; default: cpu")
    add("--threads", type=int, metavar="N", help="processor threads, shared between the jobs; default: 1 for every job")
    add("--jobs", type=int, default=1, metavar="N", help="recordings that are enhanced side by side; default: 1")
    add(
        "--plot",
        action="store_true",
        help="also write a picture of the spectrograms before and after, as .png beside the output",
    )
    add("--report", action="store_true", help="tell SNR, level and DNSMOS before and after (on standard error)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave them: goes on with a folder that was begun"
    )
    parser.add_common()
    return parser


def check(parser: Parser, args: argparse.Namespace) -> None:
    """Ends with exit code 2 where an option's value cannot be meant."""
    if not 0 <= args.strength <= 1:
        parser.error(f"--strength {args.strength:g}: a number from 0 to 1")
    if args.max_attenuation is not None and not args.max_attenuation >= 0:
        parser.error(f"--max-attenuation {args.max_attenuation:g}: dB, 0 or more")
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: 1 or more")
    if args.threads is not None and args.threads < 1:
        parser.error(f"--threads {args.threads}: 1 or more")
    bundled = sorted(path.stem for path in (Path(__file__).parent / "weights").glob("*.safetensors"))
    if args.model not in bundled and "/" not in args.model and not Path(args.model).exists():
        parser.error(f"--model {args.model}: neither one of {', '.join(bundled)} nor a file or folder")


def check_streams(tasks: Sequence[Task], plot: bool) -> None:
    for task in tasks:
        if task.target == "-" and plot:
            raise UsageError("--plot needs an output with a name: add -o FILE.wav")
        if plot and find_spec("matplotlib") is None:
            raise UsageError("--plot needs matplotlib: pip install 'seqgan[plot]'")
        if task.source == "-" and (sys.stdin is None or on_terminal(sys.stdin)):
            raise UsageError(
                "nothing is piped into standard input, as in: ffmpeg -i a.m4a -f wav - | enhance - > b.wav"
            )
        if task.target == "-" and sys.stdout is None:
            raise UsageError("standard output is closed")
        if task.target == "-" and on_terminal(sys.stdout):
            raise UsageError("a wav on standard output does not belong on a terminal: add > FILE.wav")


def run(args: argparse.Namespace, tasks: list[Task], failures: list[Failure]) -> int:
    settings = Settings(
        model=args.model,
        strength=args.strength,
        max_attenuation=args.max_attenuation,
        device=args.device,
        threads=args.threads or min(args.jobs, max(1, len(tasks))),
        plot=args.plot,
        report=args.report,
        overwrite=args.overwrite,
        debug=args.debug,
    )
    total = len(tasks) + len(failures)
    with Screen(tasks) as screen, closing(work(tasks, settings, args.jobs)) as events:
        for failure in failures:
            screen.tell(f"enhance: {failure.reason}")
        for event in events:
            match event:
                case Progress(seconds=seconds):
                    screen.advance(seconds)
                case Failure(reason=reason):
                    failures.append(event)
                    screen.tell(f"enhance: {reason}")
                case Done(outputs=outputs, notes=notes, report=report):
                    for note in notes:
                        screen.tell(f"enhance: {note}")
                    if report:
                        screen.tell(report)
                    for output in outputs:
                        screen.result(output)
    if failures and total > 1:
        print(f"enhance: {len(failures)} of {total} failed: {', '.join(f.source for f in failures)}", file=sys.stderr)
    return 1 if failures else 0


class Screen:
    """Results to standard output, all else to standard error, where a bar shows how far long work is on a terminal."""

    def __init__(self, tasks: Sequence[Task]):
        self.bar = None
        if on_terminal(sys.stderr) and tasks and tasks[0].source != "-":
            lengths = [duration(task.source) for task in tasks]
            if len(tasks) > 1 or lengths[0] > LONG:
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

                columns = TextColumn("enhancing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
                console = Console(stderr=True)
                self.bar = Progress(
                    *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
                )
                self.job = self.bar.add_task("", total=sum(lengths) or None)

    def __enter__(self) -> Screen:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, seconds: float) -> None:
        if self.bar:
            self.bar.advance(self.job, seconds)

    def tell(self, text: str) -> None:
        if self.bar:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def result(self, path: str) -> None:
        if path == "-":
            return
        if self.bar and on_terminal(sys.stdout):  # the bar has the last line of the same terminal
            self.bar.console.print(path, markup=False, highlight=False, soft_wrap=True)
        else:
            print(path, flush=True)


def duration(path: str) -> float:
    """Seconds of audio, 0 where they cannot be told, as of a pipe, which can be read once only."""
    from . import audio

    if is_special(path):
        return 0.0
    try:
        return audio.duration(path)
    except (ValueError, OSError):
        return 0.0
