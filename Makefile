# `make demo` and `make test` set up everything they need in .venv; only Python >= 3.11 and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# setuptools warns that a folder named like the package lies here; it does.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
MODEL := models/classifier.onnx
PHOTO := models/photos/cat.jpg
JOBS ?= 2
LOWEST := $(VENV)/lowest
OPENVINO := $(VENV)/openvino
GALLERY ?= gallery

# Of commands that are shown, where make writes to a terminal.
BOLD := $(if $(MAKE_TERMOUT),$(shell printf '\033[1m'))
DIM := $(if $(MAKE_TERMOUT),$(shell printf '\033[2m'))
PLAIN := $(if $(MAKE_TERMOUT),$(shell printf '\033[0m'))
# In arguments of functions of make, which end at a comma; and in an address.
, := ,
space := $() $()

# Else each worker of the tests, and each of the thousand processes that they start, compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-quick test-all test-portable test-lowest test-openvino browser lint zoo bench bench-quality bench-pictures gallery gallery-check accuracy wheel docs docs-pictures notebooks clean
.DEFAULT_GOAL := demo

# A line for each target, from what stands behind ## in this file.
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'

# What is asked, the command as one would type it, and what it says.
define asked
@printf '\n%s%s%s\n' '$(BOLD)' '$(1)' '$(PLAIN)'
endef
define run
@printf '%s$$ onnxviz %s%s\n' '$(DIM)' '$(1)' '$(PLAIN)'
@$(BIN)/onnxviz $(1)
endef

demo: $(VENV)/.installed ## looks into a sample model with a photo of a cat; pictures and a page in demo/
	@rm -rf demo && mkdir demo
	$(call asked,What does the model say of a photo of a cat?)
	$(call run,predict $(MODEL) $(PHOTO) --top 3)
	$(call asked,Which layers does it have?)
	$(call run,layers $(MODEL))
	$(call asked,What are its first filters$(,) and what do they make of the photo?)
	$(call run,filters $(MODEL) --style rgb --scale filter -o demo/filters.png)
	$(call run,maps $(MODEL) $(PHOTO) --layers first$(,)last -o demo/maps)
	$(call asked,Where does it look when it says so?)
	$(call run,explain $(MODEL) $(PHOTO) -o demo/explain.png)
	$(call asked,What do filters of two layers look for?)
	$(call run,maximize $(MODEL) conv3 conv5 --random 2 --steps 128 -o demo/maximize)
	$(call asked,Is it fit to deploy?)
	$(call run,audit $(MODEL) --data models/photos | head -n 3)
	$(call asked,All that on one page$(,) to read and sign)
	$(call run,report $(MODEL) models/photos -o demo/report.html)
	$(call asked,Open it in a browser:  file://$(subst $(space),%20,$(CURDIR))/demo/report.html)
	@printf '\nThen your own model:\n'
	@printf '  %-28s %s\n' 'source $(BIN)/activate' 'puts onnxviz on the PATH of this shell' \
		'onnxviz layers YOUR.onnx' 'or $(BIN)/onnxviz, without the line above' \
		'onnxviz --help' 'lists the commands'

test: $(VENV)/.test ## the tests, but for those that take minutes or gigabytes
	$(BIN)/python -m pytest -n $(JOBS)

# No framework is imported, nor a module that imports one. Left out are crafted files, each of which wants a process of
# its own, what tests/conftest.py calls dear, and of tests with many cases all but two.
test-quick: $(VENV)/.test ## the tests that need no framework, two cases of each, but for crafted files and dear ones
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow and not framework and not hostile and not dear' --cases 2

test-all: $(VENV)/.test ## all tests: every architecture, a model of 3 GB, all examples
	$(BIN)/python -m pytest -n $(JOBS) -m ''

# The frameworks' tests with the least and with the most that TensorFlow and PyTorch can be held to on this processor:
# how they fare on others. numpy and onnxruntime have no such option.
test-portable: $(VENV)/.test ## the tests that need a framework, with the least and the most of this processor
	TF_ENABLE_ONEDNN_OPTS=0 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
		$(BIN)/python -m pytest -n $(JOBS) -m 'framework and not slow'
	TF_ENABLE_ONEDNN_OPTS=1 $(BIN)/python -m pytest -n $(JOBS) -m 'framework and not slow'

# In an environment of its own, with the versions that pyproject.toml names as the lowest; of the tools of the tests the
# newest. PyTorch and TensorFlow are not among them.
# What their own dependencies deprecate by now is no fault of ours; click 8.5 loses the help of the arguments of a typer
# before 0.26, which brings a click of its own.
test-lowest: $(LOWEST)/.installed ## the tests that need no framework, with the lowest versions of the dependencies
	$(LOWEST)/bin/python -m pytest -n $(JOBS) -m 'not slow and not framework' -W default::DeprecationWarning

# In an environment of its own, since onnxruntime-openvino stands in for onnxruntime.
test-openvino: $(OPENVINO)/.installed ## the tests of a second execution provider, OpenVINO's on the CPU
	$(OPENVINO)/bin/python -m pytest -n $(JOBS) -m 'openvino and not framework'

lint: $(VENV)/.test ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What PyTorch's two exporters, tf2onnx and onnxviz write for each normalisation and activation, as text that tests read.
zoo: $(VENV)/.test ## the exports in tests/zoo/exports, made anew with their frameworks: some minutes
	$(BIN)/python tests/exports

docs: $(VENV)/.test ## the site, into build/site
	$(BIN)/python docs/make_site.py

docs-pictures: $(VENV)/.test ## the pictures in docs/pictures/PAGE, by the commands of that page, and that of the README
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python tests/documents.py
	$(BIN)/python docs/draw_overview.py

notebooks: $(VENV)/.test ## the notebooks of docs/, each run anew
	$(BIN)/python tests/notebooks.py

bench: $(VENV)/.bench ## speed and memory beside the usual way
	PYTHONPATH=$(VENV)/alternatives $(BIN)/python tests/benchmarks

accuracy: $(VENV)/.test ## gradients of whole networks beside their frameworks' own: an hour
	$(BIN)/python tests/accuracy

# What is made is kept in bench/quality; a second run goes on. Horama's pictures are most of the hours.
bench-quality: $(VENV)/.bench ## pictures of `maximize` beside lucent's, tf-keras-vis' and Horama's: a night
	PYTHONPATH=$(VENV)/alternatives OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks quality

bench-pictures: $(VENV)/.bench ## what other tools draw and what onnxviz draws, for docs/beside.md; after bench-quality
	PYTHONPATH=$(VENV)/alternatives OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/side_by_side.py

gallery: $(VENV)/.test ## five systems end to end, from training to figures, in gallery/: under half an hour on two cores
	$(BIN)/python tests/gallery $(GALLERY)

gallery-check: $(VENV)/.bench ## every number of gallery/ beside the source frameworks' and tf-keras-vis'
	GALLERY=$(GALLERY) PYTHONPATH=$(VENV)/alternatives $(BIN)/python -m pytest tests/gallery -m '' -rP

browser: ## Debian's Chromium and its driver, for the tests that look at pages; needs root where they are not there
	@command -v chromium > /dev/null && command -v chromedriver > /dev/null || { apt-get update --quiet && \
		apt-get install --quiet --yes --no-install-recommends chromium chromium-driver; }

wheel: $(VENV)/.test ## the wheel, into dist/
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## removes .venv and all that is built
	rm -rf $(VENV) build dist demo bench gallery *.egg-info

$(VENV)/bin/python:
	@echo "Setting onnxviz up in $(VENV), once: about a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@$(PIP) --editable .
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

$(LOWEST)/.installed: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	PYTHONWARNINGS=ignore $(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/lowest.txt
	PYTHONWARNINGS=ignore $(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt --editable . \
		'click<8.5' hypothesis pytest pytest-xdist scikit-image scipy h5py tifffile
	@touch $@

$(OPENVINO)/.installed: pyproject.toml tests/stand_in.py
	$(PYTHON) -m venv $(OPENVINO)
	PYTHONWARNINGS=ignore $(OPENVINO)/bin/python -m pip install --quiet --upgrade pip
	$(OPENVINO)/bin/python tests/stand_in.py onnxruntime-openvino > $(OPENVINO)/requirements.txt
	PYTHONWARNINGS=ignore $(OPENVINO)/bin/python -m pip install --quiet --requirement $(OPENVINO)/requirements.txt \
		hypothesis pytest pytest-xdist scikit-image scipy h5py tifffile
	PYTHONWARNINGS=ignore $(OPENVINO)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@
