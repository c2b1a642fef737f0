# The browser files of static/vendor.lock, by whichever package client is here. Sourced.
# Afterwards vendor_complete is set where all of them are there.

vendor_complete=

vendor_sums() { grep -v '^#' static/vendor.lock; }

vendor_is_there() { [ -f "$2" ] && [ "$(sha256sum <"$2" | cut -d' ' -f1)" = "$1" ]; }

vendor_pip() {
  local client
  for client in "python3 -m pip" pip3 pip; do
    if $client --version >/dev/null 2>&1; then printf '%s' "$client"; return 0; fi
  done
  return 1
}

# fetch_pip PACKAGE==VERSION DIR: unpacked into DIR.
vendor_fetch_pip() {
  local client
  client=$(vendor_pip) || return 1
  quietly $client download --quiet --no-deps --no-cache-dir --dest "$2" "$1" || return 1
  (cd "$2" && python3 -c 'import glob, shutil
for name in glob.glob("*.whl"): shutil.unpack_archive(name, ".", "zip")
for name in glob.glob("*.tar.gz"): shutil.unpack_archive(name, ".")')
}

vendor_fetch_npm() {
  command -v npm >/dev/null && (cd "$2" && quietly npm pack --silent "$1" && for one in *.tgz; do tar -xzf "$one"; done)
}

# vendor_take SUM NAME SOURCE: one file from one source, such as pip:name==version:path/inside.
vendor_take() {
  local sum=$1 name=$2 client=${3%%:*} rest=${3#*:} package path found folder
  package=${rest%%:*} path=${rest#*:}
  folder=$vendor_work/$(printf '%s' "$client-$package" | tr -c 'A-Za-z0-9.-' _)
  if [ ! -d "$folder" ]; then
    mkdir -p "$folder"
    "vendor_fetch_$client" "$package" "$folder" || return 1
  fi
  while IFS= read -r found; do
    if vendor_is_there "$sum" "$found"; then
      mkdir -p static/vendor
      cp "$found" "static/vendor/.$name.new" && mv "static/vendor/.$name.new" "static/vendor/$name"
      return 0
    fi
  done < <(find "$folder" -type f -path "*/$path")
  return 1
}

vendor_files() {
  local sum name sources one missing=() vendor_work
  while read -r sum name sources; do
    vendor_is_there "$sum" "static/vendor/$name" || missing+=("$sum $name $sources")
  done < <(vendor_sums)
  if [ ${#missing[@]} -gt 0 ]; then
    say "Fetching the browser files"
    vendor_pip >/dev/null || command -v npm >/dev/null || packages "to fetch the browser files" python3 python3-pip || true
    vendor_work=$(mktemp -d)
    for one in "${missing[@]}"; do
      read -r sum name sources <<<"$one"
      for one in $sources; do vendor_take "$sum" "$name" "$one" && break; done
    done
    rm -rf "$vendor_work"
  fi
  vendor_complete=1
  while read -r sum name sources; do
    vendor_is_there "$sum" "static/vendor/$name" || { vendor_complete=; warn "static/vendor/$name could not be fetched."; }
  done < <(vendor_sums)
  [ -n "$vendor_complete" ] || warn "Pages work without these files, but change only when they are reloaded. Needed: pip or npm, and their network."
}
