"""Outputs of the pipeline stack that the entrances add; here, for readers that do without the template library."""

from __future__ import annotations

FILES_BUCKET, FILES_STATE_MACHINE = "FilesBucketName", "FilesStateMachineArn"
