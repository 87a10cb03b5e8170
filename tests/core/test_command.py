"""How commands end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan.command import Parser, call


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("CUDA out of memory.")],
)
def test_too_little_memory_is_one_line(error, capsys):
    assert call("draw", raising(error)) == 1
    assert capsys.readouterr().err == "draw: not enough memory for so much at once\n"


def test_an_error_of_the_program_is_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        call("draw", raising(RuntimeError("a bug")))


def test_what_the_user_can_mend_is_one_line_unless_debugged(capsys):
    work = raising(ValueError("no such file"))
    assert call("draw", work) == 1
    assert capsys.readouterr().err == "draw: no such file\n"
    with pytest.raises(ValueError, match="no such file"):
        call("draw", work, debug=True)


def test_an_interruption_has_its_own_code(capsys):
    assert call("draw", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "draw: interrupted\n"


@pytest.mark.parametrize(("count", "seed"), [(0, None), (100_001, None), (1, -1), (1, 2**63)])
def test_how_much_is_drawn_and_from_which_seed(count, seed, capsys):
    Parser("draw", "", "").check_draws(100_000, 2**63 - 1)
    with pytest.raises(SystemExit) as ended:
        Parser("draw", "", "").check_draws(count, seed)
    assert ended.value.code == 2 and "from" in capsys.readouterr().err


PROGRAM = """
import sys
from seqgan.command import call, encode_output

encode_output(encoding="utf-8")
sys.exit(call("draw", lambda: print("詩") or 0))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
@pytest.mark.parametrize(
    ("output", "code", "told"), [("> /dev/full", 1, "draw: [Errno 28] No space left on device\n"), (">&-", 0, "")]
)
def test_output_that_takes_nothing(output, code, told):
    """What is in a buffer until the end is lost there, and not to be tried again at exit, which would be code 120."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f'"{sys.executable}" -c "$PROGRAM" {output}'
    found = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, env={**environment, "PROGRAM": PROGRAM}
    )
    assert (found.returncode, found.stderr) == (code, told)


def test_a_reader_that_has_left(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    os.close(writer)
    assert (found.returncode, found.stderr) == (1, "")


@pytest.mark.parametrize("number, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_torch_is_imported_is_acted_on_afterwards(number, code, tmp_path):
    """In the place of torch stands a module that is sent one as it is imported."""
    (tmp_path / "torch.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{number})\nprint('imported')\n")
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "from seqgan.command import call, import_torch\n"
        "sys.exit(call('draw', lambda: import_torch() and print('goes on')))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert (found.returncode, found.stdout) == (code, "imported\n"), found.stderr
