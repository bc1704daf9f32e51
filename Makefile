# The two commands are `make up` and `make test`; each works first, alone, from a clean clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.locked
AUDIT  := .venv-audit
WORKERS ?= 2
# If it is set, every process compiles all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help up down compose-context compose-up compose-down test aws-smoke bench check audit fmt lock docs clean

help:
	@echo "make up      start the embedded AWS and deploy the whole pipeline on it"
	@echo "make test    run the tests"
	@echo "make bench   measure, against SAM CLI too"
	@echo "make aws-smoke ACCOUNT=...   try everything on a real account"
	@echo "make check   lint, types, templates"
	@echo "make audit   checkov on the templates, pip-audit on the locks"
	@echo "make down    stop and remove everything that make up made"

up: $(STAMP)
	$(BIN)/python bootstrap.py up

down: $(STAMP)
	$(BIN)/python bootstrap.py down

# The same pipeline under docker compose; see docs/containers.md.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

compose-context: $(STAMP)
	$(BIN)/python -m pipeline.local.containers.compose_context

compose-up: compose-context
	$(COMPOSE) up --build --detach
	@test "$$(docker wait $$($(COMPOSE) ps --all --quiet deploy))" = 0 || { $(COMPOSE) logs deploy; exit 1; }
	@echo "Both stacks stand. Next:"
	@echo "  TRANSACTION_PIPELINE_ENDPOINT=http://127.0.0.1:$${AWS_PORT:-$$(sed -n 's/^AWS_PORT=//p' .env)} ./bootstrap.py submit '{…}'"

compose-down:
	$(COMPOSE) $(if $(wildcard .env),,--env-file .env.example) down --volumes --remove-orphans

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests

# The whole road on a real account, which costs money; without ACCOUNT it says how much.
aws-smoke: $(STAMP)
	$(BIN)/python -m tests.aws.smoke --account "$(ACCOUNT)" $(if $(REGION),--region "$(REGION)")

# Measured against other tools in the same run; ARGS="against_sam --rounds 5" runs one with options.
bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python bootstrap.py synth --target aws --out build/templates >/dev/null
	$(BIN)/cfn-lint --append-rules cfn/rules -- build/templates/registry.json build/templates/pipeline.json

# Tools that look at the project from outside have an environment of their own: they pin half of the world.
audit: $(STAMP) $(AUDIT)/.locked
	$(BIN)/python -m audit $(AUDIT)/bin

$(AUDIT)/.locked: requirements-audit.lock | $(STAMP)
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(AUDIT)/bin/python requirements-audit.lock
	@touch $@

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One environment, exactly what the lock says: every file is held against its hash.
$(STAMP): requirements.lock requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is too old: Python 3.11 or newer is needed. Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: no virtual environment could be made. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

# Renew the locks; UPGRADE=--upgrade moves versions.
lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra console --extra local --extra test $(UPGRADE) pyproject.toml -o requirements.lock
	grep -oE '^uv==[0-9.]+' requirements.lock | $(BIN)/uv pip compile --quiet --universal --generate-hashes \
		--no-emit-index-url --no-header - -o requirements-uv.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		$(UPGRADE) requirements-audit.in -o requirements-audit.lock
	for each in images/*/requirements.in pipeline/assembly/dependencies/runtime-requirements.in pipeline/environment/starter-requirements.in \
			tests/packages/*/requirements.in tests/projects/*/images/*/requirements.in; do \
		cd "$(CURDIR)/$$(dirname $$each)" && name=$$(basename $$each .in) && "$(CURDIR)/$(BIN)/uv" pip compile --quiet --universal \
			--generate-hashes --no-emit-index-url --no-header --python-version 3.11 $(UPGRADE) $$name.in -o $$name.txt || exit 1; done

# What the documentation shows of the program and of the embedded AWS, made from them.
docs: $(STAMP)
	$(BIN)/python -m commands.pictures
	$(BIN)/python -m pipeline.assembly.manifest >docs/function.schema.json
	$(BIN)/python -m pipeline.environment.workflow_file >docs/workflow.schema.json
	$(BIN)/python -m tests.recorded.differences
	$(BIN)/python -m tests.aws.beliefs
	$(BIN)/python -m tests.functional.console.screenshots
	$(BIN)/python -m tests.functional.recording

clean: down
	rm -rf $(VENV) $(AUDIT) .local
