#!/usr/bin/env bash
# Builds what is not built yet and serves models/tidal-nano in the foreground:
# HTTP on 127.0.0.1:8000, gRPC on 127.0.0.1:50051. Ctrl-C or SIGTERM drains and ends it.
#
#   tools/serve.sh [flags of tidal-server ...]
#
# Further arguments go to tidal-server and win over the defaults here; --help explains them all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root build=${root}/build/release

"${root}/tools/install_dependencies.sh"
if command -v nvcc >/dev/null; then
  "${root}/tools/fetch_cudnn_frontend.sh" || true # It says what is lost.
fi
if [[ ! -f "${build}/build.ninja" ]]; then
  echo "serve: configuring build/release"
  (cd "${root}" && cmake --preset release -DTIDAL_BUILD_TESTS=OFF --log-level=WARNING)
fi
echo "serve: building tidal-server (the first time takes some minutes)"
cmake --build "${build}" --target tidal-server

# The address to try is the one the server will have: a later --http_port wins over the default.
host=127.0.0.1 port=8000 wait_for_ready=true
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  case "${arguments[i]}" in
    --http_port=* | -http_port=*) port=${arguments[i]#*=} ;;
    --http_port | -http_port) port=${arguments[i + 1]:-} ;;
    --host=* | -host=*) host=${arguments[i]#*=} ;;
    --host | -host) host=${arguments[i + 1]:-} ;;
    --help* | -help* | --version) wait_for_ready=false ;;
  esac
done
[[ "${host}" == 0.0.0.0 || "${host}" == "::" ]] && host=127.0.0.1

is_ready() { # Asks without curl, which a fresh machine may lack.
  local status
  exec 3<>"/dev/tcp/${host}/${port}" || return 1
  printf 'GET /health/ready HTTP/1.0\r\n\r\n' >&3
  read -r -t 2 status <&3 || status=
  exec 3>&-
  [[ "${status}" == *" 200 "* ]]
} 2>/dev/null

announce_when_ready() { # $1: the server's process id; ends with it.
  sleep 0.5 # A port in use ends the server at once; what answers there is not ours.
  while kill -0 "$1" 2>/dev/null; do
    if (is_ready); then
      printf '\nserve: ready. Paste into another terminal:\n\n'
      printf "  curl http://%s:%s/v1/completions -H 'Content-Type: application/json' \\\\\n" \
        "${host}" "${port}"
      printf "    -d '%s'\n\n" \
        '{"model": "tidal-nano", "prompt": "Once upon a time", "max_tokens": 48}'
      return
    fi
    sleep 0.2
  done
}

# exec keeps this process: signals and the exit code are the server's own. The watcher is a
# grandchild, so that the server is not left with a child to wait for.
if "${wait_for_ready}"; then
  (announce_when_ready $$ &)
fi
echo "serve: starting build/release/bin/tidal-server"
exec "${build}/bin/tidal-server" --model="${root}/models/tidal-nano" "$@"
