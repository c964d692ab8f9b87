# Every verb of the book, as `make VERB TOPIC=27 …`. Each sets up what it needs by itself: Python >= 3.10 and make are
# enough to begin with. `make help` lists them. Verbs and variables are handed on to `python -m scripts VERB TOPIC=27`,
# which can be called without make as well; scripts/verbs.py is the list of them and the only place that knows one.

PYTHON ?= python3
PY     := .venv/$(if $(filter Windows_NT,$(OS)),Scripts/python.exe,bin/python)

# The variables of the command line, each as one word for the shell
space  := $(subst ,, )
names   = $(foreach word,$(subst \$(space),_,$(MAKEOVERRIDES)),$(firstword $(subst =, ,$(word))))
quote   = '$(subst ','\'',$(1))'
given   = $(foreach name,$(filter-out PYTHON PY,$(names)),$(call quote,$(name)=$($(name))))

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: FORCE
Makefile: ;

%: FORCE
	@BOOK_GOALS=$(call quote,$(MAKECMDGOALS)) $(if $(wildcard $(PY)),$(PY),$(PYTHON)) -m scripts $@ $(given)
