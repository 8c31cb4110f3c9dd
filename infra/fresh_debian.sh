#!/bin/bash
# The first half hour, as a newcomer has it: a bare Debian 12, a clone, and the lines of README.md's first sections, each
# timed. Needs root, debootstrap, 12 GB below FOLDER, and the network; leaves nothing else behind.
#
#     infra/fresh_debian.sh FOLDER [PATH...]
#
# The new Debian takes packages from where this machine does (apt's and pip's settings are copied); PATHs are folders that
# those settings name, and are mounted there read-only. MAKE_ARGUMENTS goes to `make demo` (TORCH_INDEX=...).
set -euo pipefail

folder=$(realpath -m "$1")
shift
clone=$(cd "$(dirname "$0")/.." && pwd)
root=$folder/debian
mounts=()

main() {
  trap unmount EXIT
  mkdir -p "$folder"
  debootstrap --variant=minbase --include=ca-certificates,git bookworm "$root" "${MIRROR:-$(mirror)}" \
    >"$folder/debootstrap.log"
  copy_settings "$@"
  mount_all "$@"
  git clone --quiet "$clone" "$root/root/upfusion"
  step "apt install make python3-venv" \
    "apt-get update -qq && apt-get install -qq -y --no-install-recommends make python3-venv >/dev/null"
  step "make demo" "make demo ${MAKE_ARGUMENTS:-}"
  # What a newcomer has of their own: two images, and two folders.
  inside "mkdir -p /root/mine && cp -r demo/archive/* /root/mine/ && cd /root/mine && ls && ls visible | head -1"
  local name
  name=$(inside "ls /root/mine/visible | head -1")
  step "upfusion --help" "$active && upfusion --help >/dev/null"
  step "two images" "$active && cd /root/mine && upfusion fuse visible/$name infrared/$name -o fused.png && ls -l fused.png"
  step "upfusion pairs" "$active && upfusion pairs /root/mine"
  step "two folders" "$active && cd /root/mine && upfusion fuse visible/ infrared/ -o /root/fused"
  step "measure one pair" "$active && cd /root/mine && upfusion measure visible/$name infrared/$name fused.png"
  step "measure the job's output" "$active && cd /root/mine && upfusion measure visible/ infrared/ /root/fused/images"
  echo "all of it: $SECONDS s"
}

active=". /root/upfusion/.venv/bin/activate"

mirror() {
  awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { print $(NF - 2); exit }' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null
}

copy_settings() {
  local path
  for path in /etc/pip.conf /etc/xdg/pip /root/.config/pip /etc/apt/sources.list /etc/apt/sources.list.d \
    /etc/apt/apt.conf.d /etc/ssl/certs /etc/resolv.conf /etc/hosts; do
    [ -e "$path" ] || continue
    mkdir -p "$root$(dirname "$path")"
    cp -rLf "$path" "$root$(dirname "$path")/" 2>/dev/null || true
  done
  for path in "$@"; do mkdir -p "$root$path"; done
}

mount_all() {
  local path
  mount -t proc proc "$root/proc" && mounts+=("$root/proc")
  mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev" && mounts+=("$root/dev")
  for path in "$@"; do
    mount --bind -o ro "$path" "$root$path" && mounts+=("$root$path")
  done
}

unmount() {
  local at
  for at in "${mounts[@]}"; do umount --recursive --lazy "$at"; done
}

# inside COMMAND: run it in the new Debian, in the clone, as root with a bare environment but for pip's settings.
inside() {
  local settings=()
  mapfile -t settings < <(env | grep -E '^(PIP_|https?_proxy|no_proxy|SSL_CERT_FILE)' || true)
  chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${settings[@]}" \
    bash -euc "cd /root/upfusion && $1"
}

step() {
  local began=$SECONDS
  echo "== $1"
  inside "$2"
  echo "== $1: $((SECONDS - began)) s"
}

main "$@"
