#!/bin/sh
# The far end of a link: does in a session's folder what the first line of standard input asks for.
#
#   far.sh SESSION
#
# Each answer but that of `follow` and `fetch` ends with the line `ok`, so that one that was cut
# short is told from a whole one.
set -u
umask 077
session=$1
patience=60 # seconds without a word from the other end, after which it is taken for gone
cd "$session" || exit

state() { # what the folder says
    [ ! -f pid ] || echo "pid $(cat pid)"
    [ ! -f closed ] || echo closed
    [ ! -f place ] || sed 's/^/place /' place
    # It writes `exit` before it ends.
    [ -f exit ] || host_lives || [ -f exit ] || echo dead
    [ ! -f exit ] || echo "exit $(cat exit)"
    echo "size $(wc -c <out.jsonl)"
    echo ok
}

host_lives() { # whether the host holds its end of `alive`
    [ -p alive ] || return 1
    exec 6<>alive 7<alive 6>&-
    { read -r _ <&7; } &
    reading=$!
    sleep 0.1
    kill "$reading" 2>/dev/null
}

put() { # NAME SIZE: a message for Claude, which follows on standard input
    exec 3<>feed # so that opening waits for nobody
    if [ "$1" = EOF ]; then
        echo EOF >&3
    elif [ ! -f "inbox/$1.fed" ]; then
        cat >"inbox/.$1"
        [ "$(wc -c <"inbox/.$1")" -eq "$2" ] || exit
        mv "inbox/.$1" "inbox/$1"
        echo "$1" >&3
        : >"inbox/$1.fed"
    fi
    echo ok
}

follow() { # OFFSET: the journal from there on, until the host or the other end is gone
    [ -p alive ] || return 0
    exec 6<>alive 7<alive 6>&-
    often= # nothing wakes tail on a container's file system, where by itself it looks once a second
    ! tail -s 0.1 -c 1 /dev/null 2>/dev/null || often='-s 0.1'
    tail $often -c "+$(($1 + 1))" -f out.jsonl &
    tailing=$!
    { read -r _ <&7; kill "$$" "$tailing"; } &
    listening=$!
    expect_word &
    expecting=$!
    trap 'kill "$tailing" "$listening" "$expecting" 2>/dev/null; exit' TERM
    while read -r word; do
        : >".beat-$$"
        case $word in
        hold) exec 9<>lease && echo held >&9 ;;
        release) exec 9>&- ;;
        esac
    done
    kill "$$"
}

expect_word() { # ends `follow` when the other end has been silent for too long
    nap=
    trap 'rm -f ".beat-$$"; [ -z "$nap" ] || kill "$nap"; exit' TERM
    : >".beat-$$"
    while [ -f ".beat-$$" ]; do
        rm -f ".beat-$$"
        sleep "$patience" &
        nap=$!
        wait "$nap"
    done
    kill "$$" "$tailing"
}

send() { # SIGNAL: to the host; KILL to Claude and to all that a host cannot end any more
    read -r host claude <pid || return 0
    [ "$1" = KILL ] || { sh ./kill.sh "$1" "$host" || :; return; }
    sh ./kill.sh KILL "$claude" || :
    left=$(grep -lzxF "CLAUDE_MPM_FOLDER=$session" /proc/[0-9]*/environ)
    for file in $left; do
        file=${file%/environ}
        kill -s KILL "${file##*/}" || :
    done
}

read -r verb first second
case $verb in
state) state ;;
put) put "$first" "$second" ;;
follow) follow "$first" ;;
fetch) [ ! -f "$first" ] || tail -c "+$((second + 1))" "$first" ;;
signal) send "$first" 2>/dev/null && echo ok ;;
remove)
    cd / && rm -rf "$session" && echo ok
    own=${session%/far/*}
    case $own in # a folder that was made for this session
    */claude-mpm.??????) rmdir "${session%/*}" "$own/far" "$own" ;;
    *) rmdir "${session%/*}" ;;
    esac 2>/dev/null
    ;;
esac
