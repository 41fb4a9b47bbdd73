#!/bin/sh
# The host: it owns Claude's standard streams, so that Claude outlives the program that started it.
#
#   host.sh SESSION LINGER LIMIT COMMAND [ARG...]
#
# SESSION  the session's folder
# LINGER   seconds to wait for the next follower once the last one is gone
# LIMIT    seconds that Claude then has to end on its own, before it is terminated
#
# Files in SESSION/given, which are only read:
#   inbox/     messages for Claude
#   patience   seconds to wait for the first follower, if not LINGER
#   expected   lines that the statement of where this runs must contain
#   made       only where the controller runs in the same place, as the same user, and has made
#              `stdin`, `alive`, `place` and the folder of temporary files: the path of that folder,
#              then the id of the container that they are in, if any
# Files in SESSION/exchange:
#   feed       FIFO, read: names of messages in the inbox, or EOF
#   lease      FIFO, read: open for writing in every follower
#   environ    read and removed: variables for Claude, in the shell's syntax
#   stdin      FIFO: Claude's standard input, written by `feed`
#   alive      FIFO, held open: its readers notice when the host has ended
#   out.jsonl, err.log, host.log   standard output and error of Claude, standard error of the host
#   pid, place, temporary, closed, exit   process ids; where this runs; the folder of temporary
#              files; that nobody followed; the exit status, written last
# File descriptors: 3 `feed`; 4 and 6 `lease`, in `watch` and `alarm`; 5 `alive`.
#
# It must lead a process group of its own, which it ends at the end.
set -u
mask=$(umask) # the caller's, for Claude; the host's own files are private
umask 077
session=$1 linger=$2 limit=$3
shift 3
given=$session/given exchange=$session/exchange
[ -d "$exchange" ] || given=$session exchange=$session # the layout of an earlier release
exec 2>>"$exchange/host.log" 3<>"$exchange/feed"

send() { # SIGNAL PID: signals a process; one that has ended is not reported as an error
    kill -s "$1" "$2" 2>/dev/null
}

put_new() { # NAME VALUE: writes a file where there is nothing of that name; needs no command
    [ ! -e "$exchange/$1" ] || return
    set -C # so that no link is followed, either
    printf '%s\n' "$2" >"$exchange/$1"
    written=$?
    set +C
    return "$written"
}

put() { # NAME VALUE: writes a file atomically; a link or a folder of that name is not followed
    [ ! -L "$exchange/.$1" ] || rm -f "$exchange/.$1"
    [ ! -d "$exchange/$1" ] || rm -rf "$exchange/$1"
    printf '%s\n' "$2" >"$exchange/.$1" && mv "$exchange/.$1" "$exchange/$1"
}

state_place() { # writes the statement of where this runs, as seen from the inside
    mounts=/proc/self/mountinfo
    id='\([0-9a-f]\{64\}\)/.*hostname .*' # of a container, or of the sandbox that a pod is
    container=$(sed -n "s,.*containers/$id,\1,p;s,.*sandboxes/$id,\1,p" $mounts 2>/dev/null)
    read -r host 2>/dev/null </proc/sys/kernel/hostname || host=$(uname -n)
    place="host=$host
container=${container%%[!0-9a-f]*}
user=$(id -un 2>/dev/null)
uid=$(id -u)
cwd=$PWD"
    put place "$place"
}

is_expected() { # whether the statement contains all expected lines
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

feed() { # reads names of messages, and writes their contents to Claude
    exec 5>&- # here, since a shell keeps a copy of a descriptor that is redirected for a function
    fed=' '
    while read -r name <&3; do
        [ "$name" = EOF ] && break
        case $fed in *" $name "*) continue ;; esac # a cut link says it again
        fed="$fed$name "
        cat "$given/inbox/$name"
    done
}

alarm() { # writes `expired` to the lease after `patience` seconds, unless it is terminated before
    exec 2>/dev/null # a shell reports by which signal its children ended
    nap=
    trap '[ -z "$nap" ] || send TERM "$nap"; exit' TERM
    [ -p "$exchange/lease" ] || exit # it may have been replaced since `watch` looked
    command exec 6<>"$exchange/lease" || exit # held open, in case the folder is removed
    echo armed >&6 # from here on SIGTERM is handled
    sleep "$patience" 6>&- &
    nap=$!
    wait "$nap"
    echo expired >&6
}

watch() { # ends Claude's input once nobody has followed for LINGER seconds
    exec 5>&-
    patience=$linger
    [ ! -f "$given/patience" ] || read -r patience <"$given/patience"
    while [ -p "$exchange/lease" ]; do # without the folder, nobody can follow any more
        alarm &
        ringing=$!
        [ -p "$exchange/lease" ] || break
        command exec 4<"$exchange/lease" || break
        armed= holder=
        while [ -z "$armed" ] || [ -z "$holder" ]; do
            read -r word <&4 || kill -0 "$ringing" 2>/dev/null || break 2
            [ "$word" = armed ] && armed=yes || holder=$word
        done
        if [ "$holder" = expired ]; then
            is_asked || break
            sleep 1 # in case LINGER is 0
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

is_asked() { # whether Claude waits for an answer; the end of its input would be a denial
    [ ! -L "$exchange/out.jsonl" ] || return # Claude may have put it there
    grep -ao '^{"type":"system","subtype":"session_state_changed","state":"[a-z_]*' \
        "$exchange/out.jsonl" | tail -n 1 | grep -q requires_action
}

ends_within() { # SECONDS: waits for the end of Claude, which is not a child of this subshell
    left=${1%.*}
    while kill -0 "$claude" 2>/dev/null; do
        [ "${left:-0}" -gt 0 ] || return 1
        sleep 1
        left=$((left - 1))
    done
}

make_temporary() { # the folder of Claude's temporary files; its path is short, for sockets in it
    base=${CLAUDE_CODE_TMPDIR:-${TMPDIR:-/tmp}}
    [ -d "$base" ] || mkdir -p "$base"
    temporary=$(mktemp -d "$base/mpm.XXXXXX") || return
    printf '%s\n' "$temporary" >"$exchange/temporary" # not atomic: while empty, it is ignored
}

prepare() { # makes what this needs, where the controller has not; fails in a wrong place
    if [ -f "$given/made" ]; then
        { IFS= read -r temporary && read -r container; } <"$given/made"
        exec 5<>"$exchange/alive"
    else
        mkfifo "$exchange/stdin" "$exchange/alive"
        exec 5<>"$exchange/alive" # its readers notice when this shell has ended
        state_place
        is_expected || return
        [ ! -f "$exchange/environ" ] || { . "$exchange/environ" && rm -f "$exchange/environ"; }
        make_temporary
    fi
    [ -z "$temporary" ] || export CLAUDE_CODE_TMPDIR="$temporary"
}

run() { # COMMAND [ARG...]: runs Claude, from its start to its end; sets `status`
    # Not a pipeline: the shell would wait for both of its processes, and `feed` ends last.
    (
        umask "$mask"
        export CLAUDE_MPM_SESSION="${session##*/}" CLAUDE_MPM_FOLDER="$session"
        exec "$@"
    ) <"$exchange/stdin" >>"$exchange/out.jsonl" 2>>"$exchange/err.log" 3<&- 5>&- &
    claude=$!
    feed >"$exchange/stdin" &
    feeding=$!
    # Not atomic, as a process would be needed for that: while it is empty, it is ignored.
    put_new pid "$$ $claude" 2>/dev/null || put pid "$$ $claude"
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
    # A shell that was just forked can miss SIGTERM, but not this signal.
    send KILL "$feeding"
    send KILL "$watching"
}

ran_out_of_memory() { # whether the kernel's OOM killer has killed a process of this container
    grep -qs '^oom_kill [1-9]' /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control
}

sweep() { # ends the processes of Claude's tools, in whatever process group they are
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

clean_up() { # removes the host's files; Claude's temporary ones before the file with their path
    set --
    for name in stdin alive pid feed lease closed environ temporary; do
        set -- "$@" "$exchange/$name"
    done
    rm -rf ${temporary:+"$temporary"} "$@"
}

claude= asked= container= temporary= status=126
trap 'asked=yes; [ -z "$claude" ] || send TERM "$claude"' TERM
if prepare; then
    run "$@"
    sweep
fi
clean_up
put exit "$status"
trap '' TERM
kill -TERM 0
wait
exit "$status" # also if the disk was full, and `exit` could not be written
