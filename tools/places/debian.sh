#!/usr/bin/env bash
# An image of Debian 12 with python3, python3-venv, git and make, and nothing else: debian.sh NAME
#
# It is made in the engine of DOCKER_HOST: by debootstrap where that is at hand or can be installed
# (as root on Debian and its relatives), else from the image debian:12 of the engine's registry.
set -euo pipefail
name=$1
packages="python3 python3-venv git make"

fail() { # MESSAGE: one line, and what to do
    printf 'debian: %s\n' "$*" >&2
    exit 1
}

has_debootstrap() {
    [ "$(id -u)" = 0 ] || return 1
    command -v debootstrap >/dev/null && return
    command -v apt-get >/dev/null || return 1
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends debootstrap >&2 ||
        { apt-get -q update >&2 && apt-get -q install -y --no-install-recommends debootstrap >&2; }
}

by_debootstrap() {
    local root status=0
    root=$(mktemp -d /var/tmp/debian.XXXXXX)
    debootstrap --variant=minbase --include="ca-certificates ${packages}" bookworm "$root" >&2 || status=1
    [ "$status" != 0 ] ||
        tar -C "$root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude='./dev/*' -c . |
        docker import -c 'CMD ["bash"]' - "$name" >/dev/null || status=1
    rm -rf "$root"
    return "$status"
}

from_registry() {
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$name" - >/dev/null <<DOCKERFILE
FROM debian:12
RUN apt-get update && apt-get install -y --no-install-recommends $packages
DOCKERFILE
}

! docker image inspect "$name" >/dev/null 2>&1 || exit 0
if has_debootstrap; then
    by_debootstrap || fail "debootstrap could not make Debian 12; see above, and try it again"
else
    from_registry || fail "there is no debootstrap, and debian:12 cannot be fetched; run as root, or docker pull debian:12"
fi
