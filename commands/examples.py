"""One example of each command, as ``--help`` shows it after the program's name."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "init": "init --from ../my-lambda",
    "up": "up --environment prod --target aws",
    "infra": "infra --environment test",
    "build": "build --output build/images",
    "plan": "plan --environment prod --target aws",
    "releases": "releases --json",
    "rollback": "rollback --to 3",
    "promote": "promote dev prod --release 3 --target aws",
    "prune": "prune --keep 10 --dry-run",
    "rehearse": "rehearse transactions.csv --out rehearsal.html",
    "submit": "submit --file transactions.csv",
    "redrive": "redrive --dry-run",
    "explain": "explain test-123 --svg path.svg",
    "cost": "cost --transactions 5000000",
    "status": "status --environment prod --target aws",
    "console": "console --no-browser",
    "credentials": "credentials --region eu-west-1",
    "doctor": "doctor --policy up",
    "synth": "synth --target aws --out build/templates",
    "check": "check public.ecr.aws/lambda/python:3.13 oci:build/images",
    "rules": "rules",
    "verify": "verify public.ecr.aws/lambda/python:3.13 --key key.pem",
    "why-changed": "why-changed 3 built",
    "verify-workflow": "verify-workflow machine.asl.json --faults 1",
    "down": "down --environment test",
    "watch": "watch --json",
    "serve": "serve --port 8000",
    "logs": "logs --follow --since 1h",
    "invoke": "invoke fraud-detection --event sqs",
    "completion": "completion bash",
}
