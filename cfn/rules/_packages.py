"""Code that refers to a local file.

cfn-lint's W3002 covers a ``Code`` or ``Content`` that is itself a path (``Code: ./src``), which works only with
``aws cloudformation package``. This rule finds local paths inside a complete Code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ._template import FUNCTIONS, Finding, TemplateRule, View, as_dict, is_known

_LOCAL = re.compile(r"(\.{1,2}/|/|~/|file(b)?://|[A-Za-z]:[\\/]).*")
_ARCHIVE = re.compile(r"[\w./\\~:-]+\.(zip|jar|py|js|mjs|tar|tgz|tar\.gz|whl)")
_PACKAGES = {"AWS::Lambda::Function": "Code", "AWS::Lambda::LayerVersion": "Content"}


class LocalPathInCode(TemplateRule):
    id = "E9520"
    shortdesc = "A local path where Lambda expects code, a bucket or an image"
    description = (
        "ZipFile is source text, S3Bucket and S3Key name an object, ImageUri names an image in ECR. AWS cannot open a "
        "local path in any of them: 'Could not open zip file or directory'."
    )
    source_url = (
        "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-lambda-function-code.html"
    )
    tags = ("resources", "lambda")
    concerns = (*FUNCTIONS, "AWS::Lambda::LayerVersion")

    def find(self, view: View) -> Iterator[Finding]:
        for resource in view.resources(*_PACKAGES):
            name = _PACKAGES[resource.type]
            for key, value in as_dict(resource.get(name)).items():
                if isinstance(value, str) and is_known(value) and _is_local(key, value):
                    cure = "inline the source" if key == "ZipFile" else "upload it and use its location"
                    yield Finding(resource.at(name, key), f"{key} is the local path {value!r}: {cure}")


def _is_local(key: str, value: str) -> bool:
    if key == "ZipFile":
        one_line = "\n" not in value.strip() and " " not in value.strip()
        is_path = bool(_LOCAL.fullmatch(value.strip()) or _ARCHIVE.fullmatch(value.strip()))
        return one_line and is_path and not value.startswith("//")
    if key == "S3Key":
        return bool(re.match(r"\.{1,2}/|~/|file(b)?://|[A-Za-z]:[\\/]", value))
    return key in ("S3Bucket", "ImageUri") and bool(_LOCAL.fullmatch(value) or value in (".", ".."))
