#!/usr/bin/env bash
# Installs, builds and runs every test. The last lines are ctest's own summary; the exit code is 0
# only when every test passed.
#
#   tools/test.sh [--preset=release|debug|asan|tsan] [arguments of ctest ...]
#
# For example: tools/test.sh --preset=asan -R Scheduler
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=release
ctest_arguments=()
for argument in "$@"; do
  case "${argument}" in
    --preset=*) preset=${argument#*=} ;;
    --help | -h)
      sed -n '2,7s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) ctest_arguments+=("${argument}") ;;
  esac
done
case "${preset}" in
  release | debug | asan | tsan) ;;
  *)
    echo "test: --preset: must be release, debug, asan or tsan, got ${preset}" >&2
    exit 2
    ;;
esac

tools/install_dependencies.sh --with_tests
tools/fetch_xgrammar.sh

# The official clients, and frameworks on top of them, for the tests that talk to a running server.
# The stamps make a second run cheap and a changed list of packages take effect.
readonly venv=build/test-venv
make_venv() { # $1: folder, $2: list of packages
  if ! cmp -s "$2" "$1/installed.txt"; then
    rm -rf "$1"
    python3 -m venv "$1"
  fi
}
make_venv "${venv}" tools/test_requirements.txt
make_venv build/agents-venv tools/agents_requirements.txt

if command -v nvcc >/dev/null && [[ "${preset}" != asan && "${preset}" != tsan ]]; then
  PATH="${PWD}/${venv}/bin:${PATH}" tools/fetch_cudnn_frontend.sh || true # It says what is lost.
fi

# Beside the build, which does not need them.
fill_venv() { # as make_venv
  [[ -f "$1/installed.txt" ]] && return
  echo "test: installing $2 into $1"
  if "$1/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$2"; then
    cp "$2" "$1/installed.txt"
  else
    rm -rf "$1"
    echo "test: pip could not install $(grep -v '^#' "$2" | paste -sd' ')." >&2
    echo "test: tests that need them will be SKIPPED; the next run tries again." >&2
  fi
}
fetch_clients_and_model() {
  fill_venv "${venv}" tools/test_requirements.txt
  fill_venv build/agents-venv tools/agents_requirements.txt
  if ! PATH="${PWD}/${venv}/bin:${PATH}" tools/fetch_smollm2.sh; then
    echo "test: tests of a real chat model will be SKIPPED; the next run tries again." >&2
  fi
}
fetch_clients_and_model &
readonly fetching=$!
trap 'kill "${fetching}" 2>/dev/null || true' EXIT

echo "test: building build/${preset}"
# AUTO: tools/serve.sh leaves CUDA out where there is no GPU; a change must compile.
cmake --preset "${preset}" -DTIDAL_BUILD_TESTS=ON -DTIDAL_CUDA=AUTO --log-level=WARNING
cmake --build "build/${preset}" -j "$(nproc)"
wait "${fetching}"

echo "test: running the tests"
exec ctest --preset "${preset}" -j2 "${ctest_arguments[@]}"
