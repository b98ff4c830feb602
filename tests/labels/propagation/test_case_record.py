"""The table, and the spacing to plan with."""

from dataclasses import replace

from nnunet_ext.labels.propagation.case_record import CaseRecord, csv_table, safe_spacing

ONE = CaseRecord("one", 0, 5, 4, 100, 20, 0.25, 0.0, 0.4, 0.1, 1.25)


def test_csv():
    lines = csv_table([ONE, replace(ONE, case="two", axis=None, spacing=None)]).splitlines()
    assert lines[0].startswith("case,axis,annotated_slices,largest_gap,filled_voxels,ignored_voxels,share_before,")
    assert lines[1:] == ["one,0,5,4,100,20,0.25,0,0.4,0.1,1.25", "two,,5,4,100,20,0.25,0,0.4,0.1,"]


def test_the_finest_spacing_of_each_axis_along_which_cases_are_annotated():
    fine = replace(ONE, share_resampled=0.4, spacing=1.0)
    across = replace(fine, axis=2, spacing=0.5)
    whole = replace(fine, share=1.0, share_resampled=1.0, spacing=0.1)
    assert safe_spacing([fine, across, whole], (2, 2, 2)) is None
    assert safe_spacing([ONE, fine, across, whole], (2, 2, 2)) == (1.0, 2, 0.5)
    assert safe_spacing([replace(ONE, spacing=3.0)], (2, 2, 2)) == (2, 2, 2)


def test_half_is_enough_and_without_slices_there_is_nothing_to_lose():
    assert ONE.fades
    assert not replace(ONE, share_resampled=0.2).fades
    assert not replace(ONE, axis=None).fades
