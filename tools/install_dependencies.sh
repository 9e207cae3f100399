#!/usr/bin/env bash
# Installs the Debian 12 packages that tidalserve is built with. Does nothing when they are there.
#
#   tools/install_dependencies.sh [--with_tests] [--with_python] [--with_clang]
#
#   --with_tests   also what only the tests need: GoogleTest, openssl, Python's venv, Prometheus
#   --with_python  also python3 with venv, which tools/fetch_smollm2.sh needs
#   --with_clang   also clang, clang-tidy, clang-format and shellcheck, for a developer's checks
set -euo pipefail

# What cmake/TidalDependencies.cmake looks for, and the tools that build it.
packages=(
  cmake ninja-build g++ ccache pkg-config
  libabsl-dev libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libspdlog-dev libyaml-cpp-dev nlohmann-json3-dev prometheus-cpp-dev
  libboost-dev libssl-dev libpcre2-dev libutf8proc-dev libdnnl-dev
  python3 python3-venv # tools/fetch_xgrammar.sh
)

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }

for argument in "$@"; do
  case "${argument}" in
    --with_tests) packages+=(libgtest-dev libgmock-dev openssl python3 python3-venv prometheus) ;;
    --with_python) packages+=(python3 python3-venv) ;;
    --with_clang) packages+=(clang clang-tidy clang-format shellcheck) ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      echo "install_dependencies: unknown option ${argument}" >&2
      usage >&2
      exit 2
      ;;
  esac
done

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install_dependencies: this system has no apt-get; tidalserve builds on Debian 12." >&2
  echo "Elsewhere, install the equivalents of: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  is_installed "${package}" || missing+=("${package}")
done
if ((${#missing[@]} == 0)); then
  echo "install_dependencies: all ${#packages[@]} packages are installed."
  exit 0
fi

# shellcheck source=/dev/null
version=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
if [[ "${version}" != "debian 12" ]]; then
  echo "install_dependencies: made for Debian 12, this is ${version}; package names and versions" \
    "may differ." >&2
fi
if ((EUID != 0)); then
  echo "install_dependencies: must be root to install packages. Run as root:" >&2
  echo "  apt-get install ${missing[*]}" >&2
  exit 1
fi

echo "install_dependencies: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update -qq; then
  echo "install_dependencies: apt-get update failed; trying with the package lists at hand." >&2
fi
if ! apt-get install -y -qq --no-install-recommends "${missing[@]}"; then
  echo "install_dependencies: apt-get could not install: ${missing[*]}" >&2
  echo "See its messages above; is the package source of Debian 12 reachable?" >&2
  exit 1
fi
for package in "${missing[@]}"; do
  if ! is_installed "${package}"; then
    echo "install_dependencies: ${package} is still missing after apt-get install." >&2
    exit 1
  fi
done
echo "install_dependencies: done."
