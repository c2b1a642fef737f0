# A small real OpenID provider, oidc-provider-mock, in an environment of its own, made once for each machine; the tests start it
# themselves, each on a port of its own. Sourced.

oidc_provider() {
  local version=0.3.4 tools="${XDG_CACHE_HOME:-$HOME/.cache}/roost/tools"
  local home=$tools/oidc
  if [ "$(cat "$home/version" 2>/dev/null)" != "$version" ]; then
    say "Setting up the OpenID provider of the tests, once for this machine"
    packages "for the OpenID provider of the tests" python3 python3-venv || return 1
    rm -rf "$home"
    quietly python3 -m venv "$home" || return 1
    quietly "$home/bin/pip" install --quiet --disable-pip-version-check "oidc-provider-mock==$version" || return 1
    printf '%s\n' "$version" >"$home/version"
  fi
  export ROOST_TEST_OIDC=$home/bin/oidc-provider-mock
}
