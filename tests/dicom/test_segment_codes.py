"""Codes are those of pydicom's dictionary, and only exact names get one."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes

from nnunet_ext.dicom import segment_codes as module
from nnunet_ext.dicom.segment_codes import ABNORMAL, ANATOMY, FINDINGS, SIDES, STRUCTURES, TISSUE, segment_codes

SNOMED = {(code.value, code.meaning.lower()) for code in (getattr(codes.SCT, name) for name in codes.SCT.dir())}


@pytest.mark.parametrize(("name", "code"), (STRUCTURES | FINDINGS).items())
def test_the_table(name, code):
    value, meaning = code
    assert (value, meaning.lower()) in SNOMED


def test_categories_and_sides():
    for code in (TISSUE, ANATOMY, ABNORMAL, *SIDES.values()):
        assert (code.value, code.meaning.lower()) in SNOMED
        assert code.scheme_designator == "SCT"
    assert {TISSUE.meaning, ANATOMY.meaning, ABNORMAL.meaning} <= {
        code.meaning for code in (getattr(codes.cid7150, name) for name in codes.cid7150.dir())
    }


@pytest.mark.parametrize(
    ("name", "meaning", "side", "category"),
    [
        ("liver", "Liver", None, ANATOMY),
        ("Kidney_Left", "Kidney", "Left", ANATOMY),
        ("right kidney", "Kidney", "Right", ANATOMY),
        ("adrenal-gland_right", "Adrenal gland", "Right", ANATOMY),
        ("lung_upper_lobe_left", "Upper lobe of lung", "Left", ANATOMY),
        ("left atrium", "Left atrium", None, ANATOMY),
        ("heart_atrium_left", "Left atrium", None, ANATOMY),
        ("heart_ventricle_left", "Left ventricle", None, ANATOMY),
        ("tumour", "Neoplasm", None, ABNORMAL),
        ("Edema", "Edema", None, ABNORMAL),
    ],
)
def test_known_names(name, meaning, side, category):
    found = segment_codes(name)
    assert (found.kind.meaning, found.kind.scheme_designator) == (meaning, "SCT")
    assert (found.side and found.side.meaning, found.category) == (side, category)


@pytest.mark.parametrize(
    "name",
    [
        *("Anterior", "liver tumor", "left", "left part", "kidney_leftover", "organ" * 20),
        *("left ventricle", "right_ventricle"),  # of the heart, or of the brain
        *("left atrium right", "right left atrium", "left heart_atrium_left"),
    ],
)
def test_unknown_names(name):
    found = segment_codes(name)
    assert (found.category, found.side) == (TISSUE, None)
    assert (found.kind.value, found.kind.scheme_designator, found.kind.meaning) == (name, "99NNUNETEXT", name[:64])


def test_names_that_dicom_does_not_take():
    """A backslash would make two values of one."""
    found = segment_codes("left\\right\nlobe\x00\x9f")
    assert found.kind.value == found.kind.meaning == "left/right lobe  "


def test_no_name_is_in_both_tables():
    assert not STRUCTURES.keys() & FINDINGS.keys()
    assert len(module.PRIVATE) <= 16
