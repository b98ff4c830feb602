"""The phrase that ends an error about a name."""

from nnunet_ext.base.nearest import nearest


def test_nearest_is_suggested_whatever_its_case() -> None:
    assert nearest("banettrainr", ["BANetTrainer", "nnUNetTrainer"]) == (
        "Did you mean 'BANetTrainer'? Legal: BANetTrainer, nnUNetTrainer."
    )


def test_nothing_is_suggested_for_nothing_alike() -> None:
    assert nearest("xyz", ["num_epochs", "seed"]) == "Legal: num_epochs, seed."


def test_no_legal_name() -> None:
    assert nearest("4", []) == "Legal: none."


def test_a_long_list_is_cut_to_the_nearest() -> None:
    text = nearest("name7", [f"name{number}" for number in range(100)])
    assert text.startswith("Did you mean 'name7'? Legal: name7, ")
    assert text.endswith(" and 88 more.")
    assert text.count("name") == 13
