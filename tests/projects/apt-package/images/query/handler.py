import json
import subprocess

FILTER = ".items | map(.price) | add"


def handle(event, context):
    done = subprocess.run(["jq", "--compact-output", FILTER], input=json.dumps(event), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
