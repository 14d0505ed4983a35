# `make demo` and `make test` set up everything they need in .venv; only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := models/classifier.onnx
PHOTO := models/photos/cat.jpg
JOBS ?= 2

.PHONY: demo test lint bench wheel clean

demo: $(VENV)/.installed
	$(BIN)/onnxviz layers $(MODEL)
	$(BIN)/onnxviz filters $(MODEL) --style rgb --first 64 -o demo/filters
	$(BIN)/onnxviz maps $(MODEL) $(PHOTO) -o demo/maps
	@echo "The pictures are in demo/filters and demo/maps."

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m tests.benchmarks

wheel: $(VENV)/.test
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist demo bench *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# silero-vad is here for its .onnx files; its own requirements (torch, torchaudio) are of no use to them.
$(VENV)/.test: $(VENV)/.installed pyproject.toml tests/requirements-files.txt
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-files.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@
