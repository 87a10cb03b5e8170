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
        # Characters of one sound relate to all others alike; there are some 600 sounds.
        readings, sound = torch.unique(torch.cat([sounds.rhymes, sounds.tones.T], 1), dim=0, return_inverse=True)
        rhymes = readings[:, : len(sounds.names)].float()
        self.stroke = script.vocabulary.ids[STROKE]
        tables = {
            "alike": sounds.alike,
            "sound": sound,  # of every character
            "tone": level - oblique,  # of every character: 1, -1, or 0 where it may be either or has none
            "tone_of_sound": (readings[:, -2].float() - readings[:, -1].float()),
            "shares": (rhymes @ rhymes.T > 0).float(),  # (sound, sound): have they a rhyme in common?
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        lengths = sorted({form.lines * (form.width + 1) for form in forms})
        self.places = nn.ModuleDict({str(length): PlaceScores(length, hidden) for length in lengths})

    score = Discriminator.score

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time), prompts of one length and poems with their marks -> scores of places (batch, time).

        Scores of the prompt are 0. ValueError if the poems are not as long as those of a form.
        """
        poems, places = self.poems(tokens)
        tones = self.tone[poems]
        scores = places(self.relations(poems), tones)
        return torch.cat([scores.new_zeros(len(tokens), tokens.shape[1] - poems.shape[1]), scores], 1)

    def poems(self, tokens: Tensor) -> tuple[Tensor, PlaceScores]:
        """What follows the prompts (batch, time), and the weights for poems of that length."""
        poems = tokens[:, int((tokens[0] == self.stroke).int().argmax()) + 1 :]
        length = str(poems.shape[1])
        if length not in self.places:
            raise ValueError(f"poems of {length} tokens, marks included; the forms have {', '.join(self.places)}")
        return poems, self.places[length]

    def relations(self, poems: Tensor) -> Tensor:
        """Of every place of (batch, time) to each before it: (batch, time, time, kind), 0 from the diagonal on."""
        characters, sounds, tones = self.alike[poems], self.sound[poems], self.tone[poems]
        kinds = [
            (characters[:, :, None] == characters[:, None]).float(),
            self.shares[sounds[:, :, None], sounds[:, None]],
            tones[:, :, None] * tones[:, None],
        ]
        return torch.stack(kinds, 3) * before(poems.shape[1], poems.device)[:, :, None]

    def candidates(self, tokens: Tensor) -> Tensor:
        """The score that any other character would have at each place of the poems, after the same ones before it.

        tokens: (batch, time) as in `forward` -> (batch, poem time, vocabulary)
        """
        poems, places = self.poems(tokens)
        characters, sounds, tones = self.alike[poems], self.sound[poems], self.tone[poems]
        linear, inner = places.of_sounds(self.shares[sounds], tones, self.tone_of_sound)
        scores = places.total(linear, inner)[..., self.sound]
        # A character that has been in the poem is the same as there, beside what its sound is.
        own = sounds[:, None].expand(-1, poems.shape[1], -1)  # (batch, time, earlier time)
        linear, inner = linear.gather(2, own), inner.gather(2, own[..., None].expand(-1, -1, -1, inner.shape[3]))
        same = (characters[:, :, None] == characters[:, None]).float()
        more, more_inner = places.of_characters(same)
        scores.scatter_(2, characters[:, None].expand_as(own), places.total(linear + more, inner + more_inner))
        return scores[..., self.alike]


def before(length: int, device: torch.device) -> Tensor:
    """1 where a place (row) is after another (column)."""
    return torch.ones(length, length, device=device).tril(-1)


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
        inner = torch.einsum("btf,tfh->bth", x, self.inner)[:, :, None]
        return self.total((x * self.linear).sum(2, keepdim=True), inner)[:, :, 0]

    def total(self, linear: Tensor, inner: Tensor) -> Tensor:
        """linear: (batch, time, any), inner: (batch, time, any, hidden) -> scores (batch, time, any)"""
        hidden = (inner + self.inner_bias[:, None]).relu()
        return linear + torch.einsum("btah,th->bta", hidden, self.outer) + self.bias[:, None]

    def kinds(self) -> tuple[Tensor, Tensor]:
        """Both layers' weights of earlier places: (time, time, kind) and (time, time, kind, hidden)."""
        length = len(self.linear)
        mask = before(length, self.linear.device)[:, :, None]
        linear, inner = self.linear[:, :-1], self.inner[:, :-1]
        return linear.view(length, length, -1) * mask, inner.view(length, length, len(KINDS), -1) * mask[..., None]

    def of_sounds(self, shares: Tensor, tones: Tensor, tone_of_sound: Tensor) -> tuple[Tensor, Tensor]:
        """What both layers say of every sound at each place, after poems with `tones` (batch, time).

        shares: (batch, time, sound) -> (batch, time, sound) and (batch, time, sound, hidden)
        """
        linear, inner = self.kinds()
        toned = torch.einsum("tu,bu->bt", linear[..., 2], tones) + self.linear[:, -1]
        toned_inner = torch.einsum("tuh,bu->bth", inner[:, :, 2], tones) + self.inner[:, -1]
        return (
            torch.einsum("tu,buc->btc", linear[..., 1], shares) + toned[..., None] * tone_of_sound,
            torch.einsum("tuh,buc->btch", inner[:, :, 1], shares) + toned_inner[:, :, None] * tone_of_sound[:, None],
        )

    def of_characters(self, same: Tensor) -> tuple[Tensor, Tensor]:
        """What is added at each place for the characters of the poem; same: (batch, character, time)."""
        linear, inner = self.kinds()
        return (
            torch.einsum("tu,bcu->btc", linear[..., 0], same),
            torch.einsum("tuh,bcu->btch", inner[:, :, 0], same),
        )

    def weights(self, kind: str) -> Tensor:
        """What the linear layer makes of a kind of relation: (time, earlier time)."""
        return self.kinds()[0][..., KINDS.index(kind)].detach()
