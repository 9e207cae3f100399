#!/usr/bin/env bash
# Proves the Dockerfile's stages without a container engine: runs them in a clean Debian 12, starts
# the image they make as Kubernetes would (no root, nothing writable), asks server and gateway for a
# completion, ends them by SIGTERM, and prints sizes. Must be root, and needs debootstrap.
#
#   deploy/docker/prove_in_chroot.sh [--variant=cpu|cuda] [--install_dir=DIR] [--work_dir=DIR]
#
#   --install_dir   what `cmake --install` made: saves the build, which takes many minutes
#   --work_dir      where to work, and to leave the root file systems; default: one that goes
#
# The CUDA variant starts with --device=cpu where there is no GPU.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
variant=cpu install_dir="" work_dir=""
for argument in "$@"; do
  case "${argument}" in
    --variant=cpu | --variant=cuda) variant=${argument#*=} ;;
    --install_dir=*) install_dir=$(realpath "${argument#*=}") ;;
    --work_dir=*) work_dir=$(realpath -m "${argument#*=}") ;;
    *)
      sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done
if ((EUID != 0)) || ! command -v debootstrap >/dev/null; then
  echo "prove_in_chroot: needs root and debootstrap (apt-get install debootstrap)" >&2
  exit 1
fi
if [[ "${TIDAL_OWN_MOUNTS:-}" != yes ]]; then # Mounts that nobody else sees, and that end with us.
  TIDAL_OWN_MOUNTS=yes exec unshare --mount --propagation private "$0" "$@"
fi
if [[ -z "${work_dir}" ]]; then
  work_dir=$(mktemp -d)
  trap 'umount -R "${work_dir}" 2>/dev/null || true; rm -rf "${work_dir}"' EXIT
fi
readonly source_dir variant install_dir work_dir
readonly stage=${work_dir}/stage image=${work_dir}/image
mkdir -p "${work_dir}"

say() { echo "prove_in_chroot: $*"; }

# The build's stage: Debian as small as it comes, with this machine's package source.
if [[ ! -f "${stage}/etc/debian_version" ]]; then
  say "debootstrap"
  # shellcheck disable=SC2016 # apt-get itself fills in $(REPO_URI).
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
  debootstrap --variant=minbase bookworm "${stage}" "${mirror}" >"${work_dir}/debootstrap.log"
fi
mount -t proc proc "${stage}/proc"
mount --bind /dev "${stage}/dev"
# How this machine reaches package sources, and nothing else of it.
cp /etc/resolv.conf "${stage}/etc"
cp /etc/ssl/certs/ca-certificates.crt "${stage}/etc/machine-certificates.crt"
in_stage() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT=/etc/machine-certificates.crt \
    chroot "${stage}" "$@"
}

rm -rf "${stage}"/{source,image}
mkdir -p "${stage}/source"
# The same files that Dockerfile.dockerignore lets through.
sed -n 's/^!//p' "${source_dir}/deploy/docker/Dockerfile.dockerignore" |
  tar -C "${source_dir}" --exclude=__pycache__ -c -T - | tar -C "${stage}/source" -x
cuda=()
if [[ "${variant}" == cuda ]]; then
  cuda=(--cuda_dir=/usr/local/cuda)
fi
if [[ -n "${install_dir}" ]]; then
  say "takes ${install_dir} for the build stage's result"
  rm -rf "${stage}/install"
  cp -r "${install_dir}" "${stage}/install"
  if [[ "${variant}" == cuda && ! -d "${stage}/usr/local/cuda" ]]; then
    in_stage /source/deploy/docker/install_cuda.sh
  fi
else
  say "build stage"
  time in_stage /source/deploy/docker/build_stage.sh --install_dir=/install \
    "--variant=${variant}"
fi
say "runtime stage"
in_stage /source/deploy/docker/runtime_stage.sh --install_dir=/install --root=/image \
  "${cuda[@]}"
rm -rf "${image}"
mv "${stage}/image" "${image}"

megabytes() { find "$@" -type f -printf '%s\n' | awk '{sum += $1} END {printf "%.1f", sum / 1e6}'; }
installed=$(megabytes "${image}"/tidalserve/{bin,lib})
say "programs and shared libraries: ${installed} MB"
say "C library and licences: $(megabytes "${image}/usr") MB"
say "models: $(megabytes "${image}/tidalserve/models") MB"
say "whole root file system: $(megabytes "${image}") MB"
compressed=$(tar -C "${image}" -c . | gzip | wc -c | awk '{printf "%.1f", $1 / 1e6}')
say "compressed (gzip): ${compressed} MB"
if [[ "${variant}" == cpu ]] && ((${installed%.*} >= 150)); then
  say "programs and shared libraries must stay under 150 MB" >&2
  exit 1
fi

exec "${source_dir}/deploy/docker/run_image.sh" "${image}"
