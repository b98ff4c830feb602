"""nnU-Net's own tests still pass with nnunet_ext installed and its door open."""

import os
import subprocess
import sys

import pytest

from nnunet_ext import sockets


@pytest.mark.slow
def test_upstreams_own_tests():
    words = [sys.executable, "-m", "unittest", "nnunetv2.tests.test_find_objects", "nnunetv2.tests.test_paths"]
    variables = os.environ | {sockets.VARIABLE: str(sockets.folder("trainers"))}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 7 tests" in done.stderr
