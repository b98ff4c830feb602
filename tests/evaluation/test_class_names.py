"""Names of labels and of regions."""

from nnunet_ext.evaluation.class_names import map_names, summary_names


def test_labels():
    description = {"labels": {"background": 0, "tumour": 2, "organ": 1, "ignore": 3}}
    assert summary_names(description) == {"2": "tumour", "1": "organ"}
    assert map_names(description) == {2: "tumour", 1: "organ"}


def test_regions():
    labels = {"background": 0, "whole": [1, 2, 3], "core": [3], "edge": 2, "ignore": 4}
    description = {"labels": labels, "regions_class_order": [1, 3, 2]}
    assert summary_names(description) == {"(1, 2, 3)": "whole", "(3,)": "core", "2": "edge"}
    assert map_names(description) == {1: "whole", 3: "core", 2: "edge"}
