#!/usr/bin/env bash
# Fetches the headers of NVIDIA's cuDNN frontend (MIT licence), which let the CUDA back end use
# cuDNN for prefill attention. Does nothing when they are there. Without them the build uses our
# own kernel.
#
#   tools/fetch_cudnn_frontend.sh
#
# They come from the Python package nvidia-cudnn-frontend; pip checks the download.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly version=1.16.0
readonly target=build/third_party/cudnn_frontend

if [[ $# -gt 0 ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  [[ "$1" == --help || "$1" == -h ]] && exit 0
  exit 2
fi
if [[ "$(cat "${target}/version.txt" 2>/dev/null)" == "${version}" ]]; then
  echo "fetch_cudnn_frontend: ${version} is there."
  exit 0
fi

download=$(mktemp -d)
trap 'rm -rf "${download}"' EXIT
# The headers are the same in every wheel of a version, whatever Python it is for.
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --dest "${download}" "nvidia-cudnn-frontend==${version}"; then
  echo "fetch_cudnn_frontend: pip could not download nvidia-cudnn-frontend ${version}." >&2
  echo "The build works without: prefill attention then uses our own, slower kernel." >&2
  exit 1
fi
python3 - "${download}" "${download}/unpacked" <<'PYTHON'
import glob
import sys
import zipfile

download, target = sys.argv[1:]
(wheel,) = glob.glob(download + "/*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("include/") or "LICENSE" in name:
            archive.extract(name, target)
PYTHON
if [[ ! -f "${download}/unpacked/include/cudnn_frontend.h" ]]; then
  echo "fetch_cudnn_frontend: the package holds no include/cudnn_frontend.h" >&2
  exit 1
fi
echo "${version}" >"${download}/unpacked/version.txt"
mkdir -p "$(dirname "${target}")"
rm -rf "${target}"
mv "${download}/unpacked" "${target}"
echo "fetch_cudnn_frontend: ${version} is in ${target}"
