"""The text of the Dockerfile and of the scripts beside it."""

from __future__ import annotations

from nnunet_ext.challenges.container.entry_point import INVOKE, METHOD
from nnunet_ext.challenges.container.server import PORT

BASE = "pytorch/pytorch:2.13.0-cuda12.6-cudnn9-runtime"  # GPUs of the type T4 need CUDA 12.6
LABEL = "org.grand-challenge.api-method"
USER = "user"

DOCKERFILE = """\
# hadolint ignore=DL3029
FROM --platform=linux/amd64 {base}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --system {user} && useradd --system --gid {user} --create-home --no-log-init {user}
WORKDIR /opt/app

# everything comes from the folder wheels; torch is the image's
COPY requirements.txt ./
RUN --mount=type=bind,source=wheels,target=/wheels \\
    python -m venv --system-site-packages /opt/app/venv && \\
    /opt/app/venv/bin/python -m pip install --no-cache-dir --no-index --no-deps --find-links /wheels \\
    --requirement requirements.txt {wheel}
COPY container.json ./

{label}ENV {method}={api_method}
EXPOSE {port}
USER {user}
ENTRYPOINT ["/opt/app/venv/bin/python", "-m", "nnunet_ext.challenges.container"]
"""

HEAD = """\
#!/usr/bin/env bash
{comment}
set -euo pipefail
cd "$(dirname "$0")"
tag="{tag}"
"""

BUILD = """\
# once, with network: wheels of requirements.txt, made by the Python of the image they will be used in
if ! cmp --silent requirements.txt wheels/complete.txt; then
    docker run --rm --platform=linux/amd64 --volume "$PWD:/context" --workdir /context \\
        --user "$(id -u):$(id -g)" --env HOME=/tmp {base} \\
        python -m pip wheel --no-cache-dir --no-deps --wheel-dir wheels --requirement requirements.txt
    cp requirements.txt wheels/complete.txt
fi
docker build --platform=linux/amd64 --network=none --tag "$tag" .
"""

TEST_RUN = """\
method="${{1:-{api_method}}}"
./do_build.sh
work="$(mktemp -d)"
name="{tag}-$$"
trap 'docker rm --force "$name" > /dev/null 2>&1 || true; docker network rm "$name" > /dev/null 2>&1 || true; \
docker volume rm "$name" > /dev/null 2>&1 || true; rm -rf "$work" 2> /dev/null || true' EXIT
mkdir -p "$work/model" "$work/output"
chmod 777 "$work/output"
tar -xzf model.tar.gz -C "$work/model"
gpus=()
if command -v nvidia-smi > /dev/null; then gpus=(--gpus all); fi
docker volume create "$name" > /dev/null
options=(--platform=linux/amd64 "${{gpus[@]}}" --memory {ram}g --shm-size {half}g --cap-drop ALL
    --security-opt no-new-privileges --volume "$name:/tmp" --volume "$work/model:/opt/ml/model:ro"
    --volume "$PWD/test/input/interf0:/input:ro" --volume "$work/output:/output" --env "{method}=$method")
if [ "$method" = exec ]; then
    docker run --rm --network none "${{options[@]}}" "$tag"
else
    docker network create --internal "$name" > /dev/null
    docker run --detach --name "$name" --network "$name" "${{options[@]}}" "$tag" > /dev/null
    docker run --rm --network "$name" --entrypoint python "$tag" -c "
import time, urllib.request as web
for _ in range(60):
    time.sleep(5)
    try:
        web.urlopen('http://$name:{port}/health', timeout=10)
        break
    except OSError as error:
        print('not ready:', error)
print(web.urlopen(web.Request('http://$name:{port}/invoke', method='POST')).status)" ||
        {{ docker logs "$name" >&2; exit 1; }}
    docker logs "$name"
fi
found="$(find "$work/output" -type f)"
if [ "$(printf '%s\\n' "$found" | grep --count .)" != 1 ]; then
    echo "expected one output file, found: $found" >&2
    exit 1
fi
mkdir -p test/output
cp "$found" test/output/
echo "test/output/$(basename "$found") written"
"""

SAVE = """\
./do_build.sh
file="${tag}_$(date +%Y%m%d_%H%M%S).tar.gz"
docker save "$tag" | gzip > "$file"
echo "Upload the container image $PWD/$file and the model $PWD/model.tar.gz"
"""


def dockerfile(api_method: str, wheel: str) -> str:
    """Return the Dockerfile.

    Args:
        api_method: ``exec`` or ``invoke``: what the platform is told by the image's label, and the entry point by the
            variable; the variable can be set otherwise at run time.
        wheel: File name of our own wheel.
    """
    label = f'LABEL {LABEL}="{INVOKE}"\n' if api_method == INVOKE else ""  # without a label, the platform takes exec
    return DOCKERFILE.format(
        base=BASE, user=USER, wheel=f"/wheels/{wheel}", label=label, method=METHOD, api_method=api_method, port=PORT
    )


def scripts(tag: str, api_method: str, ram: float) -> dict[str, str]:
    """Return the scripts by name.

    Args:
        tag: Of the image.
        api_method: That is tested unless another is named.
        ram: GiB of memory that the test run gets.
    """
    test = TEST_RUN.format(
        tag=tag, api_method=api_method, method=METHOD, port=PORT, ram=max(1, int(ram)), half=max(1, int(ram / 2))
    )
    return {
        f"do_{name}.sh": HEAD.format(comment=comment, tag=tag) + body
        for name, comment, body in (
            ("build", "# Build the image. Needs docker; the first time also network.", BUILD.format(base=BASE)),
            (
                "test_run",
                "# Predict test/input without network, as the platform does: ./do_test_run.sh [exec|invoke]",
                test,
            ),
            ("save", "# Write the two files to upload.", SAVE),
        )
    }
