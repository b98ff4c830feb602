"""Cases are sorted by what was annotated in them; a rare signature is merged into a part of it or refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnunet_ext.collection.annotated_classes import Signature, annotated_classes, signatures
from nnunet_ext.data.image_case import Case
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError

LABELS = {"background": 0, "liver": 1, "spleen": 2, "colon": 3, "ignore": 4}


@dataclass(frozen=True)
class Listed(RawDataset):
    """A dataset whose cases need no files."""

    names: tuple[str, ...] = ()

    def cases(self) -> list[Case]:
        return [Case(name, ()) for name in self.names]


def dataset(counts: Mapping[str, int], **changes: object) -> Listed:
    """So many cases of each signature; l, s, c are the classes, capitals were not mentioned at all."""
    full = {name[0]: name for name in ("liver", "spleen", "colon")}
    names = [f"{letters}{number}" for letters, count in counts.items() for number in range(count)]
    annotated = {
        name: [full[letter] for letter in name.rstrip("0123456789")] for name in names if not name[0].isupper()
    }
    return Listed(Path("Dataset005_CT"), {"labels": LABELS, "annotated": annotated} | changes, tuple(names))


def find(source: Listed, wanted: tuple[str, ...] = ("liver", "spleen", "colon")) -> list[Signature]:
    return signatures(source, annotated_classes(source, source.names), wanted, "5")


def shown(found: list[Signature]) -> list[tuple[str, int]]:
    return [("+".join(each.classes), len(each.cases)) for each in found]


def test_one_for_each_set_of_classes() -> None:
    found = find(dataset({"l": 5, "sl": 6, "c": 7}))
    assert shown(found) == [("liver", 5), ("colon", 7), ("liver+spleen", 6)]
    assert found[2].cases == ("sl0", "sl1", "sl2", "sl3", "sl4", "sl5")
    assert all(not each.merged for each in found)


def test_cases_that_are_not_mentioned_are_complete() -> None:
    assert shown(find(dataset({"l": 5, "X": 6}))) == [("liver", 5), ("liver+spleen+colon", 6)]


def test_without_annotated_all_cases_are_complete() -> None:
    assert shown(find(Listed(Path("D"), {"labels": LABELS}, ("a", "b")))) == [("liver+spleen+colon", 2)]


def test_rare_ones_go_to_the_largest_part() -> None:
    found = find(dataset({"l": 9, "ls": 5, "X": 4}))
    assert shown(found) == [("liver", 9), ("liver+spleen", 9)]
    assert found[1].merged == ((4, ("liver", "spleen", "colon")),)
    assert set(found[1].cases) == {"ls0", "ls1", "ls2", "ls3", "ls4", "X0", "X1", "X2", "X3"}


def test_of_equal_parts_the_one_with_more_cases() -> None:
    assert shown(find(dataset({"l": 5, "s": 6, "ls": 1}))) == [("liver", 5), ("spleen", 7)]


def test_rare_without_a_part_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        find(dataset({"l": 5, "sc": 4}))
    assert str(caught.value) == (
        "5: expected at least 5 cases annotated for exactly spleen, colon, or some of these only, found 4 in "
        "Dataset005_CT (as 'sc0'). Annotate more or leave them out with cases=FILE or labels=NAME+NAME."
    )


def test_wanted_classes_restrict_the_signatures() -> None:
    found = find(dataset({"l": 5, "sc": 4, "ls": 2}), ("liver",))
    assert shown(found) == [("liver", 7)]


def test_a_single_signature_may_be_small() -> None:
    assert shown(find(dataset({"ls": 3}))) == [("liver+spleen", 3)]


def test_nothing_wanted_is_annotated() -> None:
    with pytest.raises(UserError, match="5: expected cases of Dataset005_CT that were annotated for colon, found none"):
        find(dataset({"l": 5}), ("colon",))


@pytest.mark.parametrize(
    ("annotated", "found"),
    [
        (["liver"], "expected 'annotated' to be"),
        ({"l9": ["liver"]}, "unknown case 'l9'"),
        ({"l0": "liver"}, "expected a list of classes for case 'l0', got 'liver'"),
        ({"l0": ["livr"]}, "unknown class 'livr' of case 'l0'. Did you mean 'liver'?"),
        ({"l0": ["background"]}, "unknown class 'background'"),
        ({"l0": ["ignore"]}, "unknown class 'ignore'"),
        ({"l0": []}, "expected at least one class of case 'l0', found none"),
    ],
)
def test_wrong_entries(annotated: object, found: str) -> None:
    with pytest.raises(UserError) as caught:
        find(dataset({"l": 5}, annotated=annotated))
    assert str(caught.value).startswith(f"{Path('Dataset005_CT/dataset.json')}: ")
    assert found in str(caught.value)
