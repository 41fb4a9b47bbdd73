# An sshd on loopback with a port, a host key and a user key of its own.
alias=claude-mpm-test

ssh_start() {
    need ssh openssh-client
    need sshd openssh-server
    runs "$places/ssh/sshd.pid" sshd || start_sshd
    write_client_config
    printf '%s\n' "SSH_CONFIG=$places/ssh/config" "SSH_HOST=$alias" "SSH_USER=$account" \
        "SSH_PORT=$(<"$places/ssh/port")" "CLAUDE=$places/claude" >"$places/.ssh.env"
    mv "$places/.ssh.env" "$places/ssh.env"
}

ssh_status() { [ -s "$places/ssh.env" ] && runs "$places/ssh/sshd.pid" sshd; }

ssh_stop() {
    end "$places/ssh/sshd.pid" sshd
    ! is_root || end_processes_of_account
}

end_processes_of_account() { # it is the tests' own
    local status pids=()
    for status in /proc/[0-9]*/status; do
        [ "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "$status" 2>/dev/null)" != "$(id -u "$account")" ] ||
            pids+=("$(basename "$(dirname "$status")")")
    done
    [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || :
}

start_sshd() {
    local folder=$places/ssh port
    mkdir -p "$folder"
    ! is_root || mkdir -p /run/sshd
    for key in host_key user_key; do
        [ -s "$folder/$key" ] || ssh-keygen -q -t ed25519 -N '' -C "$alias" -f "$folder/$key"
    done
    cp "$folder/user_key.pub" "$folder/authorized_keys"
    for port in $(shuf -n 20 -i 20000-29999); do
        write_server_config "$port"
        "$(command -v sshd)" -t -f "$folder/sshd_config" ||
            fail "sshd refuses $folder/sshd_config; see above"
        setsid "$(command -v sshd)" -D -f "$folder/sshd_config" -E "$folder/sshd.log" </dev/null >/dev/null 2>&1 9>&- &
        if eventually 10 listens_or_ended "$!" && runs "$folder/sshd.pid" sshd; then
            printf '%s\n' "$port" >"$folder/port"
            return
        fi
    done
    fail "sshd does not start: $(tail -n 1 "$folder/sshd.log"); see $folder/sshd.log"
}

listens_or_ended() { [ -s "$places/ssh/sshd.pid" ] || [ ! -e "/proc/$1" ]; }

write_server_config() { # PORT; every path is absolute, because sshd goes to / and starts itself again
    cat >"$places/ssh/sshd_config" <<-CONFIG
		Port $1
		ListenAddress 127.0.0.1
		HostKey $places/ssh/host_key
		PidFile $places/ssh/sshd.pid
		AuthorizedKeysFile $places/ssh/authorized_keys
		AllowUsers $account
		StrictModes no
		UsePAM no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin prohibit-password
		MaxStartups 100
		MaxSessions 100
		PrintMotd no
		Subsystem sftp internal-sftp
		SetEnv DOCKER_HOST=${DOCKER_HOST:-unix://$places/docker.sock} PATH=$places:/usr/local/bin:/usr/bin:/bin
	CONFIG
}

write_client_config() {
    local port
    port=$(<"$places/ssh/port")
    printf '[127.0.0.1]:%s %s\n' "$port" "$(cut -d ' ' -f 1-2 "$places/ssh/host_key.pub")" \
        >"$places/ssh/known_hosts"
    cat >"$places/ssh/config" <<-CONFIG
		Host $alias
		    HostName 127.0.0.1
		    Port $port
		    User $account
		    IdentityFile $places/ssh/user_key
		    IdentitiesOnly yes
		    UserKnownHostsFile $places/ssh/known_hosts
		    GlobalKnownHostsFile /dev/null
		    StrictHostKeyChecking yes
		    BatchMode yes
	CONFIG
}
