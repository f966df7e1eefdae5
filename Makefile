# Every target does all its own set-up: it needs Python 3.11 or later, git and make.

VENV := .venv
BIN := $(VENV)/bin
# The outcome of each test, which the last line of `make test` counts.
RESULTS := .results
# The tool that writes the locks; no other environment has it.
UV := uv==0.13.9

# No target is made by a rule that make itself has: the launcher in sh would be made from that in C.
MAKEFLAGS += --no-builtin-rules

export PYTHON
# Python keeps what it has compiled, or each of the many interpreters would compile it again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: system $(VENV)/run.stamp ## plays the Kubernetes integration flow in throwaway namespaces
	@$(BIN)/python -m examples.integration_flow

.PHONY: test
test: lint test-unit test-netns ## lint, unit and kernel tests, and the examples of the documentation
	@$(BIN)/python -m tests.summary $(RESULTS)/unit.xml $(RESULTS)/netns.xml

# What `make test` leaves to `make test-all`.
SELECTED := -m "not thorough"
# How hard Hypothesis tries; see tests/profiles.py.
PROFILE = $(or $(HYPOTHESIS_PROFILE),brief)
COVERAGE :=

.PHONY: test-all
test-all: SELECTED :=
test-all: PROFILE = $(or $(HYPOTHESIS_PROFILE),default)
test-all: COVERAGE := --cov=amdcni.core --cov-branch --cov-fail-under=100 \
  --cov-report=term-missing:skip-covered
test-all: lint $(VENV)/dist.stamp ## everything that must hold: thorough tests, coverage, documentation, hardware, container runtime
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line SELECTED= PROFILE=$(PROFILE) \
	  COVERAGE="$(COVERAGE)" test-systems test-all-but-systems
	@$(BIN)/python -m tests.summary $(RESULTS)/unit.xml $(RESULTS)/netns.xml $(RESULTS)/vm.xml \
	  $(RESULTS)/runtime.xml $(RESULTS)/site.xml

# The virtual machine takes one processor for most of the time, a container runtime waits for most of
# it, and the others take what is left.
.PHONY: test-systems
test-systems:
	@$(MAKE) --no-print-directory test-vm
	@$(MAKE) --no-print-directory test-runtime

.PHONY: test-all-but-systems
test-all-but-systems:
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-netns
	@$(MAKE) --no-print-directory test-site

# The examples of a page build on one another, and a process evaluates those before its own.  They
# come first, because worksteal never moves what comes first to another process.
.PHONY: test-unit
test-unit: system tools $(VENV)/dev.stamp launcher ## the unit tests alone, and the examples of the documentation
	HYPOTHESIS_PROFILE=$(PROFILE) $(BIN)/pytest docs README.md amdcni amdcni_shim tests/unit \
	  --numprocesses=auto --dist=worksteal $(SELECTED) $(COVERAGE) --junit-xml=$(RESULTS)/unit.xml

.PHONY: test-netns
test-netns: system tools $(VENV)/dev.stamp launcher ## the kernel tests alone, in throwaway namespaces
	HYPOTHESIS_PROFILE=$(PROFILE) $(BIN)/pytest tests/netns --numprocesses=auto --dist=worksteal \
	  $(SELECTED) --junit-xml=$(RESULTS)/netns.xml

.PHONY: test-vm
test-vm: system $(VENV)/dev.stamp ## the hardware tests alone, in a virtual machine with PCI NICs
	$(BIN)/pytest tests/vm --junit-xml=$(RESULTS)/vm.xml

# Most of the time, containerd and the plugins of a node wait for one another.
.PHONY: test-runtime
test-runtime: system $(VENV)/dev.stamp launcher ## the tests with a real container runtime alone, in throwaway namespaces
	$(BIN)/pytest tests/runtime --numprocesses=2 --dist=worksteal --junit-xml=$(RESULTS)/runtime.xml

# It builds what has changed, by the command of `make docs`.
.PHONY: test-site
test-site: $(VENV)/dev.stamp ## the tests of the built documentation alone, with a real browser
	$(BIN)/pytest tests/site --junit-xml=$(RESULTS)/site.xml

# How long the targets below run.
MINUTES := 10

.PHONY: fuzz
fuzz: system $(VENV)/dev.stamp ## plays calls and accidents in any order for MINUTES=10, or repeats SEED
	$(BIN)/python -m tests.netns.fuzz $(MINUTES) $(SEED)

.PHONY: fuzz-edge
fuzz-edge: system $(VENV)/fuzz.stamp ## fuzzes the executable in a cage, led by coverage, for MINUTES=10
	@$(BIN)/python -m tests.fuzz $(MINUTES)

.PHONY: fuzz-launcher
fuzz-launcher: ## fuzzes the static launcher, led by coverage, for MINUTES=10
	@scripts/setup.sh fuzz-launcher
	@scripts/fuzz-launcher.sh $(MINUTES)

.PHONY: mutants
mutants: system $(VENV)/mutants.stamp ## puts faults into the core, or ONLY=amdcni.core.cache, or SAMPLE=1000 of them, and counts those that no test notices
	@$(BIN)/python -m tests.mutants $(ONLY) $(SAMPLE:%=--sample %) $(SEED:%=--seed %)

.PHONY: lint
lint: $(VENV)/dev.stamp ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/dev.stamp ## the documentation, as docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -n docs docs/_build/html

.PHONY: screens
screens: system docs ## what each command shows at 80 columns, and the main pages, as pictures in .screens
	$(BIN)/python -m scripts.screens --commands .screens
	$(BIN)/python -m scripts.screens --pages .screens
	$(BIN)/python -m scripts.screens --demo docs/_static/demo.html

# A release is made into this folder.
DIST := dist
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' amdcni/__init__.py)

# Its parts, each made by a target dist-PART.
PARTS := python man launcher sbom
# What is built from Debian's packages can be built only there.
PARTS += $(if $(wildcard /usr/bin/dpkg-deb),tree image)

# All files have the time of the commit, so that they are the same whenever and wherever they are made.
# What is unpacked from an sdist has that time.
dist-%: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y PKG-INFO)

.PHONY: dist
dist: $(PARTS:%=dist-%) ## the files of a release with their hashes, in dist/
	@rm -rf $(DIST)/tree
	@cd $(DIST) && sums=$$(sha256sum -- *) && echo "$$sums" | tee SHA256SUMS

.PHONY: dist-empty
dist-empty:
	@! git status --porcelain 2>/dev/null | grep -q . || echo "dist: there are uncommitted changes" >&2
	rm -rf $(DIST)
	mkdir -p $(DIST)

# The wheel is made from the sdist, which shows that nothing is missing there.
.PHONY: dist-python
dist-python: dist-empty $(VENV)/dist.stamp
	$(BIN)/python -m build --no-isolation --outdir $(DIST) .
	$(BIN)/twine check --strict $(DIST)/amdcni-$(VERSION)-py3-none-any.whl $(DIST)/amdcni-$(VERSION).tar.gz

.PHONY: dist-man
dist-man: dist-empty
	tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
	  --mtime=@$$SOURCE_DATE_EPOCH -cf - -C man . | gzip -9n >$(DIST)/amdcni-$(VERSION)-man.tar.gz

.PHONY: dist-launcher
dist-launcher: dist-empty
	@scripts/setup.sh launcher
	scripts/build-launcher.sh $(abspath $(DIST))/amd-host-device-static-$(VERSION)-$$(uname -m)

# The tree itself is in the way of the sums; `make tree` makes it again.
.PHONY: dist-tree
dist-tree: dist-empty $(VENV)/run.stamp
	@scripts/setup.sh launcher
	$(BIN)/python -m distribution tree $(DIST)/tree
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$$SOURCE_DATE_EPOCH \
	  -cf - -C $(DIST) tree | gzip -9n >$(DIST)/amdcni-$(VERSION)-tree-$$(uname -m).tar.gz

.PHONY: dist-image
dist-image: dist-tree
	$(BIN)/python -m distribution image $(DIST)/tree $(abspath $(DIST))/amdcni-$(VERSION).oci.tar

.PHONY: dist-sbom
dist-sbom: dist-launcher $(filter dist-tree,$(PARTS:%=dist-%)) $(VENV)/dist.stamp
	$(BIN)/python -m scripts.sbom $(DIST)/amdcni-$(VERSION).cdx.json \
	  $(if $(filter tree,$(PARTS)),$(DIST)/tree/share/licenses/PACKAGES)

.PHONY: man
man: $(VENV)/run.stamp ## the man pages, as man/, which belong into the repository
	$(BIN)/python -m scripts.man_pages man

.PHONY: changelog
changelog: $(VENV)/dev.stamp ## moves the fragments into the changelog, as this version's section
	$(BIN)/towncrier build --yes

.PHONY: manifests
manifests: $(VENV)/run.stamp ## renders deploy/kubernetes anew, each file by the command in its first line
	@for file in deploy/kubernetes/*.yaml; do \
	  command=$$(sed -n '1s/^# amdcni //p' "$$file") && $(BIN)/amdcni $$command >"$$file.new" && \
	  mv "$$file.new" "$$file" || exit 1; \
	done

.PHONY: bench
bench: system launcher tree ## times of start-up and whole processes, beside those of plain host-device
	@$(BIN)/python -m benchmarks

# How large the launcher may be if musl is its library.
LAUNCHER_MAX_BYTES := 24576

.PHONY: launcher
launcher: $(VENV)/run.stamp ## the static launcher, as .venv/bin/amd-host-device-static
	@scripts/setup.sh launcher
	@scripts/build-launcher.sh $(BIN)/amd-host-device-static
	@! command -v musl-gcc >/dev/null || \
	  [ $$(wc -c <$(BIN)/amd-host-device-static) -le $(LAUNCHER_MAX_BYTES) ] || \
	  { echo "the static launcher has more than $(LAUNCHER_MAX_BYTES) bytes" >&2; exit 1; }
	@ls -l $(BIN)/amd-host-device-static

# Where the tree is built.
TREE := dist/tree

.PHONY: tree
tree: $(VENV)/run.stamp ## the self-contained tree for hosts without Python, as dist/tree or TREE=FOLDER
	@scripts/setup.sh launcher
	@$(BIN)/python -m distribution tree $(TREE)

.PHONY: image
image: tree ## the same tree as an OCI image, an archive in dist, without a container engine
	@$(BIN)/python -m distribution image $(TREE)

.PHONY: venv
venv: system $(VENV)/dev.stamp ## everything for development, in .venv

.PHONY: lock
lock: $(VENV)/run.stamp ## pins the newest versions of all dependencies in requirements/
	$(BIN)/python -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip -qq install $(UV)
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/run.txt \
	  pyproject.toml requirements/run.in
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/tree.txt \
	  --constraints requirements/run.txt pyproject.toml
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/dev.txt \
	  --constraints requirements/run.txt --extra testing \
	  pyproject.toml requirements/run.in requirements/dev.in
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/fuzz.txt \
	  --constraints requirements/run.txt \
	  pyproject.toml requirements/run.in requirements/fuzz.in
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/mutants.txt \
	  --constraints requirements/dev.txt --extra testing \
	  pyproject.toml requirements/run.in requirements/mutants.in
	$(VENV)/lock/bin/uv pip compile $(LOCK_OPTIONS) --output-file requirements/dist.txt \
	  --constraints requirements/dev.txt \
	  pyproject.toml requirements/run.in requirements/dist.in

# Resolved for the oldest supported Python; the result suits the newer ones too.
LOCK_OPTIONS := --quiet --upgrade --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
  --no-emit-find-links --python-version=3.11 --python-platform=linux

.PHONY: clean
clean: ## removes everything that the other targets made
	rm -rf $(VENV) $(RESULTS) .archives .browser .managers .promtool .runtime .screens .shells .vm .fuzz .tox mutants docs/_build dist .coverage* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: system tools
system tools:
	@scripts/setup.sh $@

PROJECT := pyproject.toml amdcni/__init__.py scripts/metadata_hook.py $(wildcard launchers/*) scripts/setup.sh

$(VENV)/run.stamp: requirements/run.txt $(PROJECT)
	@scripts/setup.sh venv run

$(VENV)/dev.stamp: requirements/dev.txt $(PROJECT)
	@scripts/setup.sh venv dev

$(VENV)/fuzz.stamp: requirements/fuzz.txt $(PROJECT)
	@scripts/setup.sh venv fuzz

$(VENV)/mutants.stamp: requirements/mutants.txt $(PROJECT)
	@scripts/setup.sh venv mutants

$(VENV)/dist.stamp: requirements/dist.txt $(PROJECT)
	@scripts/setup.sh venv dist
