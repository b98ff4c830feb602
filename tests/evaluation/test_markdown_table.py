"""The table's text, letter by letter."""

from nnunet_ext.evaluation.markdown_table import markdown_table


def test_columns_are_aligned():
    assert markdown_table([["", "Dice"], ["organ", "1"], ["wall", "0.25"]]) == (
        "|       | Dice |\n|-------|-----:|\n| organ |    1 |\n| wall  | 0.25 |"
    )


def test_a_name_with_the_sign_that_ends_a_cell():
    assert markdown_table([["", "Dice"], ["a|b", "1"]]) == "|      | Dice |\n|------|-----:|\n| a\\|b |    1 |"
