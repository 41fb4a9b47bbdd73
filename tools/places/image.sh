#!/usr/bin/env bash
# Lays a small Linux into a folder, from this machine's own programs: no download, 60 MB.
#
#   image.sh ROOT CLAUDE
#
# CLAUDE is not copied, but its libraries are: it is mounted when a container is started.
set -euo pipefail
root=$1 claude=$2
programs='
    sh bash dash git env id kill ps hostname setsid stty tar gzip xargs find grep sed awk
    [ arch base64 basename cat chgrp chmod chown cksum cp cut date dd df dirname du echo expr false
    head install link ln ls md5sum mkdir mkfifo mktemp mv nice nl nohup nproc od paste printenv
    printf pwd readlink realpath rm rmdir seq sha256sum sleep sort split stat sum sync tac tail tee
    test timeout touch tr true truncate tty uname uniq unlink wc whoami yes useradd groupadd
'

copy() { # FILE: to the same path, with what it links to
    mkdir -p "$root$(dirname "$1")"
    cp -Lu "$1" "$root$1"
}

libraries() { # PROGRAM...
    ldd "$@" 2>/dev/null | grep -Eo '/[^ :]+\.so[^ :]*' | sort -u
}

mkdir -p "$root"/{dev,etc,proc,root,run,sys,tmp,work,usr/{bin,sbin,lib,lib64,share,local/bin}}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
chmod 1777 "$root/tmp"

files=()
for name in $programs; do
    if ! file=$(PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin type -P "$name"); then
        echo "image: no program $name on this machine" >&2
        exit 1
    fi
    case $file in */sbin/*) into=sbin ;; *) into=bin ;; esac
    cp -L "$file" "$root/usr/$into/$name"
    files+=("$(readlink -f "$file")")
done
libraries "${files[@]}" "$claude" | while read -r library; do copy "$library"; done

printf '%s\n' root:x:0:0:root:/root:/bin/bash claude:x:1000:1000::/tmp:/bin/bash \
    nobody:x:65534:65534::/nonexistent:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: claude:x:1000: nogroup:x:65534: >"$root/etc/group"
for extra in /usr/share/git-core /usr/lib/locale/C.utf8 /etc/ssl/certs/ca-certificates.crt \
    /etc/login.defs; do
    [ ! -e "$extra" ] || { mkdir -p "$root$(dirname "$extra")" && cp -rL "$extra" "$root$extra"; }
done
