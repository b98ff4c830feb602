"""Codes for the names of labels: SNOMED CT for common structures, else a private code that is the name itself.

``tests/dicom/test_segment_codes.py`` compares each code with the dictionary that pydicom ships.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

PRIVATE = "99NNUNETEXT"  # 99: a scheme that no standard defines
TISSUE = Code("85756007", "SCT", "Tissue")
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}

STRUCTURES = {
    "adrenal gland": ("23451007", "Adrenal gland"),
    "amygdala": ("4958002", "Amygdala"),
    "aorta": ("15825003", "Aorta"),
    "bone": ("272673000", "Bone"),
    "brain": ("12738006", "Brain"),
    "brain stem": ("119238007", "Brain Stem"),
    "brainstem": ("119238007", "Brain Stem"),
    "breast": ("76752008", "Breast"),
    "caudate nucleus": ("11000004", "Caudate Nucleus"),
    "cerebellum": ("113305005", "Cerebellum"),
    "clavicle": ("51299004", "Clavicle"),
    "clavicula": ("51299004", "Clavicle"),
    "colon": ("71854001", "Colon"),
    "duodenum": ("38848004", "Duodenum"),
    "esophagus": ("32849002", "Esophagus"),
    "eye": ("81745001", "Eye"),
    "femur": ("71341001", "Femur"),
    "fibula": ("87342007", "Fibula"),
    "gall bladder": ("28231008", "Gallbladder"),
    "gallbladder": ("28231008", "Gallbladder"),
    "heart": ("80891009", "Heart"),
    "heart atrium left": ("82471001", "Left atrium"),
    "heart atrium right": ("73829009", "Right atrium"),
    "heart ventricle left": ("87878005", "Left ventricle"),
    "heart ventricle right": ("53085002", "Right ventricle"),
    "hepatic vein": ("8993003", "Hepatic vein"),
    "hippocampus": ("5366008", "Hippocampus"),
    "humerus": ("85050009", "Humerus"),
    "iliac artery": ("10293006", "Iliac artery"),
    "iliac vena": ("244411005", "Iliac vein"),
    "iliac vein": ("244411005", "Iliac vein"),
    "inferior vena cava": ("64131007", "Inferior vena cava"),
    "kidney": ("64033007", "Kidney"),
    "larynx": ("4596009", "Larynx"),
    "left atrium": ("82471001", "Left atrium"),
    "liver": ("10200004", "Liver"),
    "lung": ("39607008", "Lung"),
    "lung lower lobe": ("90572001", "Lower lobe of lung"),
    "lung upper lobe": ("45653009", "Upper lobe of lung"),
    "lymph node": ("59441001", "Lymph Node"),
    "mandible": ("91609006", "Mandible"),
    "oesophagus": ("32849002", "Esophagus"),
    "optic chiasm": ("244453006", "Optic chiasm"),
    "optic nerve": ("18234004", "optic nerve"),
    "ovary": ("15497006", "Ovary"),
    "pancreas": ("15776009", "Pancreas"),
    "parotid gland": ("45289007", "Parotid gland"),
    "portal vein": ("32764006", "Portal vein"),
    "prostate": ("41216001", "Prostate"),
    "pulmonary artery": ("81040000", "Pulmonary artery"),
    "pulmonary vein": ("122972007", "Pulmonary vein"),
    "putamen": ("89278009", "Putamen"),
    "rectum": ("34402009", "Rectum"),
    "right atrium": ("73829009", "Right atrium"),
    "sacrum": ("54735007", "Sacrum"),
    "scapula": ("79601000", "Scapula"),
    "skull": ("89546000", "Skull"),
    "small bowel": ("30315005", "Small intestine"),
    "small intestine": ("30315005", "Small intestine"),
    "spinal cord": ("2748008", "Spinal cord"),
    "spleen": ("78961009", "Spleen"),
    "splenic vein": ("35819009", "Splenic vein"),
    "sternum": ("56873002", "Sternum"),
    "stomach": ("69695003", "Stomach"),
    "submandibular gland": ("54019009", "Submandibular gland"),
    "superior vena cava": ("48345005", "Superior vena cava"),
    "thalamus": ("42695009", "Thalamus"),
    "thyroid": ("69748006", "Thyroid"),
    "thyroid gland": ("69748006", "Thyroid"),
    "tibia": ("12611008", "Tibia"),
    "trachea": ("44567001", "Trachea"),
    "urinary bladder": ("89837001", "Bladder"),
    "uterus": ("35039007", "Uterus"),
}
FINDINGS = {
    "cancer": ("108369006", "Neoplasm"),
    "cyst": ("367643001", "Cyst"),
    "edema": ("79654002", "Edema"),
    "hemorrhage": ("50960005", "Hemorrhage"),
    "lesion": ("52988006", "Lesion"),
    "necrosis": ("6574001", "Necrosis"),
    "neoplasm": ("108369006", "Neoplasm"),
    "nodule": ("27925004", "Nodule"),
    "oedema": ("79654002", "Edema"),
    "tumor": ("108369006", "Neoplasm"),
    "tumour": ("108369006", "Neoplasm"),
}


@dataclass(frozen=True)
class SegmentCodes:
    """What a segment is, in codes.

    Args:
        category: Anatomy, an abnormal structure, or tissue where nothing is known.
        kind: The structure.
        side: Left or right, if the name says so and the code does not.
    """

    category: Code
    kind: Code
    side: Code | None = None


def segment_codes(name: str) -> SegmentCodes:
    """Return the codes of a label.

    Capitals, underscores and hyphens do not count; ``left`` or ``right`` may come first or last. A name that is not
    exactly that of a structure in the table gets the category Tissue and a code of the private scheme ``99NNUNETEXT``.
    A side is not taken from names that contain one in the table, such as ``left atrium``.

    Args:
        name: A label's name in dataset.json.

    Example:
        >>> codes = segment_codes("kidney_left")
        >>> codes.kind.value, codes.kind.meaning, codes.side.meaning
        ('64033007', 'Kidney', 'Left')
    """
    words = re.sub(r"[\s_-]+", " ", name).strip().lower()
    for known, category in ((STRUCTURES, ANATOMY), (FINDINGS, ABNORMAL)):
        if words in known:
            value, meaning = known[words]
            return SegmentCodes(category, Code(value, "SCT", meaning))
        for side, code in SIDES.items():
            rest = words.removeprefix(f"{side} ").removesuffix(f" {side}")
            if rest != words and rest in known and not SIDES.keys() & rest.split():
                value, meaning = known[rest]
                return SegmentCodes(category, Code(value, "SCT", meaning), code)
    text = as_text(name)
    return SegmentCodes(TISSUE, Code(text, PRIVATE, text[:64]))


def as_text(name: str) -> str:
    """Return a name as DICOM takes it: a backslash would part two values, and control characters are not allowed.

    Args:
        name: Any text.

    Example:
        >>> as_text("left\\\\right\\tpart")
        'left/right part'
    """
    return CONTROL.sub(" ", name.replace("\\", "/"))
