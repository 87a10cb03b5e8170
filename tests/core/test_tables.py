"""Tables of results."""

from seqgan.tables import markdown_table, spread


def test_a_table_is_markdown():
    assert (
        markdown_table(("", "PESQ"), [("noisy", 1.5), ("ours", "2")])
        == "|  | PESQ |\n|---|---|\n| noisy | 1.5 |\n| ours | 2 |\n"
    )


def test_a_spread_is_the_standard_deviation_of_a_sample():
    assert spread([1.0, 3.0]) == "2.00 ± 1.41"
    assert spread([1.0, 3.0], "+.1f") == "+2.0 ± 1.4"
    assert spread([7], ".0f") == "7", "of one there is none"
