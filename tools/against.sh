#!/usr/bin/env bash
# Run the fast tests against another nnU-Net, in an environment of their own:
#
#   tools/against.sh PATH_OR_VERSION [PYTEST_ARGUMENT ...]
#   tools/against.sh ../nnUNet                              # a source checkout, such as nnU-Net's newest
#   tools/against.sh 2.8.0 tests/test_private_names.py      # a release, and some of the tests
#
# The environment lies in a temporary folder, which is removed. With NNUNET_EXT_AGAINST_ENV=FOLDER it is kept there and
# used again. Our own pin on nnunetv2 does not apply.
set -euo pipefail

fail() {
    echo "tools/against.sh: $1" >&2
    exit 2
}

[ $# -ge 1 ] || fail "expected the path of an nnU-Net checkout or a version, got nothing. Example: tools/against.sh ../nnUNet"
what=$1
shift
if [ -d "$what" ]; then
    [ -d "$what/nnunetv2" ] || fail "$what: expected a checkout of nnU-Net, found no folder nnunetv2 in it. Correct the path."
    wanted=$(cd "$what" && pwd)
elif [[ "$what" =~ ^[0-9]+(\.[0-9a-z]+)*$ ]]; then
    wanted="nnunetv2==$what"
else
    fail "$what: expected the path of an nnU-Net checkout or a version, found no such folder. Correct the path."
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -n "${NNUNET_EXT_AGAINST_ENV:-}" ]; then
    environment=$NNUNET_EXT_AGAINST_ENV
else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    environment=$scratch/venv
fi
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
python=$environment/bin/python
grep -E '^(torch|mypy|ruff)' constraints.txt > "$environment/constraints.txt"

# what pyproject.toml asks for, but nnunetv2
mapfile -t others < <("$python" - <<'PYTHON'
try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    if not requirement.startswith("nnunetv2"):
        print(requirement)
PYTHON
)
"$python" -m pip install -q -c "$environment/constraints.txt" "$wanted" "${others[@]}"
[ ! -d "$what" ] || "$python" -m pip install -q --no-deps --force-reinstall "$wanted"  # a checkout may have changed
"$python" -m pip install -q --no-deps -e .
"$python" -c 'from importlib.metadata import version; print("Tests against nnunetv2", version("nnunetv2"))'
"$python" -m pytest -q "$@"
