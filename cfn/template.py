"""A troposphere template without troposphere's limits: ``cfn.render`` reports all exceeded limits at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troposphere import Template

from cfn.own_resources import merge_own


class OpenTemplate(Template):  # type: ignore[misc]
    """Does not raise ValueError for too many resources, outputs or parameters, only for a repeated logical id.

    own  sections of the project's own, merged into the template
    """

    own: Mapping[str, Mapping[str, Any]]

    def add_resource(self, resource: Any) -> Any:
        return self._update(self.resources, resource)

    def add_output(self, output: Any) -> Any:
        return self._update(self.outputs, output)

    def add_parameter(self, parameter: Any) -> Any:
        return self._update(self.parameters, parameter)

    def to_dict(self) -> dict[str, Any]:
        """The whole template. Raises SettingsError for a name that the project's own sections have, too."""
        return merge_own(super().to_dict(), getattr(self, "own", {}))
