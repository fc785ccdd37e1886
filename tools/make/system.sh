#!/bin/sh
# Before the first virtual environment: is there a Python, and what its packages link against?
# Missing system packages are installed where that is possible without asking (root on Debian),
# and named otherwise.
set -eu

python=${1:-}
if [ -z "$python" ]; then
    echo "LMStrix needs Python 3.11 or newer, and none was found on PATH." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

missing=
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    missing="$missing python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
if [ "$(uname -s)" = Linux ]; then
    # The llama.cpp binding is linked against both.
    for library in libgomp.so.1:libgomp1 libstdc++.so.6:libstdc++6; do
        "$python" -c "import ctypes; ctypes.CDLL('${library%%:*}')" 2>/dev/null ||
            missing="$missing ${library##*:}"
    done
fi
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null; then
    echo "Installing the system packages LMStrix needs here:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
    echo "LMStrix needs these system packages (Debian names):$missing" >&2
    echo "Install them, then run make again." >&2
    exit 1
fi
