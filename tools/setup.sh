#!/bin/sh
# Makes the virtual environment anew: sh tools/setup.sh VENV DEVICE. `make` calls it; PYTHON=... names the Python to use.
# The newest of Python 3.8-3.13 on PATH is taken, or one that uv brings where the machine has none.
set -eu
venv=$1
device=$2

supported='sys.version_info >= (3, 8)'

die() {
    echo "error: $*" >&2
    exit 1
}

# Prints the first Python that meets a condition. Each is run, for a launcher of that name may start nothing.
find_python() {
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3 python python3.14}; do
        "$name" -c "import sys; $1 or sys.exit(1); print(sys.executable)" 2>/dev/null && return
    done
    return 1
}

# Prints a uv: the machine's, or one that any Python's venv or pip can fetch into the folder being made.
find_uv() {
    command -v uv && return
    python=$(find_python "$supported") || return 1
    { "$python" -m venv "$venv/uv" && "$venv/uv/bin/python" -m pip install -q uv; } >>"$venv/uv.log" 2>&1 ||
        "$python" -m pip install -q --target "$venv/uv" uv >>"$venv/uv.log" 2>&1 || return 1
    echo "$venv/uv/bin/uv"
}

make_venv() {
    python=$(find_python "$supported") || python=
    if [ -n "$python" ] && "$python" -m venv "$venv" >/dev/null 2>&1; then
        return
    fi
    if uv=$(find_uv) &&
        "$uv" venv --quiet --seed --allow-existing --python "${python:-3.13}" "$venv" >>"$venv/uv.log" 2>&1; then
        return
    fi
    if [ -n "$python" ]; then
        die "$python cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)"
    fi
    die 'gluon_a2 needs Python 3.8 or newer, none is here and uv could not bring one: install Python 3.13'
}

# A folder with this mark is ours to delete, so an interrupted set-up is begun again; another one is the user's.
mark=$venv/.made-by-make
if [ -e "$venv" ] && [ ! -e "$mark" ]; then
    die "$venv was not made by make: move it away, or say make VENV=another-folder"
fi
rm -rf "$venv"
mkdir -p "$venv"
touch "$mark"

make_venv
# locks/ names every package, so that nothing is resolved: this is also how MXNet comes beside numpy 2, which its wheel
# forbids, and gluoncv without a second cv2.
echo "installing into $venv what locks/packages.txt and locks/$device.txt name (350 MB; with CUDA some GB)"
"$venv/bin/python" -m pip install -q --no-deps --require-hashes -r locks/packages.txt -r "locks/$device.txt"
"$venv/bin/python" -m pip install -q --no-deps --no-build-isolation -e .
