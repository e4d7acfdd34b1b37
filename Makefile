# The two commands of the README are `make book` and `make test`.

PYTHON ?= python3
PROFILE ?=
SEEDS ?=
RECORD ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PEERS := $(VENV)/peers

.PHONY: book pdf test test-minutes bench verify reproduce lock clean

book: $(INSTALLED)
	@$(BIN)/bump-diffusion book

# The book, and all of it in one PDF, which its first page then offers; printed by Chromium or Chrome.
pdf: $(INSTALLED)
	@$(BIN)/bump-diffusion book --pdf

test: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/pytest -m "not minutes"

# Tests that take long: most kill and resume runs, sweeps and builds again and again.
test-minutes: $(INSTALLED)
	@$(BIN)/pytest -m minutes

# Measures this package beside its peers, in at most 20 minutes on two cores left alone.
bench: $(PEERS)
	@$(BIN)/python -m benchmarks

# Trains one shipped record again (RECORD=name, else a random one) and compares.
verify: $(INSTALLED)
	@$(BIN)/bump-diffusion verify $(RECORD)

# Trains every record of the book from nothing, all in one profile if PROFILE names it, and builds
# the book from those alone. Interrupted, it goes on where it stopped; remove _build/reproduce to
# begin anew.
REPRODUCED := $(CURDIR)/_build/reproduce/$(or $(PROFILE),all)
reproduce: export BUMP_DIFFUSION_STORE = $(REPRODUCED)
reproduce: export BUMP_DIFFUSION_BUILD = $(REPRODUCED)-book
reproduce: $(INSTALLED)
	@$(BIN)/bump-diffusion run all $(if $(PROFILE),--profile $(PROFILE)) $(if $(SEEDS),--seeds $(SEEDS))
	@$(BIN)/bump-diffusion book $(if $(PROFILE),-p profile=$(PROFILE)) $(if $(SEEDS),-p seeds=$(SEEDS))

# The mark is written last and holds the folder: an installation that was interrupted, copied or
# moved is made anew, as its commands name the folder in which they were installed.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(shell pwd -P))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; set PYTHON=, for example PYTHON=python3.12." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { $(PYTHON) -c 'import sys; print("Python lacks ensurepip and venv; on Debian and Ubuntu:" \
		" apt-get install python%d.%d-venv" % sys.version_info[:2])' >&2; exit 2; }
	@test "$$(cat $(INSTALLED) 2>/dev/null)" = "$$(pwd -P)" || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(INSTALLED)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@pwd -P > $(INSTALLED)

$(PEERS): $(INSTALLED) benchmarks/requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --requirement benchmarks/requirements.lock
	@touch $(PEERS)

# Pins what a fresh installation of pyproject.toml's dependencies gives.
lock:
	@rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	@_build/lock/bin/python -m pip install --quiet ".[test]"
	@{ echo "# Exact versions of everything that is installed; made by \`make lock\`."; \
		_build/lock/bin/python -m pip freeze --exclude bump-diffusion | sed 's/+cpu$$//'; } > requirements.lock

clean:
	rm -rf _build $(VENV)
