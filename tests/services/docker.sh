# The Docker Engine of this machine. Sourced.

docker_answers() {
  if command -v docker >/dev/null; then
    timeout 10 docker info --format '{{.ServerVersion}}' >/dev/null 2>&1
  else
    command -v curl >/dev/null && curl -fs --max-time 5 --unix-socket /var/run/docker.sock http://localhost/_ping >/dev/null
  fi
}

docker_answers_within() {
  local end=$((SECONDS + $1))
  until docker_answers; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.5
  done
}

# By whatever starts services here; where nothing does, the daemon goes to the background and outlives this script.
docker_start() {
  if [ -d /run/systemd/system ]; then
    quietly systemctl start docker && docker_answers_within 30 && return 0
  elif [ -x /etc/init.d/docker ]; then
    quietly service docker start && docker_answers_within 15 && return 0
  fi
  command -v dockerd >/dev/null || return 1
  local log=/var/log/roost-dockerd.log
  say "Nothing here starts services by itself: starting the Docker Engine in the background; its log is $log"
  setsid nohup dockerd >"$log" 2>&1 </dev/null &
  docker_answers_within 30 && return 0
  warn "The Docker Engine does not come up. The end of its log:"
  tail -n 5 "$log" >&2
  return 1
}

# Yes, where an engine answers in the end; otherwise it has said what to do.
docker_engine() {
  docker_answers && return 0
  if [ "$(id -u)" -ne 0 ]; then
    if [ -S /var/run/docker.sock ]; then
      warn "A Docker Engine is here, but $(id -un) may not use it: run  sudo usermod -aG docker $(id -un)  and log in again."
    else
      warn "No Docker Engine answers, so no server can start yet: run  sudo apt-get install docker.io iptables  (or install Docker Engine 20.10 or later)."
    fi
    return 1
  fi
  local wanted=(docker.io iptables)
  command -v apt-get >/dev/null || { warn "No Docker Engine answers, so no server can start yet: install Docker Engine 20.10 or later."; return 1; }
  apt-cache show docker-cli >/dev/null 2>&1 && wanted+=(docker-cli)
  say "No Docker Engine answers. Setting up the distribution's own."
  command -v dockerd >/dev/null || packages "for the node" "${wanted[@]}" || return 1
  docker_start
}
