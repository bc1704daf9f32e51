"""The target of a release: the embedded AWS or AWS. All other code is the same for both."""

from __future__ import annotations

import os
import platform as host_platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cfn.settings import Architecture
from pipeline.assembly.model import Platform, PythonVersion
from pipeline.core.aws_answers import error_code
from pipeline.core.credential_sources import (
    are_expired,
    assume_role,
    configuration_explained,
    credentials_explained,
    no_credentials,
    require_printable,
    use_renewed,
)
from pipeline.core.errors import AccountError, CredentialsError, LocalError, NextStep, PipelineError, StackError
from pipeline.core.events import Report, ignore

if TYPE_CHECKING:
    from pipeline.local.host.control import LocalAws
    from pipeline.oci.registry.client import Registry

DEFAULT_REGION = "us-east-1"
# The partition that the templates are written for.
PARTITION = "aws"
# The embedded AWS answers at once, or has ended.
LOCAL_ATTEMPTS = 3


class Target:
    """One account and region, with their clients.

    name      "local" or "aws"
    region    the AWS region, also on the local target
    endpoint  the embedded AWS's URL, or None for AWS itself
    identity  of the embedded AWS's state; "" for AWS itself
    report    gets notes about what the registry is waited for

    Clients are created once and shared; they are safe to use from several threads, creating them is not. They are
    botocore's own: boto3 would give the same ones after loading its S3 transfer library.
    """

    def __init__(
        self, name: str, region: str, session: Any, endpoint: str | None, *, attempts: int = 9, seconds: float = 60,
        identity: str = "", report: Report = ignore,
    ) -> None:  # fmt: skip
        self.name = name
        self.region = region
        self.endpoint = endpoint
        self.identity = identity
        self._session = session
        self._report = report
        self._attempts = min(attempts, LOCAL_ATTEMPTS) if self.is_local else attempts
        self._seconds = seconds
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()
        self._registries: dict[str, Registry] = {}

    @property
    def is_local(self) -> bool:
        return self.endpoint is not None

    def impatient(self) -> Target:
        """The same account with at most two attempts per call, for calls whose failure is a result."""
        return self._again(attempts=2)

    def once(self, seconds: float) -> Target:
        """The same account without retries, and with ``seconds`` to respond, for calls that must not be sent twice."""
        return self._again(attempts=1, seconds=seconds)

    def in_region(self, region: str) -> Target:
        """The same account in another region."""
        return self._again(region=region, attempts=self._attempts, seconds=self._seconds)

    def _again(self, *, region: str | None = None, attempts: int, seconds: float = 60) -> Target:
        return Target(
            self.name, region or self.region, self._session, self.endpoint, attempts=attempts, seconds=seconds,
            identity=self.identity, report=self._report,
        )  # fmt: skip

    def assuming(self, role_arn: str, session_name: str) -> Target:
        """The same account with the permissions of a role and no others; the session is renewed before it ends.

        Raises ClientError if the caller may not assume the role.
        """
        from botocore.session import Session

        sts = self.client("sts")

        def fetch() -> dict[str, str]:
            found = sts.assume_role(RoleArn=role_arn, RoleSessionName=session_name[:64])["Credentials"]
            return {
                "access_key": found["AccessKeyId"],
                "secret_key": found["SecretAccessKey"],
                "token": found["SessionToken"],
                "expiry_time": found["Expiration"].isoformat(),
            }

        session = Session()
        for name in ("config_store", "data_loader"):
            session.register_component(name, self._session.get_component(name))
        use_renewed(session, fetch)
        assumed = session.get_credentials()
        assert assumed is not None  # noqa: S101  (see use_renewed)
        assumed.get_frozen_credentials()  # assumes the role
        return Target(
            self.name, self.region, session, self.endpoint, attempts=self._attempts, seconds=self._seconds,
            identity=self.identity, report=self._report,
        )  # fmt: skip

    def place(self, arn: str) -> str:
        """An identity of this AWS, for records that outlive a command: the embedded AWS's, or account and region.

        arn  of any resource in the account

        >>> Target("aws", "eu-west-1", None, None).place("arn:aws:iam::123456789012:user/me")
        '123456789012/eu-west-1'
        """
        return f"local/{self.identity or self.endpoint}" if self.is_local else f"{arn.split(':')[4]}/{self.region}"

    @property
    def credentials(self) -> Any:
        """botocore's credentials, for requests that no client makes."""
        return self._session.get_credentials()

    def regions(self) -> tuple[str, ...]:
        """Every region of CloudFormation that botocore knows, and this one."""
        known = self._session.get_available_regions("cloudformation")
        return tuple(sorted({*known, self.region}))

    def client(self, service: str) -> Any:
        """The client of ``service``, with retries that wait on throttling."""
        with self._making:
            if service not in self._clients:
                from botocore.config import Config
                from botocore.exceptions import BotoCoreError

                config = Config(
                    # Standard retries wait on throttling. What answers nothing on loopback is not there.
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    # StartSyncExecution puts "sync-" before the host, which a loopback address has no name for.
                    inject_host_prefix=not self.is_local,
                    connect_timeout=5,
                    # EXPRESS answers within five minutes, so a submission may wait that long.
                    read_timeout=310 if service == "stepfunctions" else self._seconds,
                    max_pool_connections=50,
                    # {} is "none"; None would be those of the environment, which cannot reach this machine.
                    proxies={} if self.is_local else None,
                )
                try:
                    self._clients[service] = self._session.create_client(
                        service, region_name=self.region, endpoint_url=self.endpoint, config=config
                    )
                except BotoCoreError:  # some are ValueErrors, too
                    raise
                except ValueError as problem:  # an endpoint that is no URL
                    raise CredentialsError(
                        "AWS was not contacted",
                        f"{problem} (service {service})",
                        "Correct AWS_ENDPOINT_URL, or endpoint_url in the AWS configuration.",
                    ) from problem
            return self._clients[service]

    def registry(self, host: str) -> Registry:
        """The ECR registry that is called ``host`` in image URIs."""
        from pipeline.oci.registry.client import Registry
        from pipeline.oci.registry.ecr import ecr_credentials, ecr_lookup
        from pipeline.oci.registry.retries import Retries

        ecr = self.client("ecr")
        with self._making:
            if host not in self._registries:
                retries = Retries(attempts=LOCAL_ATTEMPTS) if self.is_local else None
                self._registries[host] = Registry(
                    host,
                    endpoint_url=self.endpoint,
                    credentials=ecr_credentials(ecr),
                    retries=retries,
                    report=self._report,
                    lookup=ecr_lookup(ecr),
                )
            return self._registries[host]


def host_architecture() -> Architecture:
    """This machine's architecture by Lambda's name; raises LocalError for one that Lambda does not have."""
    machine = host_platform.machine().lower()
    match machine:
        case "x86_64" | "amd64":
            return Architecture.X86_64
        case "aarch64" | "arm64":
            return Architecture.ARM64
    raise LocalError(
        "the functions cannot run here",
        f"Lambda has no architecture {machine}",
        "Use --target aws, or an x86_64 or arm64 machine.",
    )


def host_platform_of_functions() -> Platform:
    """The platform of images for the process runtime on this machine."""
    return Platform(host_architecture(), PythonVersion(sys.version_info.major, sys.version_info.minor))


def local_target(local: LocalAws, region: str | None, report: Report = ignore, *, account: str | None = None) -> Target:
    """The target of the running embedded AWS ``local``.

    account  one of its accounts, whose root's access key is the account's id; None for its own
    """
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as SESSION_VARIABLES
    from botocore.configprovider import ConfigValueStore, ConstantProvider
    from botocore.session import Session

    from pipeline.core.service_models import ServiceModels

    session = Session()
    # None of the shell's AWS settings apply, not even a profile that does not exist or a mode that botocore refuses.
    store = ConfigValueStore({name: ConstantProvider(each[2]) for name, each in SESSION_VARIABLES.items()})
    for name in ("config_file", "credentials_file"):
        store.set_config_variable(name, os.devnull)
    session.register_component("config_store", store)
    session.register_component("data_loader", ServiceModels())
    session.set_credentials(account or local.access_key_id, local.secret_access_key)
    return Target("local", region or DEFAULT_REGION, session, local.endpoint, identity=local.identity, report=report)


def partition_of(region: str, session: Any) -> str:
    """The partition of a region, from the data of a botocore ``session``; ``aws`` for one that is not in the data."""
    from botocore.exceptions import UnknownRegionError

    try:
        return str(session.get_partition_for_region(region))
    except UnknownRegionError:
        return PARTITION  # newer than botocore, or misspelt; ``doctor`` asks AWS


def require_partition(region: str, session: Any, what: str = "AWS was not contacted") -> None:
    """Raise AccountError, with ``what`` was not done, for a region whose partition the templates do not work in."""
    partition = partition_of(region, session)
    if partition != PARTITION:
        raise AccountError(
            what,
            f"the region {region} belongs to the partition {partition}, and the templates work in {PARTITION} only:"
            f" other partitions do not have the state machine's integrations arn:{PARTITION}:states:::…",
            f"Use a region of the partition {PARTITION}, such as {DEFAULT_REGION}.",
        )


def aws_target(
    region: str | None, profile: str | None = None, report: Report = ignore, *, role: str | None = None,
    account: str | None = None,
) -> Target:  # fmt: skip
    """AWS with the credentials that botocore finds.

    profile  of the AWS configuration; None for that of the environment
    role     the ARN of a role that botocore assumes with these credentials
    account  the account that they have to be of, which STS is asked for; None for any

    Raises CredentialsError if there are none, or no region, and AccountError for a region of another partition, or
    another account.
    """
    from botocore.session import Session

    from pipeline.core.service_models import ServiceModels

    with configuration_explained():
        session = Session(profile=profile)
        session.register_component("data_loader", ServiceModels(session.get_config_variable("data_path")))
        # botocore itself reads AWS_DEFAULT_REGION only; the AWS CLI and all other SDKs read AWS_REGION.
        region = region or os.environ.get("AWS_REGION") or session.get_config_variable("region") or ""
        region = region.strip() or None
        session.set_config_variable("region", region)  # where a role is assumed
    if region is not None:
        require_partition(region, session)
    with credentials_explained(session):
        if role is not None:
            assume_role(session, role)
        found = session.get_credentials()
    if found is None:
        raise CredentialsError(
            "AWS was not contacted",
            "no credentials were found in the environment, in ~/.aws or from the machine's role",
            "Run `aws configure` or `aws sso login`, or set AWS_PROFILE. Without AWS: --target local.",
        )
    if region is None:
        raise CredentialsError(
            "AWS was not contacted", "no region is set", "Pass --region, or set AWS_REGION or the profile's region."
        )
    with credentials_explained(session):
        frozen = found.get_frozen_credentials()  # signs in or assumes the role
    require_printable(frozen, found.method)
    target = Target("aws", region, session, None, report=report)
    if account is not None:
        _require_account(target, account)
    return target


def _require_account(target: Target, account: str) -> None:
    with explained(target.name, "AWS was not contacted"):
        caller = target.client("sts").get_caller_identity()
    if caller["Account"] != account:
        raise AccountError(
            "nothing was read or changed",
            f"the settings name the account {account}, and these credentials are {caller['Arn']}",
            "Use credentials of that account, or correct account, profile or role in environments.toml.",
        )


_NOT_SIGNED_IN = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
}
_WRONG_SIGNATURE = {"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
_NOT_ALLOWED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"}


@contextmanager
def explained(target_name: str, what: str) -> Iterator[None]:
    """Convert botocore's exceptions in the block into an error with a cause and a next step."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
        UnauthorizedSSOTokenError,
    )
    from botocore.exceptions import (
        ConnectionError as NoConnection,
    )

    try:
        yield
    except PipelineError:
        raise
    except (
        CredentialRetrievalError, NoCredentialsError, PartialCredentialsError, SSOError, TokenRetrievalError,
        UnauthorizedSSOTokenError,
    ) as problem:  # fmt: skip
        raise no_credentials(what, problem) from problem
    except RuntimeError as problem:
        if not are_expired(problem):
            raise
        raise no_credentials(what, problem) from problem
    except ClientError as problem:
        code = error_code(problem)
        if code in _NOT_SIGNED_IN:
            raise CredentialsError(
                what, str(problem), "Renew the credentials (`aws sso login`, a new token) and run it again."
            ) from problem
        if code in _WRONG_SIGNATURE:
            raise CredentialsError(
                what, str(problem), "Correct the secret key, or this machine's clock: a signature lasts some minutes."
            ) from problem
        if code == "OptInRequired":
            raise AccountError(
                what, str(problem), "Enable the region (aws account enable-region), or use another with --region."
            ) from problem
        if code in _NOT_ALLOWED:
            raise CredentialsError(
                what,
                str(problem),
                "Give the caller that permission; docs/permissions.md lists what each command calls.",
            ) from problem
        raise StackError(what, str(problem), "Run it again; every step is safe to repeat.") from problem
    except (NoConnection, HTTPClientError) as problem:
        if target_name == "local":
            raise LocalError(
                what,
                f"the embedded AWS does not answer ({problem})",
                NextStep("Start it again; it keeps what it had", ("up",)),
            ) from problem
        raise StackError(
            what, f"AWS was not reached ({problem})", "Check the network and the region, then run it again."
        ) from problem
    except BotoCoreError as problem:
        raise StackError(
            what, str(problem), "Correct what botocore names, such as a setting of AWS_* or ~/.aws/config."
        ) from problem
