"""A position in the data is one integer."""

from itertools import islice

import pytest
import torch

from seqgan.stream import Feed, Stream, shuffled


class Numbers:
    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"number": torch.tensor(index)}


def numbers(batches, count: int) -> list[list[int]]:
    return [batch["number"].tolist() for batch in islice(batches, count)]


def test_batches_by_number():
    stream = Stream(Numbers(), batch_size=3)
    assert numbers(stream(0), 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert numbers(stream(2), 1) == [[6, 7, 8]]
    assert numbers(stream(1, stride=2), 2) == [[3, 4, 5], [9, 10, 11]]


def test_workers_make_the_same_batches_in_order():
    assert numbers(Stream(Numbers(), 4, workers=2)(5), 20) == numbers(Stream(Numbers(), 4)(5), 20)


def test_opening_a_stream_leaves_the_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    next(Stream(Numbers(), 2)(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("data", [Stream(Numbers(), 2), lambda position: Stream(Numbers(), 2)(position)])
def test_ranks_deal_the_batches_between_them(data):
    feeds = [Feed(data, rank, 3) for rank in range(3)]
    drawn = [[feed.draw()["number"].tolist() for feed in feeds] for _ in range(2)]
    assert drawn == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    assert {feed.position for feed in feeds} == {6}
    resumed = Feed(data, 1, 3)
    resumed.position = 6
    assert resumed.draw()["number"].tolist() == [14, 15]


def test_data_with_an_end_are_opened_again_where_they_ended():
    opened = []

    def data(position):
        opened.append(position)
        return [position, position + 1]

    feed = Feed(data, 0, 1)
    assert [feed.draw() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert opened == [0, 2, 4]


def test_shuffled_deals_every_item_once_an_epoch_in_a_new_order():
    draws = [shuffled(index, 10, seed=3) for index in range(30)]
    assert [epoch for epoch, _ in draws] == [0] * 10 + [1] * 10 + [2] * 10
    orders = [[item for epoch, item in draws if epoch == e] for e in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert shuffled(17, 10, seed=3) == draws[17]
    other = [shuffled(index, 10, seed=4)[1] for index in range(10)]
    assert other != orders[0] and other != orders[1], "nor the next epoch of the seed before"


class Four(Numbers):
    def __len__(self):
        return 4


def test_a_finite_dataset_is_gone_through_again_and_again():
    """Each epoch in an order of its own, which the seed tells from others."""
    orders = [sum(numbers(Stream(Four(), 2, seed=seed)(0), 8), []) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    epochs = [tuple(orders[0][i : i + 4]) for i in range(0, 16, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs) and len(set(epochs)) > 1


def test_a_batch_has_an_item():
    with pytest.raises(ValueError, match="1 item or more, not 0"):
        Stream(Numbers(), 0)
