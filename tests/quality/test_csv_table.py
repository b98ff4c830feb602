"""The table, read back."""

import csv
import io

from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.csv_table import csv_table
from nnunet_ext.quality.reason import Reason


def test_rows_in_order_and_quoted():
    reasons = [
        Reason("place", "organ: high", 0.4),
        Reason("volume", 'organ, "big": 1 ml', 0.6),
        Reason("x", "weak", 0.1),
    ]
    cases = [
        CaseQuality("failed", [Reason("file", "no image")], failed=True),
        CaseQuality("usual", [], {"organ": 12.3456789, "wall": 0.0}),
        CaseQuality("odd", reasons, {"organ": 1.0, "wall": 2.0}),
    ]
    assert list(csv.reader(io.StringIO(csv_table(cases)))) == [
        ["case", "suspicion", "reasons", "size of organ, ml", "size of wall, ml"],
        ["failed", "1.0000", "file: no image", "", ""],
        ["odd", "0.6000", 'volume: organ, "big": 1 ml | place: organ: high', "1", "2"],
        ["usual", "0.0000", "", "12.3457", "0"],
    ]


def test_a_flat_image():
    assert csv_table([CaseQuality("a", [], {"organ": 1.0}, "cm²")]).startswith(
        'case,suspicion,reasons,"size of organ, cm²"'
    )
