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

# The official openai and gRPC clients, for the tests that talk to a running server. The stamp makes
# a second run cheap and a changed list of packages take effect.
readonly venv=build/test-venv requirements=tools/test_requirements.txt
if ! cmp -s "${requirements}" "${venv}/installed.txt"; then
  rm -rf "${venv}"
  python3 -m venv "${venv}"
fi

if command -v nvcc >/dev/null && [[ "${preset}" != asan && "${preset}" != tsan ]]; then
  PATH="${PWD}/${venv}/bin:${PATH}" tools/fetch_cudnn_frontend.sh || true # It says what is lost.
fi

# Beside the build, which does not need them.
fetch_clients_and_model() {
  if [[ ! -f "${venv}/installed.txt" ]]; then
    echo "test: installing the Python clients into ${venv}"
    if "${venv}/bin/pip" install --quiet --disable-pip-version-check --no-compile \
        -r "${requirements}"; then
      cp "${requirements}" "${venv}/installed.txt"
    else
      rm -rf "${venv}"
      echo "test: pip could not install $(grep -v '^#' "${requirements}" | paste -sd' ')." >&2
      echo "test: tests that need them will be SKIPPED; the next run tries again." >&2
    fi
  fi
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
