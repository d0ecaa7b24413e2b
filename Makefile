# Two commands: `make run` does the main job, `make test` passes the tests.
# Both set up .venv from envs/requirements.lock when it is missing or older than the lock.

PYTHON ?= python3
CORES  ?= all
BIN    := .venv/bin
STAMP  := .venv/.installed

# What to run, if not what config.yaml says: make run EXPERIMENTS=my_energy.yaml SCALE=smoke SEED=2
GIVEN := EXPERIMENTS SCALE SEED RESULTS DEVICE CORES EXTRAS
# The shell sees them as they were given: make expands nothing in them, and recipes quote them.
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

# Each as key=value where it is given; `quoted` for Snakemake, which takes the quotes off a value and
# reads the rest as YAML.
plain    = $${$(1):+"$(2)=$$$(1)"}
quoted   = $${$(1):+"$(2)=!!str '$$(printf %s "$$$(1)" | sed "s/'/''/g")' \#"}
settings = $(call $(1),EXPERIMENTS,experiments) $(call $(1),SCALE,scale) $(call $(1),SEED,seed) \
           $(call $(1),RESULTS,results) $(call $(1),DEVICE,device)

export PATH := $(CURDIR)/$(BIN):$(value PATH)
# no file in this folder shadows a module
export PYTHONSAFEPATH := 1

# One run a results folder, from wherever it is started. Snakemake's own lock is one a clone, and
# outlives a SIGKILL; the operating system's does not.
ifneq ($(shell command -v flock),)
# Without a process of its own in between, so that what stops `make` stops Snakemake.
LOCK   := flock --nonblock --conflict-exit-code 75 $(shell flock --help | grep -o -e --no-fork) \
          "$$folder/.run.lock"
NOLOCK := --nolock
endif

# What is given is checked before any work; $(1) is a target of the workflow, if not its default.
define whole_run
case "$$CORES" in \
  all) ;; \
  '' | 0* | *[!0-9]*) \
    echo "CORES: '$$CORES' is no number of cores; allowed: all, or an integer of at least 1" >&2; \
    exit 2;; \
esac; \
set -- $(call settings,plain); \
python -m jeffreysflow validate --energies $(ELSEWHERE) "$$@" \
  && folder=$$(python -m jeffreysflow results "$$@") && mkdir -p "$$folder" || exit; \
set -- $(call settings,quoted); \
alone() { exec $(LOCK) "$$@"; }; \
(alone true) \
  || case $$? in \
       75) printf "another run is at work in %s\n" "$$folder" >&2; exit 75;; \
       *) printf "warning: no lock in %s; start no second run there\n" "$$folder" >&2; \
          alone() { exec "$$@"; };; \
     esac; \
alone \
  sh -c 'python -m jeffreysflow verify --withdraw "$$0" && exec python -m snakemake "$$@"' \
  "$$folder" $(1) $(NOLOCK) $(AT_ONCE) $${1:+--config "$$@"} $(SNAKEMAKE)
endef

# With a profile of a cluster the run is elsewhere, and this machine may be smaller.
ELSEWHERE := $(if $(findstring profile,$(SNAKEMAKE)),--elsewhere)
# The cores of this machine would limit the jobs there too.
AT_ONCE = $(if $(and $(ELSEWHERE),$(filter all,$(value CORES))),,--cores "$$CORES")

.DEFAULT_GOAL := help
.PHONY: help setup run paper test cluster-test lint format schemas bench studies clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(STAMP) ## Create .venv from envs/requirements.lock (about 1.5 GB, one to two minutes); EXTRAS="molecules ase" adds what these need
	@for extra in $$EXTRAS; do \
	  test -f "envs/$$extra.lock" \
	    || { echo "EXTRAS: no extra '$$extra'; allowed: ase, molecules, parquet" >&2; exit 2; }; \
	  echo "Adding envs/$$extra.lock ..."; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    -r "envs/$$extra.lock" || exit; \
	done

$(STAMP): envs/requirements.lock pyproject.toml
	@echo "Setting up .venv from envs/requirements.lock (one to two minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "jeffreysflow needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..."; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Done: $$($(BIN)/python -m jeffreysflow --version) in .venv"

run: $(STAMP) ## Do the main job: everything config.yaml names, into results/report.html
	@$(call whole_run,)

paper: $(STAMP) ## Run every experiment of the paper (SCALE=quick), into results/paper.html
	@[ -n "$$EXPERIMENTS" ] || EXPERIMENTS=$$(python -m jeffreysflow list --paper) || exit; \
	$(call whole_run,paper)

test: $(STAMP) ## Run the tests, a file at a time on each core
	@python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder $(PYTEST)

cluster-test: $(STAMP) ## Run the cluster scenarios of tests/cluster (root, Debian 12; minutes)
	@bash tests/cluster/run.sh $$SCENARIOS

lint: $(STAMP) ## Check style, types and the workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow

format: $(STAMP) ## Format Python and Snakemake files
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

schemas: $(STAMP) ## Write the JSON schemas of the configuration to workflow/schemas
	python -m jeffreysflow schema workflow/schemas

bench: $(STAMP) ## Run the benchmarks (minutes); prints ratios against a reference in the same run
	@for file in benchmarks/*.py; do echo "== $$file"; python $$file || exit 1; done

studies: $(STAMP) ## Run all of benchmarks/studies (many hours; some kill and damage runs of their own); tables for docs/
	@for file in benchmarks/studies/[!_]*.py; do \
	  echo "== $$file"; PYTHONSAFEPATH= python $$file || exit 1; done

clean: ## Remove what is in results/ (whatever RESULTS says), keep the environment
	rm -rf results/* .snakemake logs
	git checkout -q -- results
