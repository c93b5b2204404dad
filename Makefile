# Two commands, each from a bare clone with only python3 and make: `make demo` and `make test`.
PYTHON ?= python3
# The release that demo and tests are run with. On Linux the package index serves a CUDA build of several GB for it;
# for the small CPU build: make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
OUT ?= demo-report
# Processes that share the tests, whole files each.
WORKERS ?= 2
# Bytecode is written when a module is first imported: of the packages here, most of the modules never are.
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile

# Without bytecode, each of the hundreds of processes that the tests start would compile torch and us anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check check-product check-benchmarks check-style wheel clean

demo: .venv/demo.stamp
	.venv/bin/edge-sdk demo --out $(OUT)

test: .venv/dev.stamp
	.venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Apart from each other, so that `make -j2 check` has mypy, which takes nearly all of the time, on two cores.
check: check-product check-benchmarks check-style

check-product: .venv/dev.stamp
	.venv/bin/mypy

check-benchmarks: .venv/dev.stamp
	.venv/bin/mypy --config-file=benchmarks/mypy.ini --cache-dir=.mypy_cache/benchmarks

check-style: .venv/dev.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

wheel: | .venv/bin/python
	.venv/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing edge-sdk with its demo into .venv (a few minutes, about 1.5 GB)"
	$(PIP) $(TORCH)
	$(PIP) --editable ".[demo]"
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing edge-sdk with its development tools into .venv (a few minutes, about 2 GB)"
	$(PIP) $(TORCH)
	$(PIP) --editable ".[dev]"
	@touch $@ .venv/demo.stamp

clean:
	rm -rf .venv build dist *.egg-info $(OUT)
