#!/usr/bin/env bash
# Installs the compiler and the libraries of CUDA that tidalserve is built with, on Debian 12.
#
#   deploy/docker/install_cuda.sh [--prefix=/usr/local/cuda]
#
# They are NVIDIA's own Python packages (cuda_packages.txt), which unlike its images and its
# package repository hold nothing that we do not use.
set -euo pipefail

prefix=/usr/local/cuda
for argument in "$@"; do
  case "${argument}" in
    --prefix=*) prefix=${argument#*=} ;;
    *)
      sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done
readonly prefix
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

if ! python3 -m pip --version >/dev/null 2>&1; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends ca-certificates python3-pip
fi
packages=$(mktemp -d)
readonly packages
trap 'rm -rf "${packages}"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
  --no-cache-dir --no-deps --target "${packages}" -r "${here}/cuda_packages.txt"

mkdir -p "${prefix}"
cp -a "${packages}"/nvidia/cu13/. "${packages}"/nvidia/cudnn/. "${prefix}"
# The linker looks for libNAME.so, which the packages leave out.
for library in "${prefix}"/lib/lib*.so.*; do
  link=${library%%.so.*}.so
  [[ -e "${link}" ]] || ln -s "$(basename "${library}")" "${link}"
done
echo "install_cuda: $("${prefix}/bin/nvcc" --version | sed -n 's/.*release //p') in ${prefix}"
