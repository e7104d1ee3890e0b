#!/usr/bin/env bash
# Make what `make` needs: system packages, the project's own virtual environment, and an install of hipgw in it.
#
#   tools/setup.sh run      what a demo needs (build tools, iproute2, iperf3)
#   tools/setup.sh test     also what the tests need (tshark, tcpdump, a DHCP server and client, a STUN server)
#   tools/setup.sh bench    also the peers of the benchmark (wireguard-go, fastd, tinc, OpenVPN, strongSwan), and matplotlib
#
# Nothing is fetched when everything is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}

fail() { printf '\nhipgw cannot be built: %s\n' "$1" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "it needs Linux."
command -v git >/dev/null || fail "git is missing. On Debian: apt-get install git"
python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "Python 3.11 or newer is missing. On Debian: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, $("$python" --version) was found. Set PYTHON=/path/to/python3.11"
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
command -v cargo >/dev/null || fail "a Rust toolchain (cargo) is missing. Install Rust 1.85 or newer from rustup.rs, or a distribution's package of it."
rust=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n1.85\n' "${rust%%-*}" | sort -V | head -n1)" = 1.85 ] || fail "Rust 1.85 or newer is needed, $rust was found."
[ "$(id -u)" = 0 ] || fail "root is needed, for network namespaces and TUN/TAP devices. Try: sudo make"

# -- system packages ---------------------------------------------------------------------------
wanted=()
want() { command -v "$1" >/dev/null || wanted+=("$2"); } # command, Debian package
want cc build-essential
want make build-essential
want ip iproute2
want ping iputils-ping
want iptables iptables
want iperf3 iperf3
"$python" -c 'import ensurepip' 2>/dev/null || wanted+=(python3-venv)
printf '#include <Python.h>\n' | cc -E -I"$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" - >/dev/null 2>&1 || wanted+=(python3-dev)
if [ "$purpose" != run ]; then
    want tshark tshark
    want tcpdump tcpdump
    want dnsmasq dnsmasq-base
    want busybox busybox
    want turnserver coturn
    want etcd etcd-server
    want named bind9        # names of HIP hosts in a zone, dynamic updates, a validating resolver
    want dig bind9-dnsutils
    want knotd knot         # a second server, and signed zones
    want nft nftables       # somebody else's rules beside those of a mobile router
    want dnsperf dnsperf    # ten thousand queries a second through the interceptor
    want dhtnode dhtnode    # a ring of OpenDHT nodes, behind DHT gateways
fi
if [ "$purpose" = bench ]; then
    want wireguard-go wireguard-go
    want wg wireguard-tools
    want fastd fastd
    want tincd tinc
    want openvpn openvpn
    want openssl openssl
    want swanctl strongswan-swanctl
    want charon-systemd charon-systemd
    [ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ] || wanted+=(libcharon-extra-plugins)
fi
if [ "${#wanted[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || fail "please install the packages that provide: ${wanted[*]}"
    mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
    echo "Installing ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null ||
        fail "apt-get could not install: ${wanted[*]}"
    # The tests start it themselves, in a namespace.
    case " ${wanted[*]} " in *" coturn "*) systemctl disable --now --quiet coturn 2>/dev/null || true ;; esac
    for server in named:bind9 knot:knot dhtnode:dhtnode; do
        case " ${wanted[*]} " in *" ${server#*:} "*) systemctl disable --now --quiet "${server%:*}" 2>/dev/null || true ;; esac
    done
    # So with the directory of a fleet.
    case " ${wanted[*]} " in *" etcd-server "*) systemctl disable --now --quiet etcd 2>/dev/null || true ;; esac
    # The benches start it themselves, in namespaces; the machine is not to answer IKE because of them.
    case " ${wanted[*]} " in *" charon-systemd "*) systemctl disable --now --quiet strongswan 2>/dev/null || true ;; esac
fi

# -- the virtual environment ---------------------------------------------------------------------
venv=.venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
stamp=$venv/.installed-$(cat pyproject.toml requirements.lock | sha256sum | cut -c1-16)
if [ ! -f "$stamp" ]; then
    echo "Installing Python packages into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
    rm -f "$venv"/.installed-*
    touch "$stamp"
fi
if [ "$purpose" = bench ]; then
    stamp=$venv/.bench-$(sha256sum <requirements-bench.lock | cut -c1-16)
    if [ ! -f "$stamp" ]; then
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements-bench.lock
        rm -f "$venv"/.bench-*
        touch "$stamp"
    fi
fi

# -- hipgw itself --------------------------------------------------------------------------------
built=$venv/.built
if [ ! -f "$built" ] || [ -n "$(find rust cython Cargo.toml Cargo.lock pyproject.toml -newer "$built" -type f -print -quit)" ] ||
    ! "$venv/bin/python" -c 'import hipgw._dns, hipgw._esp_core, hipgw._wire' 2>/dev/null; then
    echo "Building hipgw (the first time takes a few minutes)"
    mkdir -p build
    if ! VIRTUAL_ENV=$PWD/$venv "$venv/bin/maturin" develop --release --locked >build/setup.log 2>&1; then
        cat build/setup.log >&2
        fail "the build failed; what it said stands above"
    fi
    touch "$built"
fi
