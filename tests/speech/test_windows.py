"""A network that looks ahead, window by window: what each window sees, and where it is heard."""

from dataclasses import replace

import pytest
import torch

from seqgan.speech.networks import GeneratorConfig, ShortTimeFourier
from seqgan.speech.windows import Grid, WindowPass

GRID = Grid(block=12, past=8, ahead=6, fade=4)


class Seat(torch.nn.Module):
    """Makes of every frame its place in what the network was shown."""

    def __init__(self):
        super().__init__()
        self.config, self.fourier, self.shown = GeneratorConfig(compression=1.0), ShortTimeFourier(), []

    def forward(self, spectrum, state=None):
        self.shown.append(spectrum.shape[2])
        return torch.arange(spectrum.shape[2]).expand(spectrum.shape).to(spectrum.dtype), None


def test_windows_see_what_is_around_them_and_fade_into_one_another():
    """The second window, frames 4 to 30 of the stream, is heard from frame 10 on, and wholly from 14."""
    seat = Seat()
    _, seats = WindowPass(seat, GRID).push(torch.ones(1, 257, 30, dtype=torch.complex64))
    assert seat.shown == [12 + 6, 8 + 12 + 6]
    found = seats[0, 0].real
    assert len(found) == 22 and found[:10].tolist() == list(range(10))
    rise = (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(found[10:14], (1 - rise) * torch.arange(10, 14) + rise * torch.arange(6, 10))
    assert found[14:].tolist() == list(range(10, 18))


@pytest.mark.parametrize("part", ["block", "past", "ahead"])
def test_windows_hold_their_fades(part):
    with pytest.raises(ValueError, match="as long as the fade"):
        replace(GRID, **{part: GRID.fade - 1})
