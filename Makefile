# `make demo` and `make test` set up everything they need in .venv; only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns that a folder named like the package lies here; it does.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
MODEL := models/classifier.onnx
PHOTO := models/photos/cat.jpg
JOBS ?= 2

.PHONY: demo test test-all lint bench bench-quality wheel clean

demo: $(VENV)/.installed
	@$(BIN)/onnxviz layers $(MODEL)
	@mkdir -p demo
	@echo
	@echo "Drawing filters and feature maps:"
	@$(BIN)/onnxviz filters $(MODEL) --style rgb --scale filter --first 32 -o demo/filters.png
	@$(BIN)/onnxviz filters $(MODEL) --filters 6,10,15,21,28,30 --scale symmetric -o demo/filters-rows.png
	@$(BIN)/onnxviz maps $(MODEL) $(PHOTO) -o demo/maps
	@$(BIN)/onnxviz maps $(MODEL) $(PHOTO) --layers first --style strip --first 12 -o demo/strip
	@$(BIN)/onnxviz maps models/unet.onnx models/photos/dog.jpg --size 120x160 --layers all -o demo/unet

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS)

# Also what takes minutes or gigabytes: every architecture, a model of 3 GB.
test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) -m ''

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python tests/benchmarks

# Pictures of `maximize` beside lucent's and tf-keras-vis': an hour or more.
bench-quality: $(VENV)/.quality
	PYTHONPATH=$(VENV)/quality OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks quality

wheel: $(VENV)/.test
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist demo bench *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(PIP) --editable .
	@touch $@

# silero-vad is here for its .onnx files; its own requirements (torch, torchaudio) are of no use to them.
$(VENV)/.test: $(VENV)/.installed pyproject.toml tests/requirements-files.txt
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps --requirement tests/requirements-files.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.installed pyproject.toml
	$(PIP) --editable '.[bench]'
	@touch $@

# These want old versions of what is here; they run with the new ones, away from what the tests see.
$(VENV)/.quality: $(VENV)/.test $(VENV)/.bench tests/requirements-quality.txt
	$(PIP) --no-deps --upgrade --target $(VENV)/quality --requirement tests/requirements-quality.txt
	@touch $@
