# Each target is one line that calls cargo, or a task of xtask. `make help` lists them.
CARGO ?= cargo
export CARGO_BUILD_JOBS ?= 2

.PHONY: help demo test lint fmt coverage fuzz chaos bench crds reasons docs e2e lab lab-demo lab-down lab-status lab-diagnose

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job on a light control plane, in this terminal: no root, no cluster needed
	@$(CARGO) run --package xtask -- demo

test: ## unit and property tests, and behaviour tests against a real API server
	@$(CARGO) xtask test

lint: ## formatting, clippy, documentation, dependencies
	@$(CARGO) xtask lint

fmt: ## format all code
	@$(CARGO) fmt --all

coverage: ## line coverage of core, units and api; fails below 85 %
	@$(CARGO) xtask coverage

fuzz: ## looks for inputs that break what must always hold; SECONDS=60 for each target, TARGET=schedule for one, SEED=1 to repeat
	@$(CARGO) xtask fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(TARGET)

chaos: ## kills, lost answers, errors and cut watches at single requests; RUNS=1000, SEED=1 for the same runs again, AT_A_TIME=16, MINUTES=160 at most (PARTIAL=1: fewer runs will do then)
	@$(CARGO) xtask chaos $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED)) $(if $(AT_A_TIME),--at-a-time $(AT_A_TIME)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PARTIAL),--partial)

bench: ## decisions a second, the manager's memory, CPU and API requests with simulated fleets
	@$(CARGO) xtask bench

crds: ## write deploy/crds from the types
	@$(CARGO) xtask crdgen

reasons: ## write docs/reasons.md: every reason, what it means and what to do
	@$(CARGO) xtask reasons

docs: ## the API documentation of all crates
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

lab: ## a real Kubernetes with CloudNativePG and PostgreSQL on this machine (root); NODES=2 for two nodes
	@$(CARGO) xtask lab up --nodes $(or $(NODES),1)

lab-down: ## stop the lab and leave nothing behind
	@$(CARGO) xtask lab down

lab-status: ## what runs in the lab
	@$(CARGO) xtask lab status

lab-diagnose: ## what is wrong in the lab
	@$(CARGO) xtask lab diagnose

lab-demo: ## the main job on the lab, with real PostgreSQL
	@$(CARGO) xtask lab-demo

e2e: ## tests on the lab; FOCUS=C02 for some, SUITE=smoke for the most telling, or lab, manager, resize, target, operations, instances, rescue, wal, relief; FAILFAST=1, FRESH=1 to repeat passed ones
	@$(CARGO) xtask e2e
