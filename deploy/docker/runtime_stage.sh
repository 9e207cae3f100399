#!/usr/bin/env bash
# Lays out the whole root file system of the image: the two programs of a deployment, the shared
# libraries that they load, the C library, and nothing else: no shell and no package manager.
#
#   deploy/docker/runtime_stage.sh --install_dir=DIR --root=DIR [--cuda_dir=DIR] [--model=NAME]
#
#   --install_dir   what build_stage.sh made
#   --cuda_dir      where install_cuda.sh put CUDA; its libraries come along
#   --model         the model to include: tidal-nano (default), or none
set -euo pipefail

install_dir="" root="" cuda_dir="" model=tidal-nano
for argument in "$@"; do
  case "${argument}" in
    --install_dir=*) install_dir=${argument#*=} ;;
    --root=*) root=${argument#*=} ;;
    --cuda_dir=*) cuda_dir=${argument#*=} ;;
    --model=*) model=${argument#*=} ;;
    *)
      sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done
: "${install_dir:?runtime_stage: --install_dir is missing}"
: "${root:?runtime_stage: --root is missing}"
readonly install_dir root cuda_dir model
readonly home=${root}/tidalserve
readonly programs=(tidal-server tidal-gateway)

mkdir -p "${home}"/{bin,lib,models} "${root}"/{dev,etc,proc,sys,usr/lib,usr/lib64}
ln -s usr/lib usr/lib64 "${root}"
for program in "${programs[@]}"; do
  install -m 755 "${install_dir}/bin/${program}" "${home}/bin"
done
if [[ "${model}" != none ]]; then
  cp -r "${install_dir}/models/${model}" "${home}/models"
fi
if [[ -d "${install_dir}/share" ]]; then
  cp -r "${install_dir}/share" "${root}/usr"
fi

# Libraries from the installed folder and CUDA lie beside the programs, which look there first; the
# C library is where the loader expects it.
libraries_of() {
  LD_LIBRARY_PATH="${install_dir}/lib:${cuda_dir:+${cuda_dir}/lib}" ldd "$@" |
    sed -nE 's/.*=> (\/[^ ]+) .*/\1/p; s/^[[:space:]]*(\/[^ ]+) \(.*/\1/p; s/.*=> not found/&/p' |
    sort -u
}
copy_library() {
  case "$1" in
    *"not found"*)
      echo "runtime_stage: a library is missing:${1%%=>*}" >&2
      exit 1
      ;;
    "${install_dir}"/* | "${cuda_dir:-/none}"/*) install -m 755 "$1" "${home}/lib" ;;
    *) install -D -m 755 "$1" "${root}$1" ;;
  esac
}
libraries=$(libraries_of "${programs[@]/#/${install_dir}/bin/}")
while read -r library; do
  copy_library "${library}"
done <<<"${libraries}"

# What is loaded by name while the program runs: cuDNN, in parts, and the compiler that it uses.
if [[ -n "${cuda_dir}" ]]; then
  for library in "${cuda_dir}"/lib/libcudnn*.so.9 "${cuda_dir}"/lib/libnvrtc.so.* \
    "${cuda_dir}"/lib/libnvrtc-builtins.so.*; do
    copy_library "${library}"
  done
fi

# Names are looked up in files and by DNS; the user is nobody that the host knows.
cp /etc/debian_version /usr/lib/os-release "${root}/etc"
echo "hosts: files dns" >"${root}/etc/nsswitch.conf"
echo "tidalserve:x:65532:65532::/:/sbin/nologin" >"${root}/etc/passwd"
echo "tidalserve:x:65532:" >"${root}/etc/group"
