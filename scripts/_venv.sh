# Makes .venv in the repository: make_venv NAME TARGET; sourced by the other scripts.
# Does nothing when it is up to date.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            command -v "$candidate"
            return
        fi
    done
    echo "Octavo needs Python 3.11 or newer; install python3 and run this again." >&2
    return 1
}

# Installs Debian packages as root or by sudo without a password; fails where that can't be.
install_debian() {
    local sudo=""
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        sudo="sudo -n"
    fi
    echo "Installing $*." >&2
    $sudo apt-get update -qq >/dev/null &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The kernels for CPUs are compiled where they run.
ensure_compiler() {
    if command -v "${CXX:-g++}" >/dev/null || command -v c++ >/dev/null; then
        return
    fi
    install_debian g++ || echo "There is no GNU C++ compiler, and it can't be installed from here:" \
        "Octavo runs without its fast kernels, and their tests are skipped. Install g++ to change that." >&2
}

make_venv() {
    local name=$1 target=$2 stamp=.venv/.installed-$1 python
    if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ]; then
        return
    fi
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if ! install_debian python3-venv; then
            echo "Python's venv module is missing; install python3-venv and run this again." >&2
            return 1
        fi
    fi
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$target"
    touch "$stamp"
}
