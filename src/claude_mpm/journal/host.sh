#!/bin/sh
# The host: owns Claude's standard streams, so that Claude outlives whoever started it.
#
#   host.sh SESSION LINGER LIMIT COMMAND [ARG...]
#
# SESSION  the session's folder. `given` in it is only read:
#          `inbox`: the messages
#          `patience`: seconds to wait for the first follower, where that is not LINGER
#          `expected`: lines that must be in the statement of where this runs
#          `exchange` has what is written here, the FIFOs `feed` and `lease`, and
#          `environ`: variables for Claude in the shell's syntax, removed once they are read
# LINGER   seconds to wait for the next follower once the last one is gone
# LIMIT    seconds that Claude then has to end by itself, before it is terminated
#
# It must lead a process group of its own: at the end it ends the group.
set -u
mask=$(umask) # of whoever started this, for Claude; what is made here is for nobody else
umask 077
session=$1 linger=$2 limit=$3
shift 3
given=$session/given exchange=$session/exchange
[ -d "$exchange" ] || given=$session exchange=$session # an earlier release made it
exec 2>>"$exchange/host.log" 3<>"$exchange/feed"

send() { # SIGNAL PID: what is gone already is no error, which would be told as the reason of an end
    kill -s "$1" "$2" 2>/dev/null
}

put() { # NAME VALUE: written whole, then renamed into place, and not into what is in its place
    [ ! -L "$exchange/.$1" ] || rm -f "$exchange/.$1"
    [ ! -d "$exchange/$1" ] || rm -rf "$exchange/$1"
    printf '%s\n' "$2" >"$exchange/.$1" && mv "$exchange/.$1" "$exchange/$1"
}

state_place() { # says from the inside where this is
    mounts=/proc/self/mountinfo
    container=$(sed -n 's,.*containers/\([0-9a-f]\{64\}\)/.*hostname .*,\1,p;' $mounts 2>/dev/null)
    read -r host 2>/dev/null </proc/sys/kernel/hostname || host=$(uname -n)
    place="host=$host
container=${container%%[!0-9a-f]*}
user=$(id -un 2>/dev/null)
uid=$(id -u)
cwd=$PWD"
    put place "$place"
}

is_expected() { # whether this is the place that was asked for
    [ -f "$given/expected" ] || return 0
    while read -r line; do
        case "
$place
" in
        *"
$line
"*) ;;
        *)
            echo "this is not the place that was asked for: not $line, but" $place >&2
            return 1
            ;;
        esac
    done <"$given/expected"
}

feed() { # names of inbox files come in, their contents go out
    exec 5>&- # here, since a shell keeps a copy of what is redirected for a function
    while read -r name <&3; do
        [ "$name" = EOF ] && break
        cat "$given/inbox/$name"
    done
}

alarm() { # says `expired` on the lease after `patience` seconds, unless it is terminated before
    exec 2>/dev/null # a shell says of what it waits for by which signal it ended
    nap=
    trap '[ -z "$nap" ] || send TERM "$nap"; exit' TERM
    command exec 6<>"$exchange/lease" || exit # held, so that it is heard though the folder is gone
    echo armed >&6 # from here on it hears when it is terminated
    sleep "$patience" 6>&- &
    nap=$!
    wait "$nap"
    echo expired >&6
}

watch() { # ends Claude's input once nobody has followed for LINGER seconds
    exec 5>&-
    patience=$linger
    [ ! -f "$given/patience" ] || read -r patience <"$given/patience"
    while [ -p "$exchange/lease" ]; do # without its folder, nobody can follow any more
        alarm &
        ringing=$!
        command exec 4<"$exchange/lease" || break
        armed= holder=
        while [ -z "$armed" ] || [ -z "$holder" ]; do
            read -r word <&4 || kill -0 "$ringing" 2>/dev/null || break 2
            [ "$word" = armed ] && armed=yes || holder=$word
        done
        if [ "$holder" = expired ]; then
            is_asked || break
            sleep 1 # where LINGER is 0
            continue
        fi
        send TERM "$ringing"
        patience=$linger
        while read -r holder <&4; do :; done
        exec 4<&-
    done
    put closed linger
    echo EOF >&3
    ends_within "$limit" || send TERM "$claude"
    ends_within 10 || send KILL "$claude"
}

is_asked() { # whether Claude waits for the answer to a question; it would count the end as a no
    grep -ao '^{"type":"system","subtype":"session_state_changed","state":"[a-z_]*' \
        "$exchange/out.jsonl" | tail -n 1 | grep -q requires_action
}

ends_within() { # SECONDS: whether Claude, which is not this shell's child, ends in time
    left=${1%.*}
    while kill -0 "$claude" 2>/dev/null; do
        [ "${left:-0}" -gt 0 ] || return 1
        sleep 1
        left=$((left - 1))
    done
}

make_temporary() { # Claude's temporary files go with it; the path is short: sockets are in there
    base=${CLAUDE_CODE_TMPDIR:-${TMPDIR:-/tmp}}
    [ -d "$base" ] || mkdir -p "$base"
    temporary=$(mktemp -d "$base/mpm.XXXXXX") || return
    printf '%s\n' "$temporary" >"$exchange/temporary" # while it is empty, it names nothing
    export CLAUDE_CODE_TMPDIR="$temporary"
}

run() { # COMMAND [ARG...]: Claude, from its start to its end; sets `status`
    # Not a pipeline: the shell would wait for both its ends, and `feed` ends last.
    (
        umask "$mask"
        export CLAUDE_MPM_SESSION="${session##*/}" CLAUDE_MPM_FOLDER="$session"
        exec "$@"
    ) <"$exchange/stdin" >>"$exchange/out.jsonl" 2>>"$exchange/err.log" 3<&- 5>&- &
    claude=$!
    feed >"$exchange/stdin" &
    feeding=$!
    put pid "$$ $claude"
    [ -z "$asked" ] || send TERM "$claude"
    watch &
    watching=$!
    wait "$claude"
    status=$?
    while kill -0 "$claude" 2>/dev/null; do
        wait "$claude"
        status=$?
    done
    [ "$status" != 137 ] || [ -z "$container" ] || ! ran_out_of_memory ||
        echo "the container ran out of memory; give it more" >>"$exchange/err.log"
    # A shell that was just forked can miss the first signal it is sent, but not this one.
    send KILL "$feeding"
    send KILL "$watching"
}

ran_out_of_memory() { # whether the kernel has killed something of this container for that
    grep -qs '^oom_kill [1-9]' /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control
}

sweep() { # ends the processes of Claude's tools, wherever they went
    for round in TERM 0 0 0 0 0 0 0 0 0 KILL KILL KILL; do
        left=$(grep -lzxF "CLAUDE_MPM_FOLDER=$session" /proc/[0-9]*/environ 2>/dev/null)
        [ -n "$left" ] || return
        for file in $left; do # /proc/PID/environ
            file=${file%/environ}
            [ "$round" = 0 ] || send "$round" "${file##*/}"
        done
        sleep 0.1
    done
}

clean_up() { # its own files, and Claude's temporary ones before the note of where they are
    set --
    for name in stdin alive pid feed lease closed environ temporary; do
        set -- "$@" "$exchange/$name"
    done
    rm -rf ${temporary:+"$temporary"} "$@"
}

claude= asked= temporary= status=126
trap 'asked=yes; [ -z "$claude" ] || send TERM "$claude"' TERM
mkfifo "$exchange/stdin" "$exchange/alive"
exec 5<>"$exchange/alive" # whoever reads it hears when this shell has ended
state_place
if is_expected; then
    [ ! -f "$exchange/environ" ] || { . "$exchange/environ" && rm -f "$exchange/environ"; }
    make_temporary
    run "$@"
    sweep
fi
clean_up
put exit "$status"
trap '' TERM
kill -TERM 0
wait
exit "$status" # for whoever waits, should the disk be full
