#!/usr/bin/env bash
# Builds and installs the programs, on Debian 12, as root of a container or of a chroot.
#
#   deploy/docker/build_stage.sh --install_dir=DIR [--variant=cpu|cuda]
#
# DIR gets bin/, lib/, models/ (cmake/TidalInstall.cmake) and share/doc/: the SBOM, and the licences
# of what lib/ holds.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
install_dir="" variant=cpu
for argument in "$@"; do
  case "${argument}" in
    --install_dir=*) install_dir=${argument#*=} ;;
    --variant=cpu | --variant=cuda) variant=${argument#*=} ;;
    *)
      sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done
: "${install_dir:?build_stage: --install_dir is missing}"
readonly install_dir variant

tools/install_dependencies.sh
tools/fetch_xgrammar.sh
cuda=OFF
if [[ "${variant}" == cuda ]]; then
  cuda=ON
  deploy/docker/install_cuda.sh
  export PATH=/usr/local/cuda/bin:${PATH}
  tools/fetch_cudnn_frontend.sh
fi

readonly build=build/image-${variant}
cmake -S . -B "${build}" -G Ninja -DCMAKE_BUILD_TYPE=Release -DTIDAL_BUILD_TESTS=OFF \
  "-DTIDAL_CUDA=${cuda}" --log-level=WARNING
cmake --build "${build}"
cmake --install "${build}" --prefix "${install_dir}" --component programs --strip >/dev/null
if [[ ! -s "${install_dir}/share/doc/tidalserve/tidalserve.spdx.json" ]]; then
  echo "build_stage: there is no SBOM" >&2
  exit 1
fi

# Who owns a library that was copied: the package that has a file of that name.
for library in "${install_dir}"/lib/lib*; do
  dpkg-query --search "*/$(basename "${library}")" 2>/dev/null | cut -d: -f1 || true
done | sort -u | while read -r package; do
  install -D -m 644 "/usr/share/doc/${package}/copyright" \
    "${install_dir}/share/doc/${package}/copyright"
done
install -D -m 644 LICENSE "${install_dir}/share/doc/tidalserve/copyright"
