"""One refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Values for the placeholders of a refusal's text; None if the refusal does not apply.
Fields = Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of the table.

    service    as in an ARN or an endpoint: "ecr"
    call       the API call: "PutImage"; of CloudFormation also "Create AWS::ECR::Repository"
    condition  when it is refused, for a reader
    code       AWS's error code
    text       AWS's message; ``{field}`` is filled by what ``applies`` returns
    source     D documentation, S resource schema, B botocore's model, R recorded on AWS, 3P reported by users
    applies    decides for the call's parameters, named as in the API
    """

    service: str
    call: str
    condition: str
    code: str
    text: str
    source: str
    applies: Callable[[Mapping[str, Any]], Fields]
    status: int = 400
    extra: Mapping[str, str] | None = None

    def message(self, parameters: Mapping[str, Any]) -> str | None:
        """The filled text, or None if the call is not refused."""
        fields = self.applies(parameters)
        return None if fields is None else self.text.format(**fields)
