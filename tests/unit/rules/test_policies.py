"""Whether an IAM resource pattern can cover a resource whose name CloudFormation makes up."""

from __future__ import annotations

import pytest

from cfn.rules._policies import may_be_same
from cfn.rules._template import View

TEMPLATE = {
    "Resources": {
        "F": {"Type": "AWS::Lambda::Function"},
        "G": {"Type": "AWS::Lambda::Function"},
        "Named": {"Type": "AWS::Lambda::Function", "Properties": {"FunctionName": "named"}},
        "Topic": {"Type": "AWS::SNS::Topic"},
        "Bucket": {"Type": "AWS::S3::Bucket"},
    }
}
ACCOUNT = "arn:aws:lambda:us-east-1:123456789012:function:"


@pytest.mark.parametrize(
    ("pattern", "resource", "expected"),
    [
        ("*", "${F.Arn}", True),
        ("${F.Arn}", "${F.Arn}", True),
        ("${F.Arn}", "${G.Arn}", False),
        ("${F.Arn}:*", "${F.Arn}", False),
        ("${F.Arn}*", "${F.Arn}", True),
        ("${F.Arn}:*", "${F.Arn}:live", True),
        ("${F.Arn}", "${F.Arn}:live", False),
        (ACCOUNT + "*", "${F.Arn}", True),
        (ACCOUNT + "stack-*", "${F.Arn}", True),
        (ACCOUNT + "*-suffix", "${F.Arn}", True),
        (ACCOUNT + "other", "${F.Arn}", False),
        (ACCOUNT + "named", "${Named.Arn}", True),
        (ACCOUNT + "NAMED", "${Named.Arn}", True),
        (ACCOUNT + "name?", "${Named.Arn}", True),
        (ACCOUNT + "other-*", "${Named.Arn}", False),
        ("arn:aws:lambda:us-east-1:123456789012:*", "${F.Arn}", True),
        ("arn:aws:sns:us-east-1:123456789012:*", "${F.Arn}", False),
        ("arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${F}", "${F.Arn}", True),
        ("arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${G}", "${F.Arn}", False),
        ("${Topic}", "${Topic.TopicArn}", True),
        ("${Parameter}", "${F.Arn}", True),
        ("${F.Arn}", "${Parameter}", True),
        ("arn:aws:s3:::${Bucket}/*", "${Bucket.Arn}/key", True),
    ],
)
def test_a_pattern_against_a_resource(pattern: str, resource: str, expected: bool) -> None:
    assert may_be_same(View(TEMPLATE), pattern, resource) is expected
    assert may_be_same(View(TEMPLATE), resource, pattern) is expected or pattern == "*"
