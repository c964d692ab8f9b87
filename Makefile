# Every verb of the book. Each sets up what it needs by itself: Python >= 3.10 and make are enough to begin with.
# `make help` lists the verbs; the work itself is done by `python -m scripts VERB`.

PYTHON ?= python3
PY     := .venv/bin/python
RUN    := $(PY) -m scripts

# Variables given to make are passed on as options: make test TOPIC=27 LEVEL=2 -> test --topic 27 --level 2
topic  = $(if $(TOPIC),--topic "$(TOPIC)")
impl   = $(if $(IMPL),--impl "$(IMPL)")
level  = $(if $(LEVEL),--level "$(LEVEL)")
number = $(if $(N),--n "$(N)")
engine = $(if $(ENGINE),--engine "$(ENGINE)")
paper  = $(if $(PAPER),--paper "$(PAPER)")
only   = $(if $(ONLY),--only "$(ONLY)")
reset  = $(if $(RESET),--reset "$(RESET)")
graded = $(if $(filter-out 0 no,$(EXERCISES)),--exercises)
force  = $(if $(filter-out 0 no,$(FORCE)),--force)

# What each verb takes. A variable that a verb does not know would be ignored, so it is refused.
takes-render   := TOPIC ENGINE PAPER ARGS
takes-test     := TOPIC IMPL LEVEL ONLY EXERCISES ARGS
takes-start    := TOPIC EXERCISES FORCE RESET
takes-hint     := TOPIC N
takes-solution := TOPIC ONLY
takes-review   := TOPIC N
takes-cards    := TOPIC
takes-train    := TOPIC ONLY IMPL ARGS
takes-serve    := TOPIC ARGS
takes-notebook := TOPIC
takes-tangle   := ARGS
takes-stitch   := ARGS
takes-preview  := TOPIC ARGS
takes-check    := TOPIC ARGS
takes-golden   := TOPIC ARGS
takes-bench    := TOPIC ONLY ARGS

goals := $(or $(MAKECMDGOALS),help)
space := $(subst ,, )
known := $(sort $(foreach goal,$(goals),$(takes-$(goal))))
$(foreach word,$(subst \$(space),_,$(MAKEOVERRIDES)),$(foreach name,$(firstword $(subst =, ,$(word))),\
  $(if $(filter $(name),$(known) PYTHON PY RUN),,$(error make $(goals) knows no $(name)=; it takes \
  $(if $(known),$(addsuffix =,$(known)),no variables)))))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help render preview test tangle stitch start hint solution progress review cards watch train serve \
        verify-setup golden bench notebook check setup lock clean

help: ## this list
	@echo "make VERB [TOPIC=27] [IMPL=workspace] [LEVEL=2] [N=2] [ENGINE=auto|embedded|quarto] [PAPER=a4|letter]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# -- reading and learning

render: .venv/ready-book ## the book as HTML, PDF and EPUB into _book/, or one chapter (TOPIC=27, ENGINE=, PAPER=)
	@$(RUN) render $(topic) $(engine) $(paper) $(ARGS)

test: .venv/ready-test $(if $(TOPIC),,.venv/ready-book) ## all tests, or one topic's report (TOPIC=27, IMPL=workspace, LEVEL=2, ONLY=rope, EXERCISES=1)
	@$(RUN) test $(topic) $(impl) $(level) $(only) $(graded) $(ARGS)

start: .venv/ready-test ## your own file for a topic, signatures given, bodies to be written (TOPIC=27, EXERCISES=1, FORCE=1; RESET=rope: one of them again)
	@$(RUN) start $(topic) $(graded) $(force) $(reset)

hint: .venv/ready-test ## the next hint of a topic, or the Nth (TOPIC=27, N=2)
	@$(RUN) hint $(topic) $(number)

solution: .venv/ready-test ## one function of the solution, after giving up (TOPIC=27, ONLY=rope)
	@$(RUN) solution $(topic) $(only)

progress: .venv/ready-test ## how far you are
	@$(RUN) progress

review: .venv/ready-review ## the interview questions as cards, each when it is due (TOPIC=25; N=10 new ones)
	@$(RUN) review $(topic) $(number)

cards: .venv/ready-review ## the interview questions as a deck for Anki, in build/cards/ (TOPIC=25)
	@$(RUN) cards $(topic)

watch: .venv/ready-test ## test again whatever a save touches; Ctrl-C ends it
	@$(RUN) watch

train: .venv/ready-test ## a chapter's end-to-end programs, or one (TOPIC=2, ONLY=train_line, ARGS="--epochs 5" or --record; IMPL=workspace: on your own chapters)
	@$(RUN) train $(topic) $(only) $(impl) -- $(ARGS)

serve: .venv/ready-test ## a chapter's server on this machine, until Ctrl-C (TOPIC=31, ARGS="--port 8031")
	@$(RUN) serve $(topic) -- $(ARGS)

notebook: .venv/ready-book ## a chapter as a notebook, to run elsewhere (TOPIC=27)
	@$(RUN) notebook $(topic)

verify-setup: ## what is installed, what is missing, and the command that installs it
	@if $(PY) -c "" 2>/dev/null; then $(RUN) verify-setup; else $(PYTHON) -m scripts verify-setup; fi

# -- writing

tangle: .venv/ready-test ## chapters -> tangled/
	@$(RUN) tangle $(ARGS)

stitch: .venv/ready-test ## hand edits in tangled/ -> back into the chapters
	@$(RUN) stitch $(ARGS)

preview: .venv/ready-book ## live HTML while writing (TOPIC=27)
	@$(RUN) preview $(topic) $(ARGS)

check: .venv/ready-test .venv/ready-book .venv/ready-reference ## every gate; needs PyTorch, as golden does
	@$(RUN) check $(topic) $(ARGS)

golden: .venv/ready-test .venv/ready-reference ## regenerate the reference outputs with PyTorch (TOPIC=27)
	@$(RUN) golden $(topic) $(ARGS)

bench: .venv/ready-test ## measure the four levels, beside the record (TOPIC=27, ONLY=, ARGS=--record renews it)
	@$(RUN) bench $(topic) $(only) $(ARGS)

# -- set-up

setup: .venv/ready-test .venv/ready-book .venv/ready-review .venv/ready-reference .venv/ready-mpi ## everything at once, PyTorch and MPI included; no other verb needs it

lock: .venv/ready-test .venv/ready-book .venv/ready-review .venv/ready-reference .venv/ready-mpi ## requirements.lock from what is installed
	@$(PY) scripts/requirements.py lock

clean: ## remove what can be made again; keeps workspace/, checkpoints/ and .venv/
	rm -rf _book build .cache .pytest_cache .ruff_cache .hypothesis .coverage
	find scripts tests tangled -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) scripts/bootstrap.py --venv

.venv/ready-core .venv/ready-test .venv/ready-book .venv/ready-review .venv/ready-reference .venv/ready-mpi: .venv/ready-%: \
		.venv/bin/python pyproject.toml requirements.lock
	@$(PYTHON) scripts/bootstrap.py $*
