#!/usr/bin/env bash
# Builds what is not built yet and serves models/tidal-nano in the foreground:
# HTTP on 127.0.0.1:8000, gRPC on 127.0.0.1:50051. Ctrl-C or SIGTERM drains and ends it.
#
#   tools/serve.sh [flags of tidal-server ...]     for example --model=DIR
#
# Further arguments go to tidal-server and win over the defaults here; --help explains them all.
# CUDA is compiled where there is a GPU, and for that GPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root build=${root}/build/release

"${root}/tools/install_dependencies.sh"
"${root}/tools/fetch_xgrammar.sh"

# CMake's name of each GPU's architecture, separated by semicolons; fails where nvcc is missing or
# does not know one of them, or where there is no GPU.
gpu_architectures() {
  local capabilities capability known names=()
  capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u) &&
    [[ -n "${capabilities}" ]] || return
  if ! known=$(nvcc --list-gpu-arch 2>/dev/null); then
    echo "serve: there is a GPU, but no nvcc: building for the CPU (docs/cuda.md)" >&2
    return 1
  fi
  for capability in ${capabilities//./}; do
    if ((capability < 80)) || ! grep -qx "compute_${capability}" <<<"${known}"; then
      echo "serve: a GPU of compute capability ${capability} is below 8.0 or too new for this" \
        "nvcc: building for the CPU (docs/cuda.md)" >&2
      return 1
    fi
    # Hopper's own instructions are in sm_90a only.
    if ((capability == 90)); then names+=(90a-real); else names+=("${capability}-real"); fi
  done
  (IFS=';' && echo "${names[*]}")
}

configure() { (cd "${root}" && cmake --preset release --log-level=WARNING "$@"); }
has_cuda() { grep -q '^CMAKE_CUDA_COMPILER:' "${build}/CMakeCache.txt"; }
must_compile_cuda() { # Asked of a configuration that is up to date.
  cmake --build "${build}" --target build.ninja >/dev/null
  ninja -C "${build}" -n tidal-server | grep 'Building CUDA object' >/dev/null
}

cuda=(-DTIDAL_CUDA=OFF)
if architectures=$(gpu_architectures); then
  "${root}/tools/fetch_cudnn_frontend.sh" || true # It says what is lost.
  cuda=(-DTIDAL_CUDA=ON "-DTIDAL_CUDA_ARCHITECTURES=${architectures}")
fi
if [[ ! -f "${build}/build.ninja" ]]; then
  echo "serve: configuring build/release"
  configure -DTIDAL_BUILD_TESTS=OFF "${cuda[@]}"
elif [[ -n "${architectures}" ]]; then
  # What is there with CUDA, tools/test.sh's say, serves as well.
  if grep -q '^TIDAL_CUDA:STRING=OFF' "${build}/CMakeCache.txt"; then configure "${cuda[@]}"; fi
elif has_cuda && must_compile_cuda; then
  echo "serve: there is no GPU: configuring build/release without CUDA"
  configure "${cuda[@]}"
fi
echo "serve: building tidal-server (the first time takes some minutes)"
# ccache need not preprocess each file first: that costs a tenth where nothing is cached yet.
CCACHE_DEPEND=1 cmake --build "${build}" --target tidal-server

# The address to try is the one the server will have: a later --http_port wins over the default.
host=127.0.0.1 port=8000 wait_for_ready=true
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  name=${arguments[i]%%=*} value=${arguments[i + 1]:-}
  [[ "${arguments[i]}" == *=* ]] && value=${arguments[i]#*=}
  case "${name//-/_}" in
    __http_port | _http_port | __port) port=${value} ;;
    __host | _host) host=${value} ;;
    __help* | _help* | __version) wait_for_ready=false ;;
  esac
done
[[ "${host}" == 0.0.0.0 || "${host}" == "::" ]] && host=127.0.0.1

request() { # $1: method, $2: path, $3: body. Without curl, which a fresh machine may lack.
  exec 3<>"/dev/tcp/${host}/${port}" || return 1
  printf '%s %s HTTP/1.0\r\nHost: %s\r\n' "$1" "$2" "${host}" >&3
  printf 'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "${#3}" "$3" >&3
  timeout 2 cat <&3
  exec 3>&-
} 2>/dev/null

is_ok() { # The arguments of request.
  local reply
  reply=$(request "$@") && [[ "${reply%%$'\r'*}" == *" 200 "* ]]
}

announce_when_ready() { # $1: the server's process id; ends with it.
  sleep 0.5 # A port in use ends the server at once; what answers there is not ours.
  while kill -0 "$1" 2>/dev/null; do
    if is_ok GET /health/ready ""; then
      announce
      return
    fi
    sleep 0.2
  done
}

# A request that this model answers: it may be another than ours, and need not have chats.
announce() {
  local model path=/v1/completions prompt='"prompt": "Once upon a time"'
  local -r messages='"messages": [{"role": "user", "content": "What is the capital of France?"}]'
  model=$(request GET /v1/models "" | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1)
  if [[ "${model}" != tidal-nano ]] && is_ok POST /tokenize "{${messages}}"; then
    path=/v1/chat/completions prompt=${messages}
  fi
  printf '\nserve: ready. Paste into another terminal:\n\n'
  printf "  curl http://%s:%s%s -H 'Content-Type: application/json' \\\\\n" \
    "${host}" "${port}" "${path}"
  printf "    -d '%s'\n\n" "{\"model\": \"${model:-MODEL}\", ${prompt}, \"max_tokens\": 48}"
}

# exec keeps this process: signals and the exit code are the server's own. The watcher is a
# grandchild, so that the server is not left with a child to wait for.
if "${wait_for_ready}"; then
  (announce_when_ready $$ &)
fi
echo "serve: starting build/release/bin/tidal-server"
exec "${build}/bin/tidal-server" --model="${root}/models/tidal-nano" "$@"
