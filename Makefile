# The two commands of the README are `make demo` and `make test`; `make` alone lists the rest.
# Options: DEVICE=cpu or cu112 (found out when not given), PYTHON=..., VENV=..., WHEELHOUSE=..., ARGS=... for pytest.
VENV ?= .venv
PY = $(VENV)/bin/python

ifndef DEVICE
DEVICE := $(shell if [ "`uname -m`" = x86_64 ] && { nvidia-smi -L || PATH="$$PATH:/sbin" ldconfig -p | grep libcuda.so.1; } \
	>/dev/null 2>&1; then echo cu112; else echo cpu; fi)
endif
ifeq ($(filter cpu cu112,$(DEVICE)),)
$(error DEVICE is '$(DEVICE)': say DEVICE=cpu or DEVICE=cu112)
endif

# pip takes what it needs from this folder, which `make wheelhouse` filled, and asks no network.
ifdef WHEELHOUSE
ifeq ($(shell test -d "$(WHEELHOUSE)" && echo yes),)
$(error WHEELHOUSE is '$(WHEELHOUSE)', and there is no such folder: make wheelhouse fills one)
endif
export PIP_NO_INDEX = 1
export PIP_FIND_LINKS = $(WHEELHOUSE)
endif

# Written last, so an interrupted set-up is done again; named after the device, so a change of it is, too.
READY = $(VENV)/.ready-$(DEVICE)
HOROVOD = $(VENV)/.horovod-$(DEVICE)

.PHONY: help demo video test lint docs release doctor matrix horovod bench study wheelhouse lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

# On one thread, so that the same figures come out on any number of cores.
demo: $(READY) ## train a plain network and one with A², score both, show what A² read
	OMP_NUM_THREADS=1 $(PY) scripts/train_imagenet.py --recipe far --save-dir runs/demo-plain --overwrite
	OMP_NUM_THREADS=1 $(PY) scripts/train_imagenet.py --recipe far --model a2_resnet26 --blocks conv2:2 --m 128 --save-dir runs/demo-a2 --overwrite
	$(PY) examples/far.py runs/demo-plain runs/demo-a2 --png runs/demo-a2/read.png

video: $(READY) ## train a small video network, score it, see what it saw
	$(PY) scripts/train_video.py --save-dir runs/video --overwrite
	$(PY) scripts/score.py runs/video/export/a2_resnet26_3d --out runs/video/scores

# Several processes are tested where Horovod can be built, which takes a C++ compiler.
test: $(if $(shell command -v c++),$(HOROVOD),$(READY)) ## run the tests (make test ARGS='-k attention')
	$(PY) -m pytest -n 2 -q $(ARGS)

lint: $(READY) ## check the style and the types
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: $(READY) ## write the reference from the docstrings: build/api/index.html
	$(PY) -c 'import pdoc' 2>/dev/null || \
		$(PY) -m pip install --no-deps --require-hashes -r locks/docs.txt
	$(PY) tools/api.py

doctor: $(READY) ## tell what is installed, what is wrong with it and what corrects it
	$(PY) -m gluon_a2.doctor

matrix: $(READY) ## run the tests on every Python found here (PYTHONS='3.8 3.13' for some)
	$(PY) proofs/matrix.py $(if $(PYTHONS),--python $(PYTHONS)) -- $(ARGS)

horovod: $(HOROVOD) ## build Horovod into the environment, for training on several processes

bench: $(READY) ## measure beside PyTorch, OpenVINO and ONNX Runtime
	$(PY) -c 'import torch, openvino' 2>/dev/null || $(PY) -m pip install 'torch>=2.4,<3' 'openvino>=2024'
	$(PY) benchmarks/peers.py $(ARGS)

study: $(READY) ## go on with the study of docs/study.md, a run on each core (hours), and report
	for plan in mechanism softmax limited fresh compact clips; do \
		$(PY) benchmarks/study.py benchmarks/study/$$plan.json --workers $$(nproc) $(ARGS) || exit; done
	$(PY) benchmarks/study_report.py
	$(PY) docs/claims.py

# What is generated must be what is committed. The tag is made by who runs this, of what was checked.
release: lint test docs ## what a release must pass: style, tests, reference, proofs in short, prose, generated files
	$(PY) proofs/short_forms.py
	$(PY) tools/prose.py
	for script in symbols/generate.py docs/claims.py docs/results.py; do $(PY) $$script || exit; done
	git status --short && test -z "$$(git status --porcelain)"
	@$(PY) -c 'from gluon_a2 import __version__ as version; \
		print(f"All of it passed. Tag it: git tag -a v{version} -m \"gluon_a2 {version}\"")'

# For this processor and this Python: PYTHON=... names another.
wheelhouse: $(READY) ## download all that make installs, for machines without a network (WHEELHOUSE=wheelhouse there)
	$(PY) -m pip download --dest wheelhouse --no-deps --no-build-isolation --require-hashes \
		-r locks/packages.txt -r locks/$(DEVICE).txt -r locks/horovod.txt -r locks/docs.txt

lock: ## write locks/ anew, with the newest versions that setup.py allows
	sh tools/lock.sh

clean: ## remove the environment, the demo's run and caches
	@if [ -e $(VENV)/.made-by-make ]; then rm -rf $(VENV); fi
	rm -rf runs/demo-plain runs/demo-a2 runs/video gluon_a2.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@if [ -d runs ]; then rmdir runs 2>/dev/null || echo 'runs/ holds other runs and stays'; fi
	find . -name __pycache__ -not -path './.*' -prune -exec rm -rf {} +

$(READY): setup.py tools/setup.sh locks/packages.txt locks/$(DEVICE).txt
	PYTHON='$(PYTHON)' sh tools/setup.sh $(VENV) $(DEVICE)
	@touch $@

# Horovod compiles against the MXNet that is installed, so nothing is isolated, and no wheel of an earlier build is taken
# from pip's cache. Its build imports MXNet, which tools/horovod makes possible on today's Python. With
# HOROVOD_GPU_OPERATIONS=NCCL in the environment it is built for GPUs.
$(HOROVOD): $(READY) locks/horovod.txt
	@command -v c++ >/dev/null || { echo 'error: Horovod needs a C++ compiler (Debian: apt-get install g++)' >&2; exit 1; }
	PATH="$(abspath $(VENV))/bin:$$PATH" PYTHONPATH="$(abspath tools/horovod)" HOROVOD_WITH_MXNET=1 HOROVOD_WITH_GLOO=1 \
	HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MPI=1 \
	$(PY) -m pip install --no-deps --no-build-isolation --no-cache-dir --require-hashes -r locks/horovod.txt
	$(PY) -c 'import gluon_a2.backend, horovod.mxnet'
	@touch $@
