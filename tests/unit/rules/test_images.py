from __future__ import annotations

from cfn.rules import ImageBeforeRepository, ImageByTag, PackageTypeChanges
from tests.unit.rules.linting import cases, failing, findings, matches

DIGEST = "sha256:" + "0" * 64
HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
TEMPLATE = (
    "Resources: {F: {Type: AWS::Lambda::Function, Properties: {Role: r, PackageType: Image, Code: {ImageUri: %s}}}}"
)


@failing(
    latest=(TEMPLATE % f"'{HOST}/f:latest'", "the tag 'latest'"),
    no_tag_is_latest=(TEMPLATE % f"{HOST}/f", "the tag 'latest'"),
    a_version=(TEMPLATE % f"'{HOST}/team/f:1.2.3'", "the tag '1.2.3'"),
    built_with_sub=(
        TEMPLATE % "!Sub '${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/f:prod'",
        "the tag 'prod'",
    ),
    built_with_join=(TEMPLATE % f"!Join [':', [{HOST}/f, prod]]", "the tag 'prod'"),
    a_tag_that_is_a_parameter=(
        f"Parameters: {{Tag: {{Type: String}}}}\n{TEMPLATE % (chr(39).join(['!Sub ', HOST + '/f:${Tag}', '']))}",
        "referenced by a tag",
    ),
    a_default=(
        f"Parameters: {{Image: {{Type: String, Default: '{HOST}/f:latest'}}}}\n" + TEMPLATE % "!Ref Image",
        "the tag 'latest'",
    ),
    serverless=(
        f"""
        Transform: AWS::Serverless-2016-10-31
        Resources:
          F: {{Type: AWS::Serverless::Function, Properties: {{PackageType: Image, ImageUri: '{HOST}/f:latest'}}}}
        """,
        "the tag 'latest'",
    ),
    only_when_a_condition_holds=(
        f"""
        Parameters: {{Pin: {{Type: String, AllowedValues: ['yes', 'no'], Default: 'yes'}}}}
        Conditions: {{IsPinned: !Equals [!Ref Pin, 'yes']}}
        {TEMPLATE % f"!If [IsPinned, '{HOST}/f@{DIGEST}', '{HOST}/f:latest']"}
        """,
        "(when IsPinned is false)",
    ),
)
def test_an_image_by_tag_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(ImageByTag, template)] == [True]


@cases(
    a_digest=TEMPLATE % f"'{HOST}/f@{DIGEST}'",
    a_tag_and_a_digest=TEMPLATE % f"'{HOST}/f:prod@{DIGEST}'",
    a_digest_by_parameter="Parameters: {Digest: {Type: String}}\n" + TEMPLATE % f"!Sub '{HOST}/f@${{Digest}}'",
    a_parameter="Parameters: {Image: {Type: String}}\n" + TEMPLATE % "!Ref Image",
    an_import=TEMPLATE % "!ImportValue image",
    an_attribute_of_a_custom_resource=TEMPLATE % "!GetAtt Push.ImageUri",
    a_tag_that_is_a_digest=TEMPLATE % f"'{HOST}/assets:{'a' * 64}'",
    a_registry_with_a_port=TEMPLATE % f"'localhost:5000/f@{DIGEST}'",
    a_name_that_a_parameter_completes="Parameters: {Rest: {Type: String}}\n" + TEMPLATE % f"!Sub '{HOST}/f${{Rest}}'",
    a_zip_function="Resources: {F: {Type: AWS::Lambda::Function, Properties: {Role: r, Code: {ZipFile: x}}}}",
)
def test_an_image_by_digest_or_unknown_passes(template: str) -> None:
    assert findings(ImageByTag, template) == []


def test_the_finding_points_at_the_image() -> None:
    (found,) = matches(ImageByTag(), TEMPLATE % f"'{HOST}/f:latest'")
    assert found.path == ["Resources", "F", "Properties", "Code", "ImageUri"]


SAME_STACK = """
        Resources:
          Repository: {Type: AWS::ECR::Repository, Properties: {RepositoryName: fraud-detection}}
          F:
            Type: AWS::Lambda::Function
            Properties: {Role: r, PackageType: Image, Code: {ImageUri: %s}}
"""


@failing(
    by_attribute=(
        SAME_STACK % "!Sub '${Repository.RepositoryUri}:latest'",
        "Repository, which this stack creates empty",
    ),
    by_reference=(
        SAME_STACK % "!Sub '${AWS::AccountId}.dkr.ecr.${AWS::Region}.amazonaws.com/${Repository}:latest'",
        "creates empty",
    ),
    by_name=(SAME_STACK % f"'{HOST}/fraud-detection@{DIGEST}'", "creates empty"),
    by_join=(SAME_STACK % "!Join ['', [!GetAtt Repository.RepositoryUri, '@', 'sha256:0']]", "creates empty"),
    a_custom_resource_that_does_something_else=(
        SAME_STACK % "!Sub '${Repository.RepositoryUri}:latest'"
        + "            DependsOn: Other\n          Other: {Type: 'Custom::Other', Properties: {ServiceToken: t}}",
        "creates empty",
    ),
)
def test_an_image_of_a_repository_that_the_stack_creates_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(ImageBeforeRepository, template)] == [True]


@cases(
    another_repository=SAME_STACK % f"'{HOST}/compliance-checking@{DIGEST}'",
    a_parameter="        Parameters: {Image: {Type: String}}" + SAME_STACK % "!Ref Image",
    a_placeholder_that_is_pushed_first=SAME_STACK % "!Sub '${Repository.RepositoryUri}@${Push.Digest}'"
    + "          Push: {Type: 'Custom::Image', Properties: {ServiceToken: t, RepositoryName: !Ref Repository}}",
    a_placeholder_by_depends_on=SAME_STACK % "!Sub '${Repository.RepositoryUri}:placeholder'"
    + "            DependsOn: Push\n"
    + "          Push: {Type: 'Custom::Image', Properties: {ServiceToken: t, RepositoryName: fraud-detection},"
    + " DependsOn: Repository}",
    a_function_that_a_later_update_creates="""
        Parameters: {Phase: {Type: String, AllowedValues: ['1', '2'], Default: '1'}}
        Conditions: {HasImages: !Equals [!Ref Phase, '2']}
        Resources:
          Repository: {Type: AWS::ECR::Repository}
          F:
            Type: AWS::Lambda::Function
            Condition: HasImages
            Properties: {Role: r, PackageType: Image, Code: {ImageUri: !Sub '${Repository.RepositoryUri}@sha256:0'}}
        """,
)
def test_an_image_that_is_there_first_passes(template: str) -> None:
    assert findings(ImageBeforeRepository, template) == []


SWITCH = """
        Parameters: {Image: {Type: String, Default: ''}}
        Conditions: {HasImage: !Not [!Equals [!Ref Image, '']]}
        Resources:
"""


@failing(
    by_package_type=(
        SWITCH
        + """
          F:
            Type: AWS::Lambda::Function
            Properties:
              FunctionName: fraud-detection
              Role: r
              PackageType: !If [HasImage, Image, Zip]
              Code: !If [HasImage, {ImageUri: !Ref Image}, {ZipFile: x}]
        """,
        "'fraud-detection' is an Image here and a Zip package under other conditions",
    ),
    by_code_alone=(
        SWITCH
        + """
          F:
            Type: AWS::Lambda::Function
            Properties:
              FunctionName: !Sub 'fraud-${AWS::StackName}'
              Role: r
              Code: !If [HasImage, {ImageUri: !Ref Image}, {ZipFile: x}]
        """,
        "(when HasImage is true)",
    ),
    by_two_resources_of_one_name=(
        SWITCH
        + """
          Real:
            Type: AWS::Lambda::Function
            Condition: HasImage
            Properties: {FunctionName: f, Role: r, PackageType: Image, Code: {ImageUri: !Ref Image}}
          Placeholder:
            Type: AWS::Lambda::Function
            Properties: {FunctionName: !If [HasImage, !Ref 'AWS::NoValue', f], Role: r, Code: {ZipFile: x}}
        """,
        "'f' is an Image here",
    ),
)
def test_a_change_of_package_type_under_one_name_is_found(template: str, message: str) -> None:
    assert [message in found for found in findings(PackageTypeChanges, template)] == [True]


@cases(
    a_generated_name_is_replaced=SWITCH
    + """
          F:
            Type: AWS::Lambda::Function
            Properties: {Role: r, Code: !If [HasImage, {ImageUri: !Ref Image}, {ZipFile: x}]}
        """,
    always_an_image=SWITCH
    + f"""
          F:
            Type: AWS::Lambda::Function
            Properties:
              FunctionName: f
              Role: r
              PackageType: Image
              Code: {{ImageUri: !If [HasImage, !Ref Image, '{HOST}/placeholder@{DIGEST}']}}
        """,
    a_type_that_a_parameter_gives="""
        Parameters: {Type: {Type: String}}
        Resources:
          F: {Type: AWS::Lambda::Function, Properties: {FunctionName: f, Role: r, PackageType: !Ref Type, Code: {}}}
        """,
    another_name_for_each=SWITCH
    + """
          F:
            Type: AWS::Lambda::Function
            Properties:
              FunctionName: !If [HasImage, f-image, f-zip]
              Role: r
              Code: !If [HasImage, {ImageUri: !Ref Image}, {ZipFile: x}]
        """,
)
def test_a_function_that_keeps_its_type_or_its_freedom_passes(template: str) -> None:
    assert findings(PackageTypeChanges, template) == []
