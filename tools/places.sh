#!/usr/bin/env bash
# The real places of the tests: a Docker Engine, an sshd, apart from those of the machine; the
# programs tmux, gh and a browser; and a Kubernetes, where it is named.
#
#   places.sh start  [PLACE...]      bring up what does not run: docker, ssh, tmux, gh, browser,
#                                    kubernetes; by default all but the last
#   places.sh status [PLACE...]      succeed where all of them run
#   places.sh stop                   end and remove all that `start` made
#   places.sh build kubernetes       build it, once; it is kept in the user's cache
#
# `.places` in the project leads to their folder; docker.env in it and so on say how to reach them.
# As root, what is missing is installed with apt. Without root, an engine that the user may use, and
# an sshd of the user's own, do as well.
set -euo pipefail
umask 022
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$tools")
link=$project/.places

fail() { # MESSAGE: one line, and what to do
    printf 'places: %s\n' "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

eventually() { # SECONDS COMMAND...: whether it succeeds in time; these daemons tell nobody that they are up
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

runs() { # PIDFILE PROGRAM: whether the process is there and is not another one
    [ -s "$1" ] && [ "$(cat "/proc/$(<"$1")/comm" 2>/dev/null)" = "$2" ]
}

end() { # PIDFILE PROGRAM: end a daemon and wait for its end
    if runs "$1" "$2"; then
        local pid
        pid=$(<"$1")
        kill "$pid"
        timeout 60 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
    fi
    rm -f "$1"
}

need() { # COMMAND PACKAGE: install it where it is missing
    command -v "$1" >/dev/null && return
    is_root && command -v apt-get >/dev/null ||
        fail "there is no $1; install it (on Debian and Ubuntu: apt-get install $2), or run as root"
    install_package "$2" >&2 || fail "apt-get could not install $2; see above"
    command -v "$1" >/dev/null || fail "$2 brought no $1; is /usr/sbin on PATH?"
}

install_package() {
    local apt=(apt-get -q -o DPkg::Lock::Timeout=300)
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" install -y --no-install-recommends "$1" ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$1"; }
}

make_folder() { # short, for the sockets in it; and everybody may enter it, as the far user must
    if [ ! -d "$link/" ]; then
        rm -f "$link"
        ln -s "$(mktemp -d /var/tmp/claude-mpm.XXXXXX)" "$link"
    fi
    places=$(readlink -f "$link")
    chmod 755 "$places"
    account=$(id -un)
    if is_root; then
        account=mpm-$(printf %s "${places##*.}" | tr '[:upper:]' '[:lower:]')
        # Its password is none that can be typed; a fresh account's would be a locked one.
        id "$account" >/dev/null 2>&1 || useradd --user-group --create-home \
            --home-dir "$places/home" --shell "$(command -v bash)" --password '*' "$account"
    fi
}

share_claude() { # where the far user and a container can read it
    [ ! -x "$places/claude" ] || return 0
    local python=$project/${VENV:-.venv}/bin/python found
    found=$("$python" -P -c 'from claude_mpm.claude_binary import find_claude; print(find_claude())') ||
        fail "there is no claude to run in the places; run: make venv"
    cp -L --reflink=auto "$found" "$places/.claude"
    chmod 755 "$places/.claude"
    mv "$places/.claude" "$places/claude"
}

. "$tools/places/docker.sh"
. "$tools/places/ssh.sh"
. "$tools/places/kubernetes.sh"
tmux_start() { need tmux tmux; }
tmux_status() { command -v tmux >/dev/null; }
gh_start() { need gh gh; }
gh_status() { command -v gh >/dev/null; }
browser_start() { need chromium chromium; }
browser_status() { command -v chromium >/dev/null; }

each() { # VERB PLACE...
    local verb=$1 place
    shift
    for place in "$@"; do "${place}_$verb" || return; done
}

verb=${1:-}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- docker ssh tmux gh browser
for place in "$@"; do
    case $place in
    docker | ssh | tmux | gh | browser | kubernetes) ;;
    *) fail "no place $place: docker, ssh, tmux, gh, browser or kubernetes" ;;
    esac
done
PATH=$PATH:/usr/sbin:/sbin
case $verb in
start)
    ! is_root || need useradd passwd
    exec 9>"$project/.places.lock"
    flock 9
    make_folder
    share_claude
    each start "$@"
    ;;
status)
    [ -d "$link/" ] || exit 1
    places=$(readlink -f "$link")
    each status "$@"
    ;;
stop)
    [ -d "$link/" ] || exit 0
    exec 9>"$project/.places.lock"
    flock 9
    make_folder
    kubernetes_stop
    ssh_stop
    docker_stop
    ! is_root || userdel "$account"
    rm -rf "$places"
    rm -f "$link" "$project/.places.lock"
    ;;
build) kubernetes_build ;;
*) fail "say start, status, stop or build; the head of this file tells more" ;;
esac
