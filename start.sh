#!/usr/bin/env bash
# Builds what is not built yet and starts Roost.
#   ./start.sh                 the panel on port 8000, with a node for this machine inside it
#   ./start.sh test [ARGS]     sets up everything that the tests need and runs all of them; ARGS go to cargo test
#   ./start.sh services        sets up what the tests need, and runs none
# Safe to run again at any time. It asks for nothing on the terminal, and installs packages only as root on Debian or Ubuntu, after
# saying so. Secrets, database and catalogue are made by `roost` itself.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"

. tests/services/say.sh
. tests/services/packages.sh
. tests/services/docker.sh
. tests/services/vendor.sh

need_rust() {
  command -v cargo >/dev/null && command -v rustc >/dev/null ||
    fail "Rust is missing. Install rustup (Debian: apt-get install rustup && rustup default stable), then run ./start.sh again."
  command -v cc >/dev/null || packages "to link programs" gcc libc6-dev ||
    fail "A C compiler is missing, and Rust needs one to link programs. Install gcc and the C library's headers."
}

# The sidecar has to run in a container made from nothing, so it is linked statically. Naming the target keeps that flag away from
# programs that run while building.
build_proxy() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --locked --release --no-default-features --bin roost-proxy --target "$host" || fail "The sidecar does not build; see above."
  proxy_binary=$CARGO_TARGET_DIR/$host/release/roost-proxy
}

# Files of these folders become part of the program. Cargo notices where one changes, but not where one comes or goes.
forget_old_files() {
  local list=$CARGO_TARGET_DIR/release/embedded-files now
  now=$(find static seeds -type f | LC_ALL=C sort)
  [ -f "$list" ] && [ "$(cat "$list")" = "$now" ] && return 0
  [ ! -f "$list" ] || cargo clean --quiet --release --package roost
  mkdir -p "${list%/*}"
  printf '%s\n' "$now" >"$list"
}

serve() {
  local roost=$CARGO_TARGET_DIR/release/roost
  need_rust
  [ -x "$roost" ] || say "The first build takes several minutes; each line below is one part of it."
  vendor_files
  build_proxy
  forget_old_files
  cargo build --locked --release --bin roost || fail "The panel does not build; see above."
  docker_engine || say "Going on without it: the panel starts, and shows its node as offline."
  say "Starting the panel."
  PROXY_BINARY=$proxy_binary exec "$roost" serve "$@"
}

# Names of these variables are read by tests/it/services.rs and nowhere else.
services() {
  need_rust
  . tests/services/postgres.sh
  . tests/services/s3.sh
  . tests/services/oidc.sh
  . tests/services/smtp.sh
  packages "for the tests" chromium chromium-driver postgresql qstat iptables iproute2 busybox-static curl ca-certificates ||
    fail "The tests need the packages above."
  docker_engine || fail "The tests need a Docker Engine."
  command -v docker >/dev/null || packages "for the tests" docker-cli || fail "The tests need Docker's command line client."
  vendor_files
  [ -n "$vendor_complete" ] || fail "The browser tests need the files of static/vendor.lock."
  build_proxy
  s3_server || fail "The tests need an S3 server; see above."
  oidc_provider || fail "The tests need an OpenID provider; see above."
  smtp_server || fail "The tests need a mail server; see above."
  local game tools="${XDG_CACHE_HOME:-$HOME/.cache}/roost/tools"
  for game in bzflag openarena freeciv; do tests/games/make "$game" "roost-test/$game:1" "$tools" || fail "No image of $game."; done
  export PATH="$tools:$PATH"
  export ROOST_TEST_DOCKER=1 ROOST_TEST_GAMES=1 ROOST_PROXY_BINARY="$proxy_binary" ROOST_TEST_ALL=1
  ROOST_TEST_BROWSER=$(command -v chromedriver) || fail "There is no chromedriver."
  export ROOST_TEST_BROWSER
}

run_tests() {
  services
  postgres_start
  say "Running the tests."
  cargo test --locked "$@"
}

case "${1:-serve}" in
  serve) [ $# -eq 0 ] || shift; serve "$@" ;;
  test) shift; run_tests "$@" ;;
  services) services ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
