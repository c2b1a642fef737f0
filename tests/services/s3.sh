# A small real S3 server, s3s-fs, which refuses wrong secrets and expired addresses. Built by cargo once for each machine; the tests
# start it themselves, each on a folder and a port of its own. Sourced.

s3_server() {
  local version=0.14.1 tools="${XDG_CACHE_HOME:-$HOME/.cache}/roost/tools"
  local binary=$tools/s3s-fs/bin/s3s-fs
  if [ "$("$binary" --version 2>/dev/null)" != "s3s-fs $version" ]; then
    say "Building the S3 server of the tests, once for this machine; this takes some minutes"
    mkdir -p "$tools"
    # Flags of this build must not leak into that one, whose folder is its own.
    env -u RUSTFLAGS CARGO_TARGET_DIR="$tools/s3s-fs.target" \
      cargo install s3s-fs --version "$version" --features binary --locked --root "$tools/s3s-fs" --force >&2 || return 1
  fi
  export ROOST_TEST_S3=$binary
}
