#!/usr/bin/env bash
# Fetches the sources of xgrammar (Apache 2.0), which checks structured output. Does nothing when
# they are there.
#
#   tools/fetch_xgrammar.sh
#
# They come from the source distribution of the Python package; pip checks the download.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly version=0.2.9
readonly sha256=87b466bca2475e29bb0323abc62c6c33cbcbcff47e5fb800a3e2099ac9620b90
readonly target=build/third_party/xgrammar

if [[ $# -gt 0 ]]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0"
  [[ "$1" == --help || "$1" == -h ]] && exit 0
  exit 2
fi
if [[ "$(cat "${target}/version.txt" 2>/dev/null)" == "${version}" ]]; then
  echo "fetch_xgrammar: ${version} is there."
  exit 0
fi

download=$(mktemp -d)
trap 'rm -rf "${download}"' EXIT
pip=(python3 -m pip)
if ! "${pip[@]}" --version >/dev/null 2>&1; then
  python3 -m venv "${download}/venv"
  pip=("${download}/venv/bin/python" -m pip)
fi
echo "xgrammar==${version} --hash=sha256:${sha256}" >"${download}/requirements.txt"
if ! "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --no-binary xgrammar \
  --require-hashes --dest "${download}" --requirement "${download}/requirements.txt"; then
  echo "fetch_xgrammar: pip could not download xgrammar ${version}." >&2
  exit 1
fi
mkdir "${download}/unpacked"
tar -xzf "${download}/xgrammar-${version}.tar.gz" --strip-components=1 -C "${download}/unpacked" \
  "xgrammar-${version}"/{cpp,include,LICENSE,NOTICE} \
  "xgrammar-${version}"/3rdparty/{picojson,dlpack/include}
echo "${version}" >"${download}/unpacked/version.txt"
mkdir -p "$(dirname "${target}")"
rm -rf "${target}"
mv "${download}/unpacked" "${target}"
echo "fetch_xgrammar: ${version} is in ${target}"
