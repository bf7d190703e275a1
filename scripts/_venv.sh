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

make_venv() {
    local name=$1 target=$2 stamp=.venv/.installed-$1 python
    if [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ]; then
        return
    fi
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "Python's venv module is missing; installing python3-venv." >&2
        if [ "$(id -u)" = 0 ]; then
            apt-get update -qq && apt-get install -y -qq python3-venv
        else
            sudo apt-get update -qq && sudo apt-get install -y -qq python3-venv
        fi
    fi
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$target"
    touch "$stamp"
}
