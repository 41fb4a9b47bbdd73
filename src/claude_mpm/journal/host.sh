#!/bin/sh
# The host: owns Claude's standard streams, so that Claude outlives whoever started it.
#
#   host.sh SESSION LINGER LIMIT COMMAND [ARG...]
#
# SESSION  the session's folder, with the FIFOs `feed` and `lease` in it
# LINGER   seconds to wait for the next follower once the last one is gone
# LIMIT    seconds that Claude then has to end by itself, before it is terminated
#
# It must lead a process group of its own: at the end it ends the group.
set -u
umask 077
session=$1 linger=$2 limit=$3
shift 3
exec 2>>"$session/host.log" 3<>"$session/feed"

put() { # NAME VALUE: written whole, then renamed into place
    printf '%s\n' "$2" >"$session/.$1" && mv "$session/.$1" "$session/$1"
}

feed() { # names of inbox files come in, their contents go out
    while read -r name <&3; do
        [ "$name" = EOF ] && break
        cat "$session/inbox/$name"
    done
}

alarm() { # says `expired` on the lease after LINGER seconds, unless it is terminated before
    nap=
    trap '[ -z "$nap" ] || kill "$nap"; exit' TERM
    sleep "$linger" &
    nap=$!
    wait "$nap"
    [ ! -p "$session/lease" ] || echo expired >"$session/lease"
}

watch() { # ends Claude's input once nobody has followed for LINGER seconds
    while [ -p "$session/lease" ]; do # without its folder, nobody can follow any more
        alarm &
        ringing=$!
        exec 4<"$session/lease"
        read -r holder <&4 || holder=
        [ "$holder" = expired ] && break
        kill "$ringing"
        while read -r holder <&4; do :; done
        exec 4<&-
    done
    put closed linger
    echo EOF >&3
    ends_within "$limit" || kill -TERM "$claude"
    ends_within 10 || kill -KILL "$claude"
}

ends_within() { # SECONDS: whether Claude, which is not this shell's child, ends in time
    left=${1%.*}
    while kill -0 "$claude" 2>/dev/null; do
        [ "${left:-0}" -gt 0 ] || return 1
        sleep 1
        left=$((left - 1))
    done
}

claude= asked=
trap 'asked=yes; [ -z "$claude" ] || kill -TERM "$claude"' TERM
# Not a pipeline: the shell would wait for both its ends, and `feed` ends last.
mkfifo "$session/stdin"
"$@" <"$session/stdin" >>"$session/out.jsonl" 2>>"$session/err.log" 3<&- &
claude=$!
feed >"$session/stdin" &
feeding=$!
put pid "$$ $claude"
[ -z "$asked" ] || kill -TERM "$claude"
watch &
watching=$!
wait "$claude"
status=$?
while kill -0 "$claude" 2>/dev/null; do
    wait "$claude"
    status=$?
done
cd "$session" && rm -f stdin pid feed lease closed
put exit "$status"
# A shell that was just forked can miss the first signal it is sent, but not this one.
kill -KILL "$feeding" "$watching" 2>/dev/null
trap '' TERM
kill -TERM 0
wait
exit "$status" # for whoever waits, should the disk be full
