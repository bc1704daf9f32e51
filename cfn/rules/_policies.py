"""What a role in a template is allowed, with three values: yes, no, or unknown from the template.

Generated names are compared as atoms: ``${Table.Arn}`` differs from ``${Other.Arn}``, but a literal pattern may match a
generated name, so the result is then "perhaps" and rules report nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from ._template import Resource, View, as_list, is_known, text

# Actions of AWS-managed policies (AWS managed policy reference); with any other the permissions of a role are unknown.
_MANAGED: dict[str, tuple[str, ...]] = {
    "service-role/AWSLambdaBasicExecutionRole": ("logs:*",),
    "service-role/AWSLambdaVPCAccessExecutionRole": ("logs:*", "ec2:*NetworkInterface*", "ec2:DescribeSubnets"),
    "service-role/AWSLambdaSQSQueueExecutionRole": (
        "logs:*",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
    ),
    "service-role/AWSLambdaRole": ("lambda:InvokeFunction",),
    "AWSXRayDaemonWriteAccess": ("xray:*",),
    "CloudWatchLogsFullAccess": ("logs:*", "cloudwatch:GenerateQuery"),
    "AmazonDynamoDBFullAccess": ("dynamodb:*",),
    "AmazonDynamoDBReadOnlyAccess": ("dynamodb:Get*", "dynamodb:Query", "dynamodb:Scan", "dynamodb:BatchGetItem"),
    "AmazonSNSFullAccess": ("sns:*",),
    "AmazonSQSFullAccess": ("sqs:*",),
    "AmazonS3FullAccess": ("s3:*",),
    "AmazonS3ReadOnlyAccess": ("s3:Get*", "s3:List*"),
    "AWSStepFunctionsFullAccess": ("states:*",),
    "AWSLambda_FullAccess": ("lambda:*", "states:*", "logs:*", "cloudwatch:*"),
}

# (service, ARN part before the name, property that holds the name)
_ARNS: dict[str, tuple[str, str, str]] = {
    "AWS::Lambda::Function": ("lambda", "function:", "FunctionName"),
    "AWS::Serverless::Function": ("lambda", "function:", "FunctionName"),
    "AWS::DynamoDB::Table": ("dynamodb", "table/", "TableName"),
    "AWS::DynamoDB::GlobalTable": ("dynamodb", "table/", "TableName"),
    "AWS::Serverless::SimpleTable": ("dynamodb", "table/", "TableName"),
    "AWS::SNS::Topic": ("sns", "", "TopicName"),
    "AWS::SQS::Queue": ("sqs", "", "QueueName"),
    "AWS::StepFunctions::StateMachine": ("states", "stateMachine:", "StateMachineName"),
    "AWS::Serverless::StateMachine": ("states", "stateMachine:", "Name"),
}
_QUALIFIED = ("AWS::Lambda::Alias", "AWS::Lambda::Version")


class Verdict(Enum):
    YES = "yes"
    NO = "no"
    PERHAPS = "perhaps"


@dataclass(frozen=True)
class Statement:
    """An Allow statement. open_ended: it uses NotAction or NotResource, so it allows more than it lists."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    open_ended: bool = False


@dataclass(frozen=True)
class Grants:
    """Everything that a role is allowed. complete: the template contains every policy of the role."""

    statements: tuple[Statement, ...]
    complete: bool

    def allows(self, view: View, action: str, resource: str | None) -> Verdict:
        for statement in self.statements:
            by_action = any(action_matches(pattern, action) for pattern in statement.actions)
            by_resource = resource is None or any(may_be_same(view, p, resource) for p in statement.resources)
            if by_action and by_resource:
                return Verdict.YES
            if statement.open_ended:
                return Verdict.PERHAPS
        return Verdict.NO if self.complete else Verdict.PERHAPS


def read_statements(document: Any) -> tuple[Statement, ...]:
    """The Allow statements of a policy document; an unreadable statement counts as open-ended."""
    if not isinstance(document, dict):
        return (Statement((), (), open_ended=True),) if document is not None else ()
    found = []
    for statement in as_list(document.get("Statement")):
        if not isinstance(statement, dict):
            found.append(Statement((), (), open_ended=True))
        elif text(statement.get("Effect")) == "Allow":
            actions = tuple(text(a) for a in as_list(statement.get("Action")))
            unknown = any(not is_known(action) or not action for action in actions)
            open_ended = "NotAction" in statement or "NotResource" in statement or unknown
            resources = tuple(text(r) or "*" for r in as_list(statement.get("Resource")))
            found.append(Statement(actions, resources, open_ended))
        elif text(statement.get("Effect")) != "Deny":
            found.append(Statement((), (), open_ended=True))
    return tuple(found)


def role_of(view: View, value: Any) -> Resource | None:
    """The role in the template that ``Role`` or ``RoleArn`` refers to, by reference or by name."""
    found = view.target(value, "AWS::IAM::Role")
    if found or not isinstance(value, str):
        return found
    name = value.rpartition("/")[2]
    return view.named(name, "RoleName", "AWS::IAM::Role") if ":role/" in value else None


def grants_of(view: View, role: Resource) -> Grants:
    """What the template grants a role: inline, by managed policies, and by policies that refer to the role."""
    statements: list[Statement] = []
    complete = view.is_complete
    for policy in as_list(role.get("Policies")):
        statements += read_statements(policy.get("PolicyDocument") if isinstance(policy, dict) else policy)
    for arn in as_list(role.get("ManagedPolicyArns")):
        granted = _managed_statements(view, arn)
        complete = complete and granted is not None
        statements += granted or ()
    for policy in view.resources("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"):
        named = policy.get("RoleName") if policy.type == "AWS::IAM::RolePolicy" else policy.get("Roles")
        for name in as_list(named):
            if view.named(name, "RoleName", "AWS::IAM::Role") == role:
                statements += read_statements(policy.get("PolicyDocument"))
            elif not is_known(name) and view.target(name) is None:
                complete = False  # a parameter or an import, which may be this role
    # The transform of a connector adds policies.
    if view.resources("AWS::Serverless::Connector") or any("Connectors" in r.raw for r in view.all.values()):
        complete = False
    return Grants(tuple(statements), complete)


def _managed_statements(view: View, arn: Any) -> tuple[Statement, ...] | None:
    local = view.target(arn, "AWS::IAM::ManagedPolicy")
    if local:
        return read_statements(local.get("PolicyDocument"))
    name = text(arn).partition(":policy/")[2]
    actions = _MANAGED.get(name)
    return (Statement(actions, ("*",)),) if actions else None


def action_matches(pattern: str, action: str) -> bool:
    return re.fullmatch(_glob(pattern.lower()), action.lower()) is not None


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)


def arn_of(view: View, resource: Resource) -> str | None:
    """The ARN of a resource, with a token for a generated name."""
    if resource.type in _QUALIFIED:
        owner = view.named(resource.get("FunctionName"), "FunctionName", *list(_ARNS)[:2])
        return f"{arn_of(view, owner)}:*" if owner else None
    known = _ARNS.get(resource.type)
    if not known:
        return None
    service, before, name_property = known
    name = text(resource.get(name_property)) or "${" + resource.id + "}"
    return arn(service, before + name)


def arn(service: str, rest: str) -> str:
    """An ARN in this account and region: ``arn("sqs", "jobs")``."""
    return f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}"


def may_be_same(view: View, pattern: str, resource: str) -> bool:
    """Whether an IAM resource pattern may match a resource; False only if it certainly does not."""
    return pattern == "*" or _overlap(tuple(_symbols(view, pattern)), tuple(_symbols(view, resource)))


_PIECE = re.compile(r"\$\{([^}]*)\}|(.)", re.DOTALL)
_ANY = "*"
_FIELD = "\0"  # anything within one field of an ARN: the account, the region, the partition
_NAME_ATTRIBUTES = frozenset({"", "QueueName", "TopicName", "Name"})
_REF_IS_ARN = frozenset({"AWS::SNS::Topic", "AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine"})


def _symbols(view: View, written: str, expand: bool = True) -> Iterator[str]:
    """Yield characters, wildcards, and ``<Id>`` for the generated name of a resource."""
    for match in _PIECE.finditer(written):
        name, char = match.groups()
        if name is None:
            yield _ANY if char in "*?" else char.lower()
        elif name.startswith("AWS::"):
            yield _FIELD
        elif expand:
            yield from _token_symbols(view, name)
        else:
            yield f"<{name}>"


def _token_symbols(view: View, name: str) -> Iterator[str]:
    base, _, attribute = name.partition(".")
    resource = view.all.get(base)
    if resource is None or resource.type not in {*_ARNS, *_QUALIFIED}:
        yield _ANY  # a parameter, an import, or a type whose names are not modelled
        return
    is_arn = attribute.endswith("Arn") or (not attribute and resource.type in {*_REF_IS_ARN, *_QUALIFIED})
    known = arn_of(view, resource) if is_arn else None
    if known:
        yield from _symbols(view, known, expand=False)
    elif attribute in _NAME_ATTRIBUTES and not is_arn:
        written = text(resource.get(_ARNS[resource.type][2])) if resource.type in _ARNS else ""
        yield from _symbols(view, written or "${" + base + "}", expand=False)
    else:
        yield _ANY


def _is_name(symbol: str) -> bool:
    return len(symbol) > 1


def _overlap(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether any text matches both patterns.

    A generated name equals only itself. It ends in random characters, so literal text never matches it, but literal
    text with a ``*`` may.
    """
    rows, columns = len(left) + 1, len(right) + 1
    reached = [[False] * columns for _ in range(rows)]
    # How far the other side covers a generated name: 1 with characters only, 2 with a "*" among them.
    by_left = [[0] * columns for _ in range(rows)]
    by_right = [[0] * columns for _ in range(rows)]
    reached[0][0] = True
    for i in range(rows):
        for j in range(columns):
            if i and left[i - 1] in (_ANY, _FIELD):
                reached[i][j] |= reached[i - 1][j] or bool(
                    j and reached[i][j - 1] and _takes(left[i - 1], right[j - 1])
                )
            if j and right[j - 1] in (_ANY, _FIELD):
                reached[i][j] |= reached[i][j - 1] or bool(
                    i and reached[i - 1][j] and _takes(right[j - 1], left[i - 1])
                )
            if i and j:
                one, other = left[i - 1], right[j - 1]
                before = reached[i - 1][j - 1]
                by_left[i][j] = _covered(one, other, before, by_left[i][j - 1])
                by_right[i][j] = _covered(other, one, before, by_right[i - 1][j])
                reached[i][j] |= (one == other and before) or 2 in (by_left[i][j], by_right[i][j])
    return reached[-1][-1]


def _takes(wildcard: str, symbol: str) -> bool:
    return wildcard == _ANY or symbol not in (":", _ANY)


def _covered(name: str, symbol: str, begins: bool, so_far: int) -> int:
    if not _is_name(name) or _is_name(symbol) or symbol in ":/" or not (begins or so_far):
        return 0
    return 2 if symbol in (_ANY, _FIELD) else max(so_far, 1)
