"""What readers of the stack know the entrances by: outputs and logical ids. They do without the template library."""

from __future__ import annotations

FILES_BUCKET, FILES_STATE_MACHINE = "FilesBucketName", "FilesStateMachineArn"
# The logical id of the state machine of the entrance for files.
FILES_MACHINE = "FilesStateMachine"
