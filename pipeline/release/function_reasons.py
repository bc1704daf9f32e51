"""Why Lambda could not make a function ready, in words, with what to do. Pure.

The codes are those of ``LastUpdateStatusReasonCode`` and ``StateReasonCode`` (API_FunctionConfiguration).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import NextStep


def _after(what: str) -> NextStep:
    return NextStep(f"{what}, then release again", ("up",))


_BUILD = NextStep("Correct the function, then release again", ("up",))
_PUSH = NextStep("Release again, which pushes the image if it is gone", ("up",))
_ROLE = NextStep("Restore what was changed outside of the stack", ("up", "--revert-drift"))
_WAIT = NextStep("Wait a few minutes, then release again", ("up",))

REASONS: Mapping[str, tuple[str, NextStep]] = {
    "FunctionError": ("its code failed while Lambda initialised it", _BUILD),
    "FunctionError.InitTimeout": ("its modules did not load within the time for initialisation", _BUILD),
    "FunctionError.RuntimeInitError": ("its runtime, or the import of its handler, failed", _BUILD),
    "FunctionError.ExtensionInitError": ("an extension in the image failed to start", _BUILD),
    "FunctionError.InvalidEntryPoint": ("the entry point of the image does not exist or cannot be run", _BUILD),
    "FunctionError.InvalidWorkingDirectory": ("the working directory of the image does not exist", _BUILD),
    "FunctionError.PermissionDenied": ("Lambda's user may not read or run a file of the image", _BUILD),
    "FunctionError.TooManyExtensions": ("the image has more extensions than Lambda runs", _BUILD),
    "FunctionError.InitResourceExhausted": ("it used up memory or disk while it was initialised", _BUILD),
    "ImageDeleted": ("its image was deleted from the repository", _PUSH),
    "ImageAccessDenied": ("Lambda may not pull its image: the policy of the repository does not allow it", _ROLE),
    "InvalidImage": ("Lambda does not accept its image", NextStep("See what breaks Lambda's rules", ("check",))),
    "InsufficientRolePermissions": ("its role lacks a permission that Lambda needs", _ROLE),
    "KMSKeyAccessDenied": ("Lambda may not use the key of its variables or image", _ROLE),
    "DisabledKMSKey": ("the key of its variables or image is disabled", _after("Enable the key")),
    "EniLimitExceeded": ("the account has no more network interfaces", _after("Request a higher quota")),
    "SubnetOutOfIPAddresses": ("its subnets have no free addresses", _after("Use larger subnets")),
    "InvalidSubnet": ("a subnet of it does not exist or cannot be used", _ROLE),
    "InvalidSecurityGroup": ("a security group of it does not exist", _ROLE),
    "InternalError": ("Lambda had an internal error", _WAIT),
    "InsufficientCapacity": ("Lambda has no capacity for it at the moment", _WAIT),
    "DependencyError": ("a service that Lambda depends on failed", _WAIT),
}  # fmt: skip


def explain_failure(configuration: Mapping[str, Any]) -> tuple[str, NextStep]:
    """Why a function is Failed, or its last update, in words and as Lambda says it; and what to do.

    >>> explain_failure({"LastUpdateStatus": "Failed", "LastUpdateStatusReasonCode": "ImageDeleted"})[0]
    'its image was deleted from the repository (ImageDeleted)'
    """
    kind = "LastUpdateStatus" if configuration.get("LastUpdateStatus") == "Failed" else "State"
    code, said = configuration.get(f"{kind}ReasonCode"), configuration.get(f"{kind}Reason")
    words, next_step = REASONS.get(str(code), ("", _PUSH))
    lambdas = ": ".join(str(each) for each in (code, said) if each)
    if not words:
        return f"Lambda reports: {lambdas or 'no reason'}", next_step
    return f"{words} ({lambdas})", next_step
