"""cfn-lint rules for pipelines of container-image Lambda functions, for any template.

    cfn-lint -a path/to/cfn/rules -t template.yaml      a copy of this folder is enough
    cfn-lint -a cfn.rules -t template.yaml              if the package is installed or on PYTHONPATH

Each rule detects one cause for which such a stack fails to deploy or does not work; docs/rules.md lists them with AWS's
errors. Ids are E95xx/W95xx and E96xx/W96xx: cfn-lint reserves 9000 to 9999 for custom rules, and numbers the lines of a
--custom-rules file from 9001. The rules do not repeat cfn-lint's own checks.

Modules are private and use relative imports, so the folder works from any location.
"""

from ._attributes import AttributeDefinitionsDiffer
from ._concurrency import ReservedConcurrencyTooHigh
from ._cycles import IamCycle
from ._definitions import DefinitionRefused, UnreachableState
from ._egress import EgressOpen, EgressWiderThanEndpoint, EgressWithoutDescription
from ._endpoints import EndpointTypeUnsupported, EndpointWithoutIngress, EndpointWithoutPrivateDns
from ._images import ImageBeforeRepository, ImageByTag, PackageTypeChanges
from ._integrations import IntegrationMisused, LambdaTaskWithoutRetry, TaskWithoutCatch
from ._log_groups import FunctionWithoutLogGroup, LogGroupAfterFunction, LogGroupByNameOnly, LogGroupWithoutRetention
from ._packages import LocalPathInCode
from ._reachability import ServiceUnreachable
from ._state_permissions import StateNotPermitted
from ._topic_keys import KeyUnknown, PublisherCannotUseManagedKey, PublisherNotAllowedByKey

__all__ = [
    "AttributeDefinitionsDiffer",
    "DefinitionRefused",
    "EgressOpen",
    "EgressWiderThanEndpoint",
    "EgressWithoutDescription",
    "EndpointTypeUnsupported",
    "EndpointWithoutIngress",
    "EndpointWithoutPrivateDns",
    "FunctionWithoutLogGroup",
    "IamCycle",
    "ImageBeforeRepository",
    "ImageByTag",
    "IntegrationMisused",
    "KeyUnknown",
    "LambdaTaskWithoutRetry",
    "LocalPathInCode",
    "LogGroupAfterFunction",
    "LogGroupByNameOnly",
    "LogGroupWithoutRetention",
    "PackageTypeChanges",
    "PublisherCannotUseManagedKey",
    "PublisherNotAllowedByKey",
    "ReservedConcurrencyTooHigh",
    "ServiceUnreachable",
    "StateNotPermitted",
    "TaskWithoutCatch",
    "UnreachableState",
]
