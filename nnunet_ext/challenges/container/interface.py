"""Which images a challenge hands to a container, and what it takes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object

MHA, NIFTI = ".mha", ".nii.gz"
LABEL_MAP, STRUCTURES = "label_map", "structures"
FORM = 'see "Other challenges" in docs/package.md'


@dataclass(frozen=True)
class InputImage:
    """An image that the platform hands over.

    Args:
        slug: Its name in ``inputs.json``.
        relative_path: Its folder in the input folder; ``.`` is the input folder itself.
        channel: What it shows; the model's channels choose inputs by it.
        ending: Of its file.
    """

    slug: str
    relative_path: str
    channel: str
    ending: str = MHA


@dataclass(frozen=True)
class OutputImage:
    """What the platform takes back.

    Args:
        slug: Its name on the platform.
        relative_path: Its folder in the output folder.
        kind: ``label_map``, or ``structures``: a 4d image with one volume of 0 and 1 for each structure.
        ending: Of its file.
    """

    slug: str
    relative_path: str
    kind: str
    ending: str = MHA


@dataclass(frozen=True)
class Interface:
    """Inputs and output of a challenge.

    Args:
        name: Of the challenge.
        inputs: The images of a case.
        output: What is written for a case.
        several_cases: The input's folder holds any number of cases; the output gets the name of the input.
        records: Names in ``dataset.json`` (key ``challenge``) of datasets whose models serve this challenge; none: any.

    Example:
        >>> INTERFACES["kits21"].output.relative_path
        'images/kidney-tumor-and-cyst'
    """

    name: str
    inputs: tuple[InputImage, ...]
    output: OutputImage
    several_cases: bool = False
    records: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Interface:
        """Read the JSON file of a challenge.

        Raises:
            UserError: It cannot be read or has another form.
        """
        return cls.of(read_object(file), str(file))

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str) -> Interface:
        """Read what :meth:`as_json` returned, or a user wrote.

        Args:
            content: The object of a JSON file.
            where: For messages.

        Raises:
            UserError: It has another form.
        """
        try:
            inputs = tuple(InputImage(**each) for each in content["inputs"])
            others = {"output": OutputImage(**content["output"]), "records": tuple(content.get("records", ()))}
            made = cls(**{**content, "inputs": inputs, **others})
        except (TypeError, KeyError) as error:
            raise UserError(
                f"{where}: expected name, inputs and output of a challenge, got {error}. {FORM}."
            ) from error
        made._check(where)
        return made

    def as_json(self) -> dict[str, Any]:
        """Return the content of its JSON file."""
        return dataclasses.asdict(self)

    def _check(self, where: str) -> None:
        images: list[InputImage | OutputImage] = [*self.inputs, self.output]
        texts = [self.name, *(word for each in images for word in dataclasses.astuple(each))]
        paths = [PurePosixPath(str(each.relative_path)) for each in images]
        for problem, found in (
            ("at least one input", "none" if not self.inputs else ""),
            ("only texts", next((repr(text) for text in texts if not isinstance(text, str)), "")),
            (
                f"the kind {LABEL_MAP} or {STRUCTURES}",
                repr(self.output.kind) if self.output.kind not in (LABEL_MAP, STRUCTURES) else "",
            ),
            (
                "paths inside the folders of input and output",
                next((repr(str(path)) for path in paths if path.is_absolute() or ".." in path.parts), ""),
            ),
        ):
            if found:
                raise UserError(f"{where}: expected {problem}, got {found}. {FORM}.")


_HEAD_AND_NECK = (
    InputImage("head-neck-ct", "images/head-neck-ct", "non_contrast"),
    InputImage("head-neck-contrast-enhanced-ct", "images/head-neck-contrast-enhanced-ct", "contrast"),
)
INTERFACES: Mapping[str, Interface] = {
    made.name: made
    for made in (
        Interface(
            "kits21",
            (InputImage("ct-image", "images/ct", "CT"),),
            OutputImage("kidney-tumor-and-cyst", "images/kidney-tumor-and-cyst", LABEL_MAP),
            records=("kits21", "kits23"),
        ),
        Interface(
            "segrap2023_oar",
            _HEAD_AND_NECK,
            OutputImage("head-neck-segmentation", "images/head-neck-segmentation", STRUCTURES),
            records=("segrap2023_oar",),
        ),
        Interface(
            "segrap2023_gtv",
            _HEAD_AND_NECK,
            OutputImage("gross-tumor-volume-segmentation", "images/gross-tumor-volume-segmentation", STRUCTURES),
            records=("segrap2023_gtv",),
        ),
        Interface(  # before the platform: NIfTI files, side by side
            "kipa22",
            (InputImage("", ".", "CTA", NIFTI),),
            OutputImage("", ".", LABEL_MAP, NIFTI),
            several_cases=True,
            records=("kipa22",),
        ),
    )
}
