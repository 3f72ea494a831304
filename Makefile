# The whole vocabulary: make demo · test (test-ray, test-browser: only what needs a cluster, a browser) · docs · lint · types · fmt · bench-peers · bench-results. Every target sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
ON_RAY := tests/runtime/ray $(wildcard tests/retrieval/test_*on_ray.py) tests/evaluation/test_experiment_on_ray.py tests/retrieval/test_sharded.py tests/notebooks/test_ray_kernel.py tests/notebooks/test_tutorials_on_ray.py  # each wants both cores, most share one cluster
IN_A_BROWSER := tests/browser  # one JupyterLab and one Chromium for all of them
EXTRAS := pdf,html,chinese,openai,ray-data,dev
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: bench-peers bench-results demo docs test test-browser test-ray lint types fmt

demo: .venv/ready
	$(BIN)/sage-nb demo

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(ON_RAY) $(IN_A_BROWSER))
	$(MAKE) test-browser
	$(MAKE) test-ray

test-ray: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ON_RAY)

test-browser: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(IN_A_BROWSER)

docs: .venv/ready
	$(BIN)/python -m tests.reference build/reference

lint: .venv/ready
	$(BIN)/ruff check sage_nb tests
	$(BIN)/ruff format --check sage_nb tests

types: .venv/ready
	$(BIN)/mypy

fmt: .venv/ready
	$(BIN)/ruff check --fix sage_nb tests
	$(BIN)/ruff format sage_nb tests

# The programs that `sage-nb bench index | query | lexical --peers .venv-peers/bin/python` compares with.
bench-peers: .venv-peers/ready

# Every bench, one after the other, and tests/benchmarks/RESULTS.md from what they find: hours, with nothing else running.
bench-results: .venv/ready .venv-peers/ready
	$(BIN)/python -m tests.benchmarks.results --run $(addprefix --data ,$(DATA))

# torch first and alone, from its pin: a range, or another package's wish, would draw gigabytes of CUDA.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch .venv/ready

.venv-peers/ready: tests/benchmarks/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --constraint tests/benchmarks/peers.txt torch
	.venv-peers/bin/python -m pip install --quiet --requirement tests/benchmarks/peers.txt
	touch .venv-peers/ready
