"""How commands end."""

import pytest

from seqgan.command import call


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
