from __future__ import annotations

from cfn.rules import LocalPathInCode
from tests.unit.rules.linting import cases, failing, findings

TEMPLATE = "Resources: {F: {Type: AWS::Lambda::Function, Properties: {Role: r, Code: %s}}}"


@failing(
    zip_file_names_an_archive=(TEMPLATE % "{ZipFile: function.zip}", "'function.zip'"),
    zip_file_names_a_folder=(TEMPLATE % "{ZipFile: ./src}", "inline the source"),
    zip_file_names_a_url_of_a_file=(TEMPLATE % "{ZipFile: 'fileb://build/function.zip'}", "fileb://"),
    a_key_that_is_a_path=(TEMPLATE % "{S3Bucket: artifacts, S3Key: ../build/function.zip}", "S3Key"),
    a_bucket_that_is_a_folder=(TEMPLATE % "{S3Bucket: ./build, S3Key: function.zip}", "S3Bucket"),
    an_image_that_is_a_folder=(TEMPLATE % "{ImageUri: ./images/validation}", "ImageUri"),
    a_windows_path=(TEMPLATE % r"{S3Bucket: b, S3Key: 'C:\build\f.zip'}", "S3Key"),
    through_a_parameter=(
        "Parameters: {Path: {Type: String, Default: ./f.zip}}\n" + TEMPLATE % "{ZipFile: !Ref Path}",
        "'./f.zip'",
    ),
    a_layer=(
        "Resources: {L: {Type: AWS::Lambda::LayerVersion, Properties: {Content: {S3Bucket: b, S3Key: ./layer.zip}}}}",
        "'./layer.zip'",
    ),
    in_one_branch=(
        """
        Parameters: {Bucket: {Type: String, Default: ''}}
        Conditions: {HasBucket: !Not [!Equals [!Ref Bucket, '']]}
        """.replace("        ", "")
        + TEMPLATE % "!If [HasBucket, {S3Bucket: !Ref Bucket, S3Key: f.zip}, {ZipFile: f.zip}]",
        "(when HasBucket is false)",
    ),
)
def test_a_local_path_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(LocalPathInCode, template)] == [True]


@cases(
    source_text=TEMPLATE % '{ZipFile: "def handle(event, context):\\n    return event\\n"}',
    source_text_of_one_line=TEMPLATE % '{ZipFile: "exports.handle = () => 1"}',
    a_comment_of_one_line=TEMPLATE % '{ZipFile: "//nothing"}',
    an_object=TEMPLATE % "{S3Bucket: artifacts, S3Key: builds/2026/function.zip}",
    an_image=TEMPLATE % "{ImageUri: !Sub '${AWS::AccountId}.dkr.ecr.us-east-1.amazonaws.com/f@sha256:0'}",
    a_parameter_without_default="Parameters: {Key: {Type: String}}\n" + TEMPLATE % "{S3Bucket: b, S3Key: !Ref Key}",
    joined_source=TEMPLATE % '{ZipFile: !Join ["\\n", ["import json", "def f(e, c): return 1"]]}',
    a_reference=TEMPLATE % "{S3Bucket: !ImportValue bucket, S3Key: !Sub '${AWS::Region}/f.zip'}",
)
def test_code_that_is_where_it_says_passes(template: str) -> None:
    assert findings(LocalPathInCode, template) == []
