#!/bin/sh
# The far end of a link: does in a session's folder what the first line of standard input asks for.
#
#   far.sh SESSION
#
# Each answer but that of `follow` and `fetch` ends with the line `ok`, so that one that was cut
# short is told from a whole one; that of `fetch` begins with its length. Of standard input, no more
# is read than was announced: some connections cannot say that it has ended.
#
# What is in `exchange` was written by Claude's place, which may put a link or anything else there:
# it is opened only where it is what it was made as.
set -u
umask 077
session=$1
patience=60 # seconds without a word from the other end, after which it is taken for gone
cd "$session" || exit
exchange=$(pwd -P)/exchange

state() { # [READER]: what the folder says
    # Another machine that reads on is noted each time, so that it is known when it has gone.
    [ -z "$1" ] || { : >".reader-$1" && echo reader; }
    # It writes `exit` before it ends.
    [ -e exchange/exit ] || host_lives || [ -e exchange/exit ] || echo dead
    facts
    for file in .heard-*; do
        [ ! -f "$file" ] || echo "heard ${file#.heard-} $(cat "$file")"
    done
    echo ok
}

facts() { # [PIDS]: what the folder says of itself, without a look at the host
    pid=${1-$(note pid | tr -cd '0-9 ')}
    [ -z "$pid" ] || echo "pid $pid"
    ! is_made closed f || echo closed
    note place 4096 | sed 's/^/place /'
    [ ! -e exchange/exit ] || echo "exit $(note exit | tr -cd '0-9')"
    size=0
    ! reads 8 out.jsonl || size=$(wc -c <&8)
    echo "size $size"
}

look() { # BYTES: the state at a glance, the newest messages, and the end of the journal, indented
    pids=$(note pid | tr -cd '0-9 ')
    # Whose process ids are a container's own can be asked there alone.
    [ -e exchange/exit ] || { is_made feed p && { [ -e container ] || seems_alive "${pids%% *}"; }; } ||
        [ -e exchange/exit ] || echo dead
    facts "$pids"
    began=$(date -r given/host.sh +%s 2>/dev/null) && echo "began $began"
    newest=/dev/null before=/dev/null
    for file in given/inbox/*; do
        [ -f "$file" ] || continue # a FIFO there would never end
        case ${file##*/} in
        *[!0-9]*) ;;
        *) before=$newest newest=$file ;;
        esac
    done
    cat "$newest" "$before" 2>/dev/null | head -c 8192 | sed 's/^/message /' && echo
    ! reads 8 out.jsonl || { tail -c "$1" <&8 | head -c "$1" | sed 's/^/ /' && echo; }
}

seems_alive() { # PID: of the host; none where it is about to begin
    [ -z "$1" ] || kill -0 "$1" 2>/dev/null
}

leave() { # [READER]: removes the folder once all that read it have read it to its end
    if [ -n "$1" ]; then rm -f ".reader-$1"; else : >.left; fi
    # One that has said nothing for a day does not count.
    others=$(find . ! -name . -prune -name '.reader-*' -mtime -1)
    if [ -n "$others" ] || [ ! -e .left ]; then echo kept && echo ok && return; fi
    end_all 2>/dev/null # that it has ended may be the word of what runs on
    cd / && rm -rf "$session" && echo ok
    own=${session%/far/*}
    case $own in # a folder that was made for this session
    */claude-mpm.??????) rmdir "${session%/*}" "$own/far" "$own" ;;
    *) rmdir "${session%/*}" ;;
    esac 2>/dev/null
}

is_made() { # NAME TYPE: whether it is there, and is what it was made as: f a file, p a FIFO
    [ ! -L "exchange/$1" ] && [ "-$2" "exchange/$1" ]
}

is_that() { # DESCRIPTOR NAME: whether that was opened, and nothing that a link has led to
    [ ! -e /proc/self/fd ] || [ "$(readlink /proc/self/fd/0 <&"$1")" = "$exchange/$2" ]
}

reads() { # DESCRIPTOR NAME: opens a file for reading
    is_made "$2" f && eval "command exec $1<\"\$exchange/\$2\"" && is_that "$1" "$2"
}

joins() { # DESCRIPTOR NAME: opens a FIFO for reading and writing, which waits for nobody
    is_made "$2" p && eval "command exec $1<>\"\$exchange/\$2\"" && is_that "$1" "$2"
}

note() { # NAME [BYTES]: what is in a file that must be short
    ! reads 8 "$1" || head -c "${2:-64}" <&8
}

host_lives() { # whether the host holds its end of `alive`
    joins 6 alive || return 1
    exec 7<exchange/alive 6>&-
    { read -r _ <&7; } &
    reading=$!
    sleep 0.1
    kill "$reading" 2>/dev/null
}

put() { # NAME SIZE: a message for Claude, which follows on standard input
    joins 3 feed || exit
    if [ "$1" = EOF ]; then
        echo EOF >&3
    elif [ ! -f "given/inbox/$1.fed" ]; then
        head -c "$2" >"given/inbox/.$1-$$" # its own: an earlier try may be about to end
        [ "$(wc -c <"given/inbox/.$1-$$")" -eq "$2" ] || { rm -f "given/inbox/.$1-$$"; exit; }
        mv "given/inbox/.$1-$$" "given/inbox/$1"
        echo "$1" >&3
        : >"given/inbox/$1.fed"
    fi
    echo ok
}

follow() { # OFFSET NAME: the journal from there on, until the host or the other end is gone
    heard=.heard-$2 words=0
    joins 6 alive && reads 8 out.jsonl || return 0
    exec 7<exchange/alive 6>&-
    journal=$exchange/out.jsonl
    [ ! -e container ] || journal=/proc/$$/fd/8 # by its name, it may be another file by now
    often= # nothing wakes tail on a container's file system, where by itself it looks once a second
    ! tail -s 0.1 -c 1 /dev/null 2>/dev/null || often='-s 0.1'
    tail $often -c "+$(($1 + 1))" -f "$journal" &
    tailing=$!
    { read -r _ <&7; kill "$$" "$tailing"; } &
    listening=$!
    expect_word &
    expecting=$!
    trap 'kill "$tailing" "$listening" "$expecting" 2>/dev/null; exit' TERM
    trap 'rm -f "$heard"' EXIT
    while read -r word; do
        : >".beat-$$"
        words=$((words + 1))
        echo "$words" >"$heard"
        case $word in
        hold) joins 9 lease && echo held >&9 ;;
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
    pids=$(note pid | tr -cd '0-9 ')
    host=${pids%% *} claude=${pids##* }
    # Whatever the exchange says: which container it is, and what is in the environment, it cannot.
    if [ "$1" = KILL ] && [ -e container ]; then end_all; return 0; fi
    is_mine "$host" && is_mine "$claude" || return 0
    [ "$1" = KILL ] || { sh ./kill.sh "$1" "$host" || :; return; }
    sh ./kill.sh KILL "$claude" || :
    end_all
}

end_all() { # the container, or what has the session in its environment
    [ ! -e container ] || { sh ./kill.sh KILL 0; return; }
    left=$(grep -lzxF "CLAUDE_MPM_FOLDER=$session" /proc/[0-9]*/environ)
    for file in $left; do
        file=${file%/environ}
        kill -s KILL "${file##*/}" || :
    done
}

is_mine() { # PID: whether it is of this session; in a container, it can be nothing else
    [ -n "$1" ] || return
    [ ! -e container ] && [ -r "/proc/$1/environ" ] || return 0
    grep -qzxF "$session" "/proc/$1/cmdline" || grep -qzxF "CLAUDE_MPM_FOLDER=$session" "/proc/$1/environ"
}

fetch() { # NAME OFFSET: what a file holds from there on, behind a line that says how much that is
    size=0
    ! opens "$1" || size=$(($(wc -c <&8) - $2))
    [ "$size" -gt 0 ] || size=0
    echo "size $size"
    [ "$size" -eq 0 ] || { opens "$1" && tail -c "+$(($2 + 1))" <&8 | head -c "$size"; }
}

opens() { # NAME: opens what may be fetched
    case $1 in
    out.jsonl | err.log | host.log) reads 8 "$1" ;;
    records/*) config=$(cat config) && [ -n "$config" ] && is_record "$config/projects/${1#*/}" && exec 8<"$config/projects/${1#*/}" ;;
    *) return 1 ;;
    esac
}

is_record() { # FILE
    [ -f "$1" ] && [ ! -L "$1" ]
}

records() { # how long Claude's records of the conversation are, and their names
    config=$(cat config)
    [ -z "$config" ] || for file in "$config"/projects/*/*.jsonl "$config"/projects/*/*/subagents/*.jsonl; do
        ! is_record "$file" || echo "$(wc -c <"$file") ${file#"$config/projects/"}"
    done
    echo ok
}

read -r verb first second
case $verb in
state) state "$first" ;;
look) look "$first" ;;
put) put "$first" "$second" ;;
follow) follow "$first" "$second" ;;
fetch) fetch "$first" "$second" ;;
records) records ;;
signal) send "$first" 2>/dev/null && echo ok ;;
remove | leave) leave "$first" ;;
esac
