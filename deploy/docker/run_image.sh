#!/usr/bin/env bash
# Runs the programs of an unpacked image as Kubernetes would: a root file system that nobody can
# write, no user that is known, and asks them for completions (ask_image.py). Must be root.
#
#   deploy/docker/run_image.sh ROOT
set -euo pipefail

if (($# != 1)) || ((EUID != 0)); then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if [[ "${TIDAL_OWN_MOUNTS:-}" != yes ]]; then # Mounts that nobody else sees, and that end with us.
  TIDAL_OWN_MOUNTS=yes exec unshare --mount --propagation private "$0" "$@"
fi
root=$(realpath "$1")
readonly root

mount --bind "${root}" "${root}"
mount -o remount,bind,ro "${root}"
mount -t proc proc "${root}/proc"
mount --bind /dev "${root}/dev"
python3 "$(dirname "${BASH_SOURCE[0]}")/ask_image.py" "${root}"
