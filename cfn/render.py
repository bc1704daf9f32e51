"""Templates as text: one canonical form, and the size that CloudFormation takes without a bucket."""

from __future__ import annotations

import json
from typing import Any

from pipeline.errors import SettingsError

# CloudFormation, API reference: TemplateBody has 1 to 51,200 bytes.
TEMPLATE_BODY_MAX = 51_200


def render(template: Any) -> str:
    """A troposphere template as canonical JSON: the same template gives the same text, byte for byte.

    Raises SettingsError, naming the size, when CloudFormation would refuse it as ``TemplateBody``.
    """
    document = template.to_dict()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    if len(text) > TEMPLATE_BODY_MAX:
        raise SettingsError(
            f"the template {document.get('Description', '')!r} cannot be deployed",
            f"it has {len(text):,} bytes, and CloudFormation takes at most {TEMPLATE_BODY_MAX:,} as TemplateBody",
            "Give this environment fewer functions, or let them call less.",
        )
    return text
