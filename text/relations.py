"""A discriminator of verse that hears how the characters of a poem stand to each other, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .discriminators import Discriminator
from .meter import Form
from .poems import STROKE, Script
from .verse_rules import Sounds

KINDS = ("same", "rhyme", "tone")


class RelationDiscriminator(nn.Module):
    """For every place of a poem, does it stand to the places before it as in real poems?

    What it is given of a place and an earlier one is whether both have the same character, whether they share a
    rhyme, and whether their tones agree (1), differ (-1) or may do either (0). For every place of a form it has weights
    of its own over all earlier places, a linear layer and one with hidden units. Nobody tells it where rhymes stand or
    which tones belong together: that is to be found by telling real poems from generated ones. As it does not see
    which characters they are, it cannot learn the training poems by heart.
    """

    reads_titles = False

    def __init__(self, script: Script, forms: Iterable[Form], hidden: int = 8):
        super().__init__()
        sounds = Sounds.of(script)
        level, oblique = sounds.tones.float()
        self.stroke = script.vocabulary.ids[STROKE]
        self.register_buffer("alike", sounds.alike, persistent=False)
        self.register_buffer("rhymes", sounds.rhymes.float(), persistent=False)
        self.register_buffer("tones", level - oblique, persistent=False)
        lengths = sorted({form.lines * (form.width + 1) for form in forms})
        self.places = nn.ModuleDict({str(length): PlaceScores(length, hidden) for length in lengths})

    score = Discriminator.score

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time), prompts of one length and poems with their marks -> scores of places (batch, time).

        Scores of the prompt are 0. ValueError if the poems are not as long as those of a form.
        """
        begin = int((tokens[0] == self.stroke).int().argmax()) + 1
        poems = tokens[:, begin:]
        places = str(poems.shape[1])
        if places not in self.places:
            raise ValueError(f"poems of {places} tokens, marks included; the forms have {', '.join(self.places)}")
        scores = self.places[places](self.relations(poems), self.tones[poems])
        return torch.cat([scores.new_zeros(len(tokens), begin), scores], 1)

    def relations(self, poems: Tensor) -> Tensor:
        """Of every place of (batch, time) to each before it: (batch, time, time, kind), 0 from the diagonal on."""
        characters, rhymes, tones = self.alike[poems], self.rhymes[poems], self.tones[poems]
        kinds = [
            (characters[:, :, None] == characters[:, None]).float(),
            (rhymes @ rhymes.transpose(1, 2) > 0).float(),
            tones[:, :, None] * tones[:, None],
        ]
        before = torch.ones(poems.shape[1], poems.shape[1], device=poems.device).tril(-1)
        return torch.stack(kinds, 3) * before[:, :, None]


class PlaceScores(nn.Module):
    """The weights for poems of one length: of every place, a linear layer and a small network with one hidden layer."""

    def __init__(self, length: int, hidden: int):
        super().__init__()
        width = length * len(KINDS) + 1
        self.linear = nn.Parameter(torch.zeros(length, width))
        self.inner = nn.Parameter(torch.randn(length, width, hidden) * 0.1)
        self.inner_bias = nn.Parameter(torch.zeros(length, hidden))
        self.outer = nn.Parameter(torch.randn(length, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(length))

    def forward(self, relations: Tensor, tones: Tensor) -> Tensor:
        """relations: (batch, time, time, kind), tones: (batch, time) -> (batch, time)"""
        x = torch.cat([relations.flatten(2), tones[..., None]], 2)
        inner = (torch.einsum("btf,tfh->bth", x, self.inner) + self.inner_bias).relu()
        return (x * self.linear).sum(2) + (inner * self.outer).sum(2) + self.bias

    def weights(self, kind: str) -> Tensor:
        """What the linear layer makes of a kind of relation: (time, earlier time)."""
        length = len(self.linear)
        return self.linear[:, :-1].view(length, length, len(KINDS))[..., KINDS.index(kind)].detach()
