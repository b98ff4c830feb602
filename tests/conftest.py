"""What all tests share."""

import os

import pytest

# nnU-Net reads these when it is imported
os.environ.update(nnUNet_def_n_proc="2", nnUNet_n_proc_DA="1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when torch is imported: waits without spinning


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our own options here: pytest reads those of deeper folders too late."""
    parser.addoption(
        "--conformance-report", metavar="FILE.md", help="write the table of tests/conformance to this file"
    )
