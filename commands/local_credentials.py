"""Access to the embedded AWS for other tools: its endpoint and root access key."""

from __future__ import annotations

import shlex

from commands.context import Context, Outcome
from commands.declared import command
from pipeline.core.errors import CredentialsError

# Variables that take precedence over the printed ones.
_OVERRIDING = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


@command("Print credentials for other tools.")
def credentials(context: Context) -> Outcome:
    """Print the endpoint and access key of the embedded AWS, for the AWS CLI and other tools.

    In a shell: eval "$(./bootstrap.py credentials)"
    """
    if context.target_name != "local":
        raise CredentialsError(
            "no credentials were printed",
            "this program knows only the credentials of the embedded AWS",
            "For AWS use the AWS CLI: aws configure export-credentials --format env",
        )
    local = context.running_local()
    region = context.chosen_region or local.region
    variables = {
        "AWS_ACCESS_KEY_ID": local.access_key_id,
        "AWS_SECRET_ACCESS_KEY": local.secret_access_key,
        "AWS_ENDPOINT_URL": local.endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return Outcome(variables, "\n".join([*lines, f"unset {' '.join(_OVERRIDING)}"]))
