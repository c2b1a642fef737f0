# How start.sh and its parts speak: one line a step, on standard error, so that output that is asked for stays clean. Sourced.

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf '  ! %s\n' "$*" >&2; }
fail() { printf '  x %s\n' "$*" >&2; exit 1; }

# Runs a command without its output; shows the end of it where the command fails.
quietly() {
  local log code=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || code=$?
  [ $code -eq 0 ] || tail -n 20 "$log" >&2
  rm -f "$log"
  return $code
}
