#!/usr/bin/env bash
# Build current user-space WireGuards, which Debian has not, to measure beside hipgw.
#
#   bench/build_peers.sh DIR      DIR is a folder outside the repository; about five minutes
#
# Go and Rust are needed. Versions are pinned here, so that two runs a month apart compare the same programs; what is
# there already is not built again. The programs end up in DIR/bin under the names of their contestants.
set -euo pipefail

[ $# = 1 ] || { sed -n '2,7s/^# \?//p' "$0"; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1/bin"
folder=$(cd "$1" && pwd)
case $folder/ in "$repository"/*) echo "$folder lies in the repository; take another folder." >&2; exit 2 ;; esac
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"

wireguard_go=v0.0.0-20260522210424-ecfc5a8d5446
boringtun=0.7.1
gotatun=0.10.2

go_program() { # contestant, module, version
    [ -x "$folder/bin/$1" ] && return
    command -v go >/dev/null || { echo "$1 is left out: Go is missing." >&2; return; }
    echo "Building $2 $3"
    (cd "$folder" && GOBIN="$folder/go" go install "$2@$3")
    ln -sf "../go/${2##*/}" "$folder/bin/$1"
}

rust_program() { # contestant, crate, version, program
    [ -x "$folder/bin/$1" ] && return
    command -v cargo >/dev/null || { echo "$1 is left out: Rust is missing." >&2; return; }
    echo "Building $2 $3"
    CARGO_TARGET_DIR="$folder/target" cargo install --quiet --locked --root "$folder/rust" --version "$3" "$2"
    ln -sf "../rust/bin/$4" "$folder/bin/$1"
}

go_program wireguard-go-new golang.zx2c4.com/wireguard "$wireguard_go"
rust_program boringtun boringtun-cli "$boringtun" boringtun-cli
rust_program gotatun gotatun-cli "$gotatun" gotatun

echo "To measure them: make bench PEERS=$folder"
printf 'or bench/run.py with'
for program in "$folder"/bin/*; do printf ' --peer %s=%s' "${program##*/}" "$program"; done
echo
