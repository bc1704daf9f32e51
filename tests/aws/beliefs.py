"""What nothing but a real account can prove: each belief with one command that shows it, and the check of ``smoke``.

They are the last section of docs/aws-rules.md, which is made from here:

    .venv/bin/python -m tests.aws.beliefs
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from cfn.names import Names
from pipeline.target import Target


class Refuted(Exception):
    """AWS does something else; the text says what."""


@dataclass(frozen=True)
class Account:
    """The account of an environment. target: the environment's account and region."""

    target: Target
    names: Names

    def client(self, service: str) -> Any:
        return self.target.client(service)

    def stack_resource(self, logical_id: str) -> str:
        """The physical id of a resource of the pipeline stack."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=self.names.pipeline_stack, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def run_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Runs one state in an EXPRESS machine of its own with the environment's role: status, output, error."""
        states = self.client("stepfunctions")
        role = self.client("iam").get_role(RoleName=self.stack_resource("StateMachineRole"))["Role"]["Arn"]
        name = f"belief-{secrets.token_hex(3)}-{self.names.environment}"
        definition = {"QueryLanguage": "JSONata", "StartAt": "State", "States": {"State": state | {"End": True}}}
        machine = states.create_state_machine(
            name=name, type="EXPRESS", roleArn=role, definition=json.dumps(definition)
        )["stateMachineArn"]
        try:
            answer: dict[str, Any] = states.start_sync_execution(stateMachineArn=machine)
        finally:
            states.delete_state_machine(stateMachineArn=machine)
        return answer


@dataclass(frozen=True)
class Belief:
    """rule is the first cell of its row in docs/aws-rules.md; command is for a shell, with ENV for the environment.

    expected    what the command shows
    check       returns evidence, raises Refuted
    emulated    whether the embedded AWS can tell, too
    """

    rule: str
    command: str
    expected: str
    check: Callable[[Account], str]
    emulated: bool = True


def expect(what: str, found: Any, *expected: Any) -> str:
    if found not in expected:
        raise Refuted(f"{what} is {found!r}, not {' or '.join(map(repr, expected))}")
    return f"{what} is {found!r}"


def refusal(call: Callable[[], Any]) -> str:
    """The code of the refusal of a call; Refuted when it is not refused."""
    try:
        call()
    except ClientError as problem:
        return str(problem.response["Error"]["Code"])
    raise Refuted("the call was not refused")


def immutable_tag(account: Account) -> str:
    ecr, repository = account.client("ecr"), account.names.function("fraud-detection")
    tagged = ecr.list_images(repositoryName=repository, filter={"tagStatus": "TAGGED"})["imageIds"][0]
    image = ecr.batch_get_image(repositoryName=repository, imageIds=[tagged])["images"][0]
    code = refusal(
        lambda: ecr.put_image(
            repositoryName=repository,
            imageManifest=image["imageManifest"],
            imageManifestMediaType=image["imageManifestMediaType"],
            imageTag=tagged["imageTag"],
        )
    )
    return expect(
        "the code for the same digest and tag", code, "ImageTagAlreadyExistsException", "ImageAlreadyExistsException"
    )


def zones_supported(account: Account) -> str:
    function = account.client("lambda").get_function(FunctionName=account.names.function("fraud-detection"))
    expect("the state", function["Configuration"]["State"], "Active")
    own = [{"Name": "vpc-id", "Values": [account.stack_resource("Vpc")]}]
    subnets = account.client("ec2").describe_subnets(Filters=own)
    return f"active in {', '.join(sorted(each['AvailabilityZone'] for each in subnets['Subnets']))}"


def layers_accepted(account: Account) -> str:
    function = account.client("lambda").get_function(FunctionName=account.names.function("fraud-detection"))
    expect("the state", function["Configuration"]["State"], "Active")
    return expect("the last update", function["Configuration"].get("LastUpdateStatus", "Successful"), "Successful")


def failed_condition(account: Account) -> str:
    update = {
        "Type": "Task",
        "Arguments": {
            "TableName": account.names.table,
            "Key": {"transaction_id": {"S": "no-such-transaction"}},
            "UpdateExpression": "SET outcome = :o",
            "ConditionExpression": "attribute_exists(transaction_id)",
            "ExpressionAttributeValues": {":o": {"S": "none"}},
        },
    }
    for resource, error in (
        ("dynamodb:updateItem", "DynamoDB.ConditionalCheckFailedException"),
        ("aws-sdk:dynamodb:updateItem", "DynamoDb.ConditionalCheckFailedException"),
    ):
        found = account.run_state(update | {"Resource": f"arn:aws:states:::{resource}"})
        expect(f"the error of {resource}", found.get("error"), error)
    return "both spellings, one for each integration"


# Function of JSONata → an expression and its value; no recording has these functions.
EXPRESSIONS = {
    "contains": ("$contains('abc', 'b')", True),
    "count": ("$count([1, 2])", 2),
    "exists": ("$exists($states.input.none)", False),
    "filter": ("$filter([1, 2, 3], function($n) { $n > 1 })", [2, 3]),
    "floor": ("$floor(1.9)", 1),
    "fromMillis": ("$fromMillis(0)", "1970-01-01T00:00:00.000Z"),
    "hash": ("$hash('a', 'SHA-256')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    "join": ("$join(['a', 'b'], '-')", "a-b"),
    "keys": ("$keys({'a': 1, 'b': 2})", ["a", "b"]),
    "length": ("$length('abc')", 3),
    "lookup": ("$lookup({'a': 1}, 'a')", 1),
    "lowercase": ("$lowercase('AbC')", "abc"),
    "map": ("$map([1, 2], function($n) { $n * 2 })", [2, 4]),
    "match": ("$match('a1b22', /[0-9]+/).match", ["1", "22"]),
    "number": ("$number('1.5')", 1.5),
    "parse": ("$parse('[1]')", [1]),
    "replace": ("$replace('a-b-c', /-/, '')", "abc"),
    "reverse": ("$reverse([1, 2])", [2, 1]),
    "sort": ("$sort([2, 1])", [1, 2]),
    "split": ("$split('a-b', '-')", ["a", "b"]),
    "string": ("$string({'a': [1, null, 'x']})", '{"a":[1,null,"x"]}'),
    "substring": ("$substring('abc', 0, 2)", "ab"),
    "substringBefore": ("$substringBefore('a: b', ': ')", "a"),
    "toMillis": ("$toMillis('1970-01-01T00:00:00.000Z')", 0),
    "type": ("$type('a')", "string"),
}
# Their values differ from call to call, or they end the state.
UNPREDICTABLE = {
    "error": ("$error('no')", None),
    "millis": ("$millis() > 0", True),
}


def functions_of_jsonata(account: Account) -> str:
    expressions = EXPRESSIONS | {name: row for name, row in UNPREDICTABLE.items() if name != "error"}
    output = {name: "{% " + expression + " %}" for name, (expression, _) in expressions.items()}
    answer = account.run_state({"Type": "Pass", "Output": output})
    if answer["status"] != "SUCCEEDED":
        raise Refuted(f"{answer.get('error')}: {answer.get('cause')}")
    found = json.loads(answer["output"])
    wrong = {name: found.get(name) for name, (_, value) in expressions.items() if found.get(name) != value}
    if wrong:
        raise Refuted(f"other values: {json.dumps(wrong)}")
    return f"{len(expressions)} functions gave the expected values"


def raised_error(account: Account) -> str:
    """$error in a Task, where the definition uses it: an error that can be caught."""
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Arguments": {"QueueUrl": "{% $error('no claim') %}", "MessageBody": "x"},
    }
    return expect("the error", account.run_state(state).get("error"), "States.QueryEvaluationError")


def index_refused(account: Account) -> str:
    """Pushes an OCI index of the image that runs, asks for a function of it, and removes the index."""
    ecr, functions = account.client("ecr"), account.client("lambda")
    name = account.names.function("fraud-detection")
    running = functions.get_function(FunctionName=name)
    repository, _, digest = running["Code"]["ResolvedImageUri"].partition("@")
    image = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])["images"][0]
    entry = {
        "mediaType": image["imageManifestMediaType"],
        "digest": digest,
        "size": len(image["imageManifest"].encode()),
        "platform": {"architecture": "arm64", "os": "linux"},
    }
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]})
    pushed = ecr.put_image(repositoryName=name, imageManifest=index, imageManifestMediaType=kind)["image"]["imageId"]
    probe = f"belief-{secrets.token_hex(3)}-{account.names.environment}"
    try:
        code = refusal(
            lambda: functions.create_function(
                FunctionName=probe,
                PackageType="Image",
                Code={"ImageUri": f"{repository}@{pushed['imageDigest']}"},
                Role=running["Configuration"]["Role"],
            )
        )
    except Refuted:
        functions.delete_function(FunctionName=probe)
        raise
    finally:
        ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": pushed["imageDigest"]}])
    return expect("the code", code, "InvalidParameterValueException")


def policy_left_out(account: Account) -> str:
    """A change set for an alias whose update policy a condition leaves out; the change set is not executed."""
    cloudformation = account.client("cloudformation")
    update = {"ApplicationName": "none", "DeploymentGroupName": "none"}
    alias = {
        "Type": "AWS::Lambda::Alias",
        "Properties": {
            "Name": "belief", "FunctionName": account.names.function("fraud-detection"), "FunctionVersion": "1",
        },
        "UpdatePolicy": {"CodeDeployLambdaAliasUpdate": {"Fn::If": ["Shifts", update, {"Ref": "AWS::NoValue"}]}},
    }  # fmt: skip
    template = {
        "Parameters": {"Shift": {"Type": "String", "Default": "false"}},
        "Conditions": {"Shifts": {"Fn::Equals": [{"Ref": "Shift"}, "true"]}},
        "Resources": {"Alias": alias},
    }
    name = f"belief-{secrets.token_hex(3)}-{account.names.environment}"
    cloudformation.create_change_set(
        StackName=name, ChangeSetName=name, ChangeSetType="CREATE", TemplateBody=json.dumps(template)
    )
    try:
        cloudformation.get_waiter("change_set_create_complete").wait(StackName=name, ChangeSetName=name)
        found = cloudformation.describe_change_set(StackName=name, ChangeSetName=name)
    finally:
        cloudformation.delete_stack(StackName=name)
    return expect("the status of the change set", found["Status"], "CREATE_COMPLETE")


BELIEFS = (
    Belief(
        "Lambda supports subnets in every zone but `use1-az3`",
        "aws lambda get-function-configuration --function-name fraud-detection-ENV "
        "--query '[State,VpcConfig.SubnetIds]'",
        "`Active`, and a subnet for each zone",
        zones_supported,
    ),
    Belief(
        "`Fn::If` may leave out a CodeDeployLambdaAliasUpdate, and CloudFormation then moves the alias itself",
        "aws cloudformation validate-template --template-body file://prod/pipeline.json",
        "no error, after `./bootstrap.py synth -e prod --out prod`; `make aws-smoke` creates a change set",
        policy_left_out,
    ),
    Belief(
        "PutImage of an existing tag of an immutable repository is `ImageTagAlreadyExistsException`, for the same "
        "digest too",
        "aws ecr put-image --repository-name fraud-detection-ENV --image-tag TAG --image-manifest "
        '"$(aws ecr batch-get-image --repository-name fraud-detection-ENV --image-ids imageTag=TAG '
        "--query 'images[0].imageManifest' --output text)\"",
        "`ImageTagAlreadyExistsException` or `ImageAlreadyExistsException`",
        immutable_tag,
    ),
    Belief(
        "Layers: gzip, no hard links, parent directories first",
        "aws lambda get-function-configuration --function-name fraud-detection-ENV --query '[State,LastUpdateStatus]'",
        "`Active` and `Successful`, after `up`",
        layers_accepted,
    ),
    Belief(
        "An image index, a manifest list or an attestation is rejected; OCI 1.0 and Docker V2.2 single manifests are "
        "accepted",
        "aws lambda create-function --function-name index --package-type Image --role ROLE --code ImageUri=INDEX",
        "`InvalidParameterValueException`",
        index_refused,
    ),
    Belief(
        "A failed condition has two error names",
        "aws stepfunctions test-state --role-arn ROLE --definition "
        '\'{"Type":"Task","QueryLanguage":"JSONata","Resource":"arn:aws:states:::dynamodb:updateItem","Arguments":'
        '{"TableName":"transaction-state-ENV","Key":{"transaction_id":{"S":"none"}},"UpdateExpression":"SET a = :a",'
        '"ConditionExpression":"attribute_exists(transaction_id)","ExpressionAttributeValues":{":a":{"S":"a"}}},'
        '"End":true}\'',
        "`DynamoDB.ConditionalCheckFailedException`",
        failed_condition,
    ),
    Belief(
        "JSONata has the functions that the state machine calls, with the values of the JSONata documentation",
        "aws stepfunctions test-state --definition "
        '\'{"Type":"Pass","QueryLanguage":"JSONata","Output":"{% $hash($string({\\"a\\": 1}), \\"SHA-256\\") %}",'
        '"End":true}\'',
        "a digest; `make aws-smoke` tries every function",
        functions_of_jsonata,
    ),
    Belief(
        "`$error` in a Task is `States.QueryEvaluationError`",
        "aws stepfunctions test-state --role-arn ROLE --definition "
        '\'{"Type":"Task","QueryLanguage":"JSONata","Resource":"arn:aws:states:::sqs:sendMessage","Arguments":'
        '{"QueueUrl":"{% $error(\\"no\\") %}","MessageBody":"x"},"End":true}\'',
        "`States.QueryEvaluationError`",
        raised_error,
    ),
)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "aws-rules.md"
HEADING = "## Try first on a real account"


def section() -> str:
    """The last section of docs/aws-rules.md."""
    rows = "\n".join(f"| {each.rule} | `{each.command}` | {each.expected} |" for each in BELIEFS)
    return f"""{HEADING}

`make aws-smoke ACCOUNT=… [REGION=…]` deploys an environment, uses it, checks each of these, deletes everything and
writes a report for an issue. Without an account it says what it costs. One by one, in an environment ENV that is up,
with the role of its state machine as ROLE:

| rule | command | expected |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(HEADING)[0].rstrip() + "\n\n" + section())
