"""From dataset to dataset in a format whose label files do not give their spacing; other formats: tests/cli."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.labels.propagation.case_job import Propagation
from nnunet_ext.labels.propagation.propagate import Rule
from nnunet_ext.labels.propagation.propagated_dataset import propagate_dataset


@pytest.fixture
def tif(tmp_path: Path) -> RawDataset:
    """One case; only its image has a file with the spacing beside it."""
    place = tmp_path / "Dataset007_Tif"
    for folder in ("imagesTr", "labelsTr"):
        (place / folder).mkdir(parents=True)
    labels = np.full((5, 12, 12), 2, np.uint8)
    labels[[0, 4]] = 0
    labels[[0, 4], 3:8, 3:8] = 1
    tifffile.imwrite(place / "labelsTr" / "a.tif", labels)
    tifffile.imwrite(place / "imagesTr" / "a_0000.tif", np.ones((5, 12, 12), np.float32))
    (place / "imagesTr" / "a.json").write_text(json.dumps({"spacing": [3.0, 1.5, 1.5]}))
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1, "ignore": 2}}
    (place / "dataset.json").write_text(json.dumps(description | {"numTraining": 1, "file_ending": ".tif"}))
    return RawDataset.read(place)


@pytest.mark.parametrize("known", [False, True])
def test_the_spacing_is_the_images_and_is_not_made_up_for_labels(tif, known):
    if known:
        (tif.folder / "labelsTr" / "a.json").write_text(json.dumps({"spacing": [3.0, 1.5, 1.5]}))
    place = tif.folder.parent / "Dataset107_Tif"
    (record,), planned = propagate_dataset(Propagation(tif, Rule()), place, progress=False)
    assert record.spacing == 3.0
    assert planned == (3.0, 1.5, 1.5)
    written = {file.name for file in (place / "labelsTr").iterdir()}
    assert written == ({"a.tif", "a.json"} if known else {"a.tif"})
    found = tifffile.imread(place / "labelsTr" / "a.tif")
    assert (found == found[0]).all()
