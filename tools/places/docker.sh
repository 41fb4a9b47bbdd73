# A Docker Engine of the tests' own, or the user's where there is no root; and an image for it.
image=claude-mpm-test

docker_start() {
    if is_root; then
        need docker docker.io
        need dockerd docker.io
        need ip iproute2
        export DOCKER_HOST=unix://$places/docker.sock
        runs "$places/docker.pid" dockerd || start_engine
    else
        need docker docker.io
        docker info >/dev/null 2>&1 ||
            fail "no Docker Engine that $account may use; start one, or run as root: $(docker info 2>&1 | tail -n 1)"
    fi
    docker image inspect "$image" >/dev/null 2>&1 || make_image
    printf '%s\n' "DOCKER_HOST=$(engine_address)" "IMAGE=$image" "CLAUDE=$places/claude" \
        >"$places/.docker.env"
    mv "$places/.docker.env" "$places/docker.env"
}

docker_status() {
    [ -s "$places/docker.env" ] || return
    DOCKER_HOST=$(sed -n 's/^DOCKER_HOST=//p' "$places/docker.env") docker info >/dev/null 2>&1
}

docker_stop() {
    if is_root; then
        end "$places/docker.pid" dockerd
        unmount_rest
        remove_bridge "$(bridge)"
    elif [ -s "$places/docker.env" ]; then
        docker image rm --force "$image" >/dev/null
    fi
}

unmount_rest() { # what the engine has left mounted could not be removed
    local mounted
    while read -r _ mounted _; do
        case $mounted in "$places"/*) umount -l "$mounted" ;; esac
    done < <(tac /proc/mounts)
}

engine_address() { # a context counts where no variable says it
    printf %s "${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}"
}

bridge() { printf %s "${account:0:15}"; }

start_engine() { run_engine "$places" "$places/run" "$account" "$(bridge)" 198.18 --group "$account"; }

# With a bridge of its own and without iptables, nothing of another engine is touched, and what runs
# in its containers reaches this machine at most.
run_engine() { # FOLDER RUN NAMESPACE BRIDGE NETWORK ARGUMENT...: a dockerd with its socket in FOLDER
    local folder=$1 run=$2 namespace=$3 bridge=$4 network=$5
    local socket=unix://$folder/docker.sock
    shift 5
    if ! ip link show "$bridge" >/dev/null 2>&1; then
        ip link add name "$bridge" type bridge
        ip address add "$network.$((RANDOM % 250 + 1)).1/24" dev "$bridge"
        ip link set "$bridge" up
    fi
    # What a killed engine leaves would stop the next one.
    rm -f "$folder/docker.pid" "$run/containerd/containerd.pid"
    setsid dockerd --host "$socket" --pidfile "$folder/docker.pid" \
        --data-root "$folder/docker" --exec-root "$run" \
        --containerd-namespace "$namespace" --containerd-plugins-namespace "plugins.$namespace" \
        --bridge "$bridge" --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false \
        "$@" >>"$folder/docker.log" 2>&1 </dev/null 9>&- &
    eventually 60 docker -H "$socket" info ||
        fail "dockerd does not start: $(tail -n 1 "$folder/docker.log"); see $folder/docker.log"
}

remove_bridge() { ! ip link show "$1" >/dev/null 2>&1 || ip link delete "$1"; }

make_image() {
    local root
    root=$(mktemp -d "$places/image.XXXXXX")
    "$tools/places/image.sh" "$root" "$places/claude"
    tar -C "$root" --owner=0 --group=0 -c . |
        docker import -c 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/bin' - "$image" >/dev/null
    rm -rf "$root"
}
