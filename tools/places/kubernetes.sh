# A real Kubernetes of one node, from Debian's source package: etcd, API server, scheduler, controller
# manager and kubelet, over a Docker Engine of its own. It needs root, and Debian to be built.
#
# What is built (9 minutes of two cores, 3 GB meanwhile, 360 MB kept) stays in the user's cache.
kubernetes_version=1.20.2
kubernetes_built=${CLAUDE_MPM_PLACES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/claude-mpm-places}/kubernetes-$kubernetes_version
kubernetes_parts='kube-apiserver kube-controller-manager kube-scheduler kubelet pause'
node=node1

kubernetes_is_built() {
    local part
    for part in $kubernetes_parts; do [ -x "$kubernetes_built/bin/$part" ] || return; done
}

kubernetes_build() {
    ! kubernetes_is_built || return 0
    is_root || fail "only root can build Kubernetes here, as packages are installed for it"
    local tool
    for tool in go:golang-go gcc:gcc make:make rsync:rsync dpkg-source:dpkg-dev; do
        need "${tool%%:*}" "${tool#*:}"
    done
    need_headers
    mkdir -p "$kubernetes_built/bin"
    (
        cd "$kubernetes_built"
        fetch_source
        cd src
        mkdir -p .go/src/k8s.io
        ln -sfn ../../.. .go/src/k8s.io/kubernetes
        export CGO_ENABLED=0 GO111MODULE=off GOPROXY=off GOPATH=$PWD/.go GOCACHE=$kubernetes_built/cache
        export KUBE_GIT_VERSION=v$kubernetes_version KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=x
        for part in ${kubernetes_parts% pause}; do
            make -s WHAT="cmd/$part"
            install -s "$(find _output -type f -name "$part" | head -n 1)" "$kubernetes_built/bin/$part"
        done
    ) >"$kubernetes_built/build.log" 2>&1 ||
        fail "Kubernetes cannot be built: $(tail -n 1 "$kubernetes_built/build.log"); see $kubernetes_built/build.log"
    build_pause
    rm -rf "$kubernetes_built"/{src,cache,apt} "$kubernetes_built"/kubernetes_*
}

need_headers() { printf '#include <unistd.h>' | gcc -E - >/dev/null 2>&1 || install_package libc6-dev >&2; }

fetch_source() { # with sources of its own: those of the machine stay as they are
    local folder=$kubernetes_built apt mirror
    mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)
    mkdir -p apt/lists/partial apt/cache/archives/partial
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >apt/sources.list
    apt=(apt-get -o "Dir::Etc::SourceList=$folder/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" -q update
    "${apt[@]}" -q source --download-only kubernetes
    rm -rf src
    dpkg-source --no-check -x kubernetes_*.dsc src
}

build_pause() { # the process that holds a pod's namespaces, and reaps what is left in them
    gcc -static -Os -x c -o "$kubernetes_built/bin/pause" - <<-'C'
		#include <signal.h>
		#include <stdlib.h>
		#include <sys/wait.h>
		#include <unistd.h>
		static void end(int signum) { (void)signum; _exit(0); }
		static void reap(int signum) { (void)signum; while (waitpid(-1, NULL, WNOHANG) > 0); }
		int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
	C
}

kubernetes_start() {
    is_root || fail "only root can start a Kubernetes here"
    kubernetes_is_built ||
        fail "no Kubernetes is built yet; it takes some ten minutes, once: tools/places.sh build kubernetes"
    need kubectl kubernetes-client
    need etcd etcd-server
    need dockerd docker.io
    need ip iproute2
    need jq jq
    need openssl openssl
    kube=$places/kube
    mkdir -p "$kube/manifests"
    export KUBECONFIG=$kube/kubeconfig
    kubernetes_runs || start_cluster
    printf '%s\n' "KUBECONFIG=$KUBECONFIG" "IMAGE=$image" "CLAUDE=$places/claude" \
        "DOCKER_HOST=unix://$kube/docker.sock" "FOLDER=$kube" >"$places/.kubernetes.env"
    mv "$places/.kubernetes.env" "$places/kubernetes.env"
}

kubernetes_status() {
    kube=$places/kube
    [ -s "$places/kubernetes.env" ] && KUBECONFIG=$kube/kubeconfig kubernetes_runs
}

kubernetes_runs() {
    [ -s "$kube/kubeconfig" ] && kubectl --request-timeout 5s get node "$node" -o \
        'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null | grep -q True
}

kubernetes_stop() {
    kube=$places/kube
    [ -d "$kube" ] || return 0
    local part
    [ ! -S "$kube/docker.sock" ] || ! runs "$kube/docker.pid" dockerd || remove_containers
    for part in kubelet kube-controller-manager kube-scheduler kube-apiserver etcd; do
        end "$kube/$part.pid" "${part:0:15}"
    done
    end "$kube/docker.pid" dockerd
    unmount_rest
    remove_bridge "$(kube_bridge)"
}

remove_containers() {
    end "$kube/kubelet.pid" kubelet
    docker -H "unix://$kube/docker.sock" ps -aq | xargs -r docker -H "unix://$kube/docker.sock" rm --force >/dev/null
}

kube_bridge() { printf %s "k${account:0:14}"; }

keep() { # NAME COMMAND...: in the background, its pid and its log kept
    local name=$1
    shift
    setsid "$@" >>"$kube/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$kube/$name.pid"
}

start_cluster() {
    choose_ports
    start_kube_engine
    keep etcd etcd --data-dir "$kube/etcd" --listen-client-urls "http://127.0.0.1:$etcd_port" \
        --advertise-client-urls "http://127.0.0.1:$etcd_port" --listen-peer-urls "http://127.0.0.1:$peer_port"
    load_images
    write_secrets
    start_api_server
    eventually 120 kubectl --request-timeout 5s get --raw /readyz ||
        fail "the API server does not start: $(tail -n 1 "$kube/kube-apiserver.log")"
    keep kube-scheduler "$kubernetes_built/bin/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false \
        --port 0 --secure-port 0
    keep kube-controller-manager "$kubernetes_built/bin/kube-controller-manager" --kubeconfig "$KUBECONFIG" \
        --leader-elect=false --port 0 --secure-port 0 --node-monitor-grace-period 12s --pod-eviction-timeout 5s \
        --controllers '*,-csrsigning,-csrapproving,-csrcleaner,-root-ca-cert-publisher'
    start_kubelet
    eventually 90 kubernetes_runs || fail "the node is not ready: $(tail -n 1 "$kube/kubelet.log")"
}

choose_ports() {
    [ -s "$kube/ports" ] || shuf -n 4 -i 30000-32000 | tr '\n' ' ' >"$kube/ports"
    read -r api_port etcd_port peer_port kubelet_port <"$kube/ports" || :
}

start_kube_engine() {
    # runc refuses the kubelet's negative oom_score_adj where it has no CAP_SYS_RESOURCE.
    cat >"$kube/runc" <<-'SH'
		#!/bin/sh
		bundle=
		for word; do [ "$previous" != --bundle ] && [ "$previous" != -b ] || bundle=$word; previous=$word; done
		[ -z "$bundle" ] || { jq 'if .process.oomScoreAdj < 0 then .process.oomScoreAdj = 0 else . end' "$bundle/config.json" >"$bundle/config.new" && mv "$bundle/config.new" "$bundle/config.json"; }
		exec runc "$@"
	SH
    chmod +x "$kube/runc"
    run_engine "$kube" "$kube/docker-exec" "k$account" "$(kube_bridge)" 198.19 \
        --add-runtime clamped="$kube/runc" --default-runtime clamped
}

load_images() {
    local root docker=(docker -H "unix://$kube/docker.sock")
    "${docker[@]}" image inspect pause:local >/dev/null 2>&1 ||
        tar -C "$kubernetes_built/bin" -c pause | "${docker[@]}" import -c 'ENTRYPOINT ["/pause"]' - pause:local >/dev/null
    "${docker[@]}" image inspect "$image" >/dev/null 2>&1 ||
        (DOCKER_HOST=unix://$kube/docker.sock && export DOCKER_HOST && make_image)
}

write_secrets() {
    local token
    token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
    (
        umask 077
        printf '%s,admin,admin,system:masters\n' "$token" >"$kube/tokens.csv"
        [ -s "$kube/sa.key" ] || openssl genrsa -out "$kube/sa.key" 2048 2>/dev/null
        cat >"$KUBECONFIG" <<-YAML
			apiVersion: v1
			kind: Config
			clusters: [{name: claude-mpm-test, cluster: {server: "https://127.0.0.1:$api_port", insecure-skip-tls-verify: true}}]
			users: [{name: admin, user: {token: "$token"}}]
			contexts: [{name: claude-mpm-test, context: {cluster: claude-mpm-test, user: admin}}]
			current-context: claude-mpm-test
		YAML
    )
}

start_api_server() {
    keep kube-apiserver "$kubernetes_built/bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
        --secure-port "$api_port" --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --cert-dir "$kube/certs" \
        --token-auth-file "$kube/tokens.csv" --authorization-mode RBAC --allow-privileged \
        --service-account-issuer https://local --service-account-key-file "$kube/sa.key" \
        --service-account-signing-key-file "$kube/sa.key" --disable-admission-plugins ServiceAccount \
        --endpoint-reconciler-type none --kubelet-preferred-address-types InternalIP --service-cluster-ip-range 10.96.0.0/24
}

start_kubelet() {
    local address
    address=$(ip -4 -o address show "$(kube_bridge)" | sed 's,.*inet \([0-9.]*\)/.*,\1,')
    keep kubelet "$kubernetes_built/bin/kubelet" --kubeconfig "$KUBECONFIG" --hostname-override "$node" --node-ip "$address" \
        --root-dir "$kube/kubelet" --container-runtime docker --docker-endpoint "unix://$kube/docker.sock" \
        --pod-infra-container-image pause:local --cgroup-driver cgroupfs --cgroups-per-qos=false \
        --enforce-node-allocatable= --image-gc-high-threshold 100 --eviction-hard= --fail-swap-on=false \
        --pod-manifest-path "$kube/manifests" --cert-dir "$kube/kubelet-certs" --healthz-port 0 --read-only-port 0 \
        --address "$address" --port "$kubelet_port"
}
