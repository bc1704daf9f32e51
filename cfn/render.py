"""Templates as canonical text, checked against CloudFormation's limits."""

from __future__ import annotations

import json
from typing import Any

from cfn.problems import SettingsError

# API_CreateChangeSet: TemplateBody has 1 to 51,200 bytes, what TemplateURL points to at most 1 MB, which the service
# takes for 1,000,000 bytes.
TEMPLATE_BODY_MAX = 51_200
TEMPLATE_URL_MAX = 1_000_000
# AWS documentation, CloudFormation quotas: so many of each in one template.
SECTION_MAX = {"Resources": 500, "Outputs": 200, "Parameters": 200}


def render(template: Any) -> str:
    """A troposphere template as canonical JSON: equal templates give the same bytes.

    One of more than TEMPLATE_BODY_MAX bytes has to reach CloudFormation through a bucket (``TemplateURL``). Raises
    SettingsError, naming every limit, when CloudFormation would refuse it even so.
    """
    document = template.to_dict()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    findings = [
        f"it has {len(document[section]):,} {section.lower()}, and CloudFormation takes at most {most}"
        for section, most in SECTION_MAX.items()
        if len(document.get(section, {})) > most
    ]
    if len(text) > TEMPLATE_URL_MAX:
        findings.append(f"it has {len(text):,} bytes, and CloudFormation takes at most {TEMPLATE_URL_MAX:,}")
    if findings:
        raise SettingsError(
            f"the template {document.get('Description', '')!r} cannot be deployed",
            "; ".join(findings),
            "Give this environment fewer functions: the others can be a project of their own.",
        )
    return text
