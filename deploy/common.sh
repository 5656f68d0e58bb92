# What deploy/up, deploy/down and deploy/test share: messages, Debian packages, the Python environment.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="$ROOT/.cache"
VENV="$ROOT/.venv"
LOG="$CACHE/deploy.log"
FLOTILLA="$VENV/bin/flotilla"

RUNTIME_PACKAGES=(
    ca-certificates conmon curl etcd-server iproute2 nftables prometheus python3 python3-venv runc skopeo zstd
)
QUIET_SERVICES=(etcd prometheus)

say() { printf '        %s\n' "$*"; }
done_() { printf '    ok  %s\n' "$*"; }

# fail WHAT REMEDY: the end, with the log where there is one.
fail() {
    {
        printf 'failed  %s\n' "$1"
        [ -n "${2:-}" ] && printf '  what to do: %s\n' "$2"
        if [ -s "$LOG" ]; then
            printf '  log: %s\n' "$LOG"
            tail -n 8 "$LOG" | sed 's/^/    | /'
        fi
    } >&2
    exit 1
}

require_root() {
    [ "$(id -u)" = 0 ] || fail "$1 must run as root" "sudo $1"
    mkdir -p "$CACHE"
    : >"$LOG"
}

# Run a command with its output in the log only.
logged() {
    printf '+ %s\n' "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

# Install what is missing of the named Debian packages. What a package would start is kept from starting, now by
# policy-rc.d and at the next boot by disabling it; services of packages that were there before are not touched.
ensure_packages() {
    local missing
    read -ra missing <<<"$(missing_packages "$@")"
    [ "${#missing[@]}" = 0 ] && return
    command -v apt-get >/dev/null || fail "this is no Debian or Ubuntu" "install these yourself: ${missing[*]}"
    say "installing: ${missing[*]}"
    refuse_services
    if ! logged env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; then
        logged apt-get update || fail "apt-get update" "check the network and /etc/apt/sources.list"
        logged env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
            fail "apt-get install ${missing[*]}" "see the log; run the command again"
    fi
    allow_services
    disable_new_services "${missing[@]}"
    done_ "packages: ${missing[*]}"
}

POLICY=/usr/sbin/policy-rc.d

refuse_services() {
    [ -e "$POLICY" ] && mv "$POLICY" "$POLICY.before-flotilla"
    trap allow_services EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    trap - EXIT
    rm -f "$POLICY"
    if [ -e "$POLICY.before-flotilla" ]; then
        mv "$POLICY.before-flotilla" "$POLICY"
    fi
}

disable_new_services() {
    local service
    command -v systemctl >/dev/null || return 0
    for service in "${QUIET_SERVICES[@]}"; do
        case " $* " in
        *" $service "* | *" $service-server "*) logged systemctl disable "$service.service" || true ;;
        esac
    done
}

# The interpreter for the virtual environment.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later with the venv module was not found" "apt-get install python3 python3-venv"
}

# ensure_python [EXTRA]: the virtual environment with Flotilla in it; pip runs only when what it would read has changed.
ensure_python() {
    local extra="${1:-}" python stamp wanted
    python="$(find_python)"
    stamp="$VENV/.flotilla-${extra:-base}"
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/setup.py" "$ROOT"/protos/*.proto | sha256sum) $ROOT"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$FLOTILLA" ] && return
    say "installing the Python side into $VENV (the first time takes a minute or two)"
    if ! [ -x "$VENV/bin/pip" ]; then
        logged "$python" -m venv "$VENV" || fail "$python -m venv $VENV" "apt-get install python3-venv"
    fi
    logged "$VENV/bin/pip" install --disable-pip-version-check -e "$ROOT${extra:+[$extra]}" ||
        fail "pip install" "check the network (a proxy: export HTTPS_PROXY=...), then run the command again"
    printf '%s' "$wanted" | tee "$VENV/.flotilla-base" >"$stamp"
    give_to_owner
    done_ "Python side in $VENV"
}

# What root makes in the clone, caches and compiled modules too, goes to the clone's owner, so that they can remove it.
give_to_owner() {
    chown -R --from=root --reference="$ROOT" "$ROOT" 2>/dev/null || true
}

# A static busybox for the sample image: the installed one, or the package taken apart, so that a machine's own
# (dynamic) busybox is not replaced.
ensure_busybox() {
    if [ -z "$(missing_packages busybox-static)" ]; then
        BUSYBOX=/bin/busybox
        return
    fi
    BUSYBOX="$CACHE/busybox/bin/busybox"
    [ -x "$BUSYBOX" ] || BUSYBOX="$CACHE/busybox/usr/bin/busybox"
    [ -x "$BUSYBOX" ] && return
    mkdir -p "$CACHE/busybox"
    if ! (cd "$CACHE/busybox" && logged apt-get download busybox-static); then
        logged apt-get update || fail "apt-get update" "check the network and /etc/apt/sources.list"
        (cd "$CACHE/busybox" && logged apt-get download busybox-static) ||
            fail "apt-get download busybox-static" "check the network, then run the command again"
    fi
    logged dpkg-deb -x "$CACHE"/busybox/busybox-static_*.deb "$CACHE/busybox" || fail "unpacking busybox-static"
    BUSYBOX="$CACHE/busybox/bin/busybox"
    [ -x "$BUSYBOX" ] || BUSYBOX="$CACHE/busybox/usr/bin/busybox"
}
