"""Guard rails for container-image Lambda pipelines, as cfn-lint rules for anybody's template.

    cfn-lint -a path/to/cfn/rules -t template.yaml      a copy of this folder is enough
    cfn-lint -a cfn.rules -t template.yaml              the package is installed, or on PYTHONPATH

Each rule finds one way in which such a stack fails to deploy, or deploys and does not work; docs/rules.md lists them
with the error that AWS gives. Ids are E95xx/W95xx and E96xx/W96xx: cfn-lint leaves the nine thousands to its users, and
numbers the lines of a --custom-rules file from 9001. What cfn-lint checks by itself is not checked again.

Modules are private and import each other relatively, so that the folder works wherever it lies.
"""

from ._attributes import AttributeDefinitionsDiffer
from ._concurrency import ReservedConcurrencyTooHigh
from ._cycles import IamCycle
from ._definitions import DefinitionRefused, UnreachableState
from ._egress import EgressOpen, EgressWiderThanEndpoint, EgressWithoutDescription
from ._endpoints import EndpointAdmitsNobody, EndpointTypeUnsupported, EndpointWithoutPrivateDns
from ._images import ImageBeforeRepository, ImageByTag, PackageTypeChanges
from ._integrations import IntegrationMisused, LambdaTaskWithoutRetry, TaskWithoutCatch
from ._log_groups import FunctionWithoutLogGroup, LogGroupAfterFunction, LogGroupByNameOnly, LogGroupWithoutRetention
from ._packages import LocalPathInCode
from ._reachability import ServiceWithoutWay
from ._state_permissions import StateNotPermitted
from ._topic_keys import KeyUnknown, PublisherCannotUseManagedKey, PublisherNotAdmittedByKey

__all__ = [
    "AttributeDefinitionsDiffer",
    "DefinitionRefused",
    "EgressOpen",
    "EgressWiderThanEndpoint",
    "EgressWithoutDescription",
    "EndpointAdmitsNobody",
    "EndpointTypeUnsupported",
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
    "PublisherNotAdmittedByKey",
    "ReservedConcurrencyTooHigh",
    "ServiceWithoutWay",
    "StateNotPermitted",
    "TaskWithoutCatch",
    "UnreachableState",
]
