# A PostgreSQL cluster for one run of the tests: in a folder of its own, as an ordinary user, on a socket and a loopback port, without
# waiting for the disk. Gone at the end of the run. Sourced by start.sh, which does nothing else at its end.

postgres_folder=
postgres_bin=

postgres_as() {
  if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

postgres_stop() {
  [ -n "$postgres_folder" ] || return 0
  postgres_as "$postgres_bin/pg_ctl" -D "$postgres_folder/data" -s -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$postgres_folder"
  postgres_folder=
}

postgres_start() {
  local initdb port secret tries
  initdb=$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  [ -n "$initdb" ] || initdb=$(command -v initdb) || fail "PostgreSQL's initdb is not here."
  postgres_bin=$(dirname "$initdb")
  postgres_folder=$(mktemp -d)
  trap postgres_stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s\n' "$secret" >"$postgres_folder/secret"
  [ "$(id -u)" -ne 0 ] || chown -R postgres "$postgres_folder"
  say "Starting a PostgreSQL cluster for this run"
  (cd / && quietly postgres_as "$postgres_bin/initdb" --no-sync -D "$postgres_folder/data" -U roost -E UTF8 --locale=C \
    --auth-local=trust --auth-host=scram-sha-256 --pwfile="$postgres_folder/secret") || fail "initdb failed; see above."
  for tries in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 5000))
    if (cd / && postgres_as "$postgres_bin/pg_ctl" -D "$postgres_folder/data" -l "$postgres_folder/data/log" -w -t 30 -s -o \
      "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$postgres_folder -c max_connections=200 -c fsync=off -c synchronous_commit=off -c full_page_writes=off" \
      start >/dev/null 2>&1 </dev/null); then
      export ROOST_TEST_PG="postgres://roost:$secret@127.0.0.1:$port/postgres"
      return 0
    fi
  done
  tail -n 20 "$postgres_folder/data/log" >&2
  fail "PostgreSQL does not start after $tries tries; its log is above."
}
