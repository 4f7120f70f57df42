.PHONY: install test lint format typecheck pytest coverage test-slow test-gpu test-wheel docs fuzz demo study bench bench-gpu constraints clean

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed
BENCH_OUT ?= runs/bench
FAST = not slow and not gpu

install: $(READY)   ## the environment, made once and again when a file below changes

# torch first, from the index that pip is configured with: a CUDA or a CPU build
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	touch $@

test: lint typecheck pytest   ## CPU, fast: what a change must pass

pytest: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(FAST)" -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY)
	$(BIN)/pyright

coverage: $(READY)
	$(BIN)/python -m pytest -m "$(FAST)" --cov

test-slow: $(READY)   ## what a change need not wait for: hours of Triton's interpreter among it
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu" -n 2 --dist loadfile

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

test-wheel: $(READY)   ## what users get: build, install into a fresh environment, test outside the source tree
	rm -rf build dist
	$(BIN)/python -m build --wheel
	$(BIN)/python -m venv build/venv
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > build/venv/lib/python3.$$($(BIN)/python -c "import sys; print(sys.version_info.minor)")/site-packages/dependencies.pth
	build/venv/bin/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	build/venv/bin/python -P -m pytest -o pythonpath= -m "$(FAST)"

docs: $(READY)      ## the site, in build/site; a warning is an error
	$(BIN)/python -m mkdocs build --strict

fuzz: $(READY)      ## broken files for every reader, into examples/validation/results/fuzz.csv
	$(BIN)/python examples/validation/fuzz.py

demo: $(READY)      ## design molecules and crystals, relax and move six others; results in demo/
	$(BIN)/python examples/demo.py

study: $(READY)     ## half an hour of degrees and of scalars against vectors, in runs/study; QM9=, ISOMERS= if there
	test -n "$$QM9" || $(BIN)/equicalc data qm9 runs/qm9
	test -n "$$ISOMERS" || $(BIN)/equicalc data qm9 runs/isomers --formula C7H10O2 --split none
	QM9=$${QM9:-runs/qm9} $(BIN)/python examples/study/run.py equitriton --minutes 5
	ISOMERS=$${ISOMERS:-runs/isomers/all} $(BIN)/python examples/study/run.py thesis --minutes 3

bench: $(READY)     ## all benchmarks on one thread of this machine's processor, into BENCH_OUT
	$(BIN)/python -m equicalc.kernels.benchmarks all --out $(BENCH_OUT)

# No $(READY): a machine with a GPU may have torch, numpy, e3nn, torch-geometric, triton
# and pytest only. What lacks a package is left out.
bench-gpu:          ## tests and benchmarks on a CUDA device with $(PYTHON), into BENCH_OUT
	timeout 170 $(PYTHON) -m pytest -c /dev/null --rootdir=. --import-mode=importlib -m gpu tests/kernels tests/models/test_replayed_gpu.py
	timeout 420 $(PYTHON) -m equicalc.kernels.benchmarks all --device cuda --rounds 5 --out $(BENCH_OUT)

constraints: $(READY)   ## write down the versions that this environment has
	$(BIN)/python -m pip freeze --exclude-editable | sed -e 's/+cpu$$//' | grep -v -e '^triton==' -e ' @ ' > constraints.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .coverage
