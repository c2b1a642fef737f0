# Packages of the distribution: only those that are missing, only as root on Debian or Ubuntu, and never without saying so. Sourced.

package_lists_fresh=

# packages WHY NAME...: all of them are there afterwards, or it says what to type and answers no.
packages() {
  local why=$1 name missing=()
  shift
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    # Elsewhere the names differ; what matters is whether the programs are there, and their users say so themselves.
    warn "Needed $why, by Debian's names: ${missing[*]}. Install what this system calls them."
    return 1
  elif [ "$(id -u)" -ne 0 ]; then
    warn "Needed $why: run  sudo apt-get install ${missing[*]}"
    return 1
  fi
  say "Installing $why: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if [ -z "$package_lists_fresh" ]; then
    quietly apt-get -q update || warn "The package lists could not be brought up to date; trying with those that are here."
    package_lists_fresh=1
  fi
  quietly apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 install "${missing[@]}"
}
