#!/bin/sh
# Writes locks/: what `make` installs, to the version and the hash, for every Python of 3.8-3.13 and every platform in one
# file, whose lines carry markers. `make lock` calls it.
#
# MXNet stands apart: its wheel asks for numpy < 2, which it does not need, and one wheel is for CPUs, the other for GPUs.
# So does Horovod, which is compiled against them all. What it is built with is in the first file. What writes the reference stands
# apart, too, since only `make docs` needs it.
set -eu
bounds=$(mktemp -d)
trap 'rm -r "$bounds"' EXIT
uv=$(command -v uv) || {
    python3 -m venv "$bounds/uv" && "$bounds/uv/bin/python" -m pip install -q uv
    uv=$bounds/uv/bin/uv
}

# lock NAME ARGUMENT...: compile standard input and the arguments to locks/NAME.txt
lock() {
    name=$1
    shift
    "$uv" pip compile --quiet --upgrade --universal --python-version 3.8 --generate-hashes --no-annotate \
        --custom-compile-command 'make lock' --output-file "locks/$name.txt" "$@" -
    echo "locks/$name.txt: $(grep -c == "locks/$name.txt") lines of packages"
}

# Python 3.8 stands for the oldest of everything: numpy 1.23 is the last that MXNet itself was made for. gluoncv asks for
# opencv-python, whose cv2 needs libGL, which servers lack: the headless one provides the same cv2.
echo "numpy<1.24; python_version < '3.9'" >"$bounds/constraints"
echo "opencv-python; python_version < '3'" >"$bounds/overrides"
printf '%s\n' 'setuptools<70' wheel 'cmake<4' cffi cloudpickle psutil pyyaml packaging |
    lock packages --constraint "$bounds/constraints" --override "$bounds/overrides" setup.py \
        --extra train --extra zoo --extra onnx --extra video --extra dev
grep -o 'pdoc[<>=0-9,]*' setup.py | lock docs --constraint locks/packages.txt
echo mxnet==1.9.1 | lock cpu --no-deps
{ echo mxnet-cu112==1.9.1; grep -o 'nvidia-[a-z0-9-]*-cu11==[0-9.]*' gluon_a2/machine/installation.py; } | sort -u |
    lock cu112 --no-deps
echo horovod==0.28.1 | lock horovod --no-deps
