# `make demo` and `make test` set up everything they need in .venv; only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns that a folder named like the package lies here; it does.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
MODEL := models/classifier.onnx
PHOTO := models/photos/cat.jpg
JOBS ?= 2

.PHONY: demo test test-all test-portable lint bench bench-quality accuracy wheel clean

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

# The frameworks' tests with the least and with the most that TensorFlow and PyTorch can be held to on this processor:
# how they fare on others. numpy and onnxruntime have no such option.
FRAMEWORKS := $(addsuffix .py,$(addprefix tests/test_,accuracy convert_* gradients_* explain_oracles maximize_torch model_factories models))
test-portable: $(VENV)/.test
	TF_ENABLE_ONEDNN_OPTS=0 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
		$(BIN)/python -m pytest -n $(JOBS) $(FRAMEWORKS)
	TF_ENABLE_ONEDNN_OPTS=1 $(BIN)/python -m pytest -n $(JOBS) $(FRAMEWORKS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	PYTHONPATH=$(VENV)/alternatives $(BIN)/python tests/benchmarks

# Gradients of whole networks beside their frameworks' own: an hour.
accuracy: $(VENV)/.test
	$(BIN)/python tests/accuracy

# Pictures of `maximize` beside lucent's and tf-keras-vis': an hour or more.
bench-quality: $(VENV)/.bench
	PYTHONPATH=$(VENV)/alternatives OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks quality

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

# silero-vad is here for its .onnx files; its own requirements (torch, torchaudio) are of no use to them. torchvision is
# here for its architectures; its own requirement is a torch for CUDA.
$(VENV)/.test: $(VENV)/.installed pyproject.toml tests/requirements-files.txt
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps --requirement tests/requirements-files.txt
	@touch $@

# The alternatives; some want old versions of what is here, and run with the new ones. They lie apart: one brings a
# package called tests.
$(VENV)/.bench: $(VENV)/.test tests/requirements-bench.txt
	$(PIP) --editable '.[bench]'
	$(PIP) --no-deps --upgrade --target $(VENV)/alternatives --requirement tests/requirements-bench.txt
	@touch $@
