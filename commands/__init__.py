"""What each command does, between the command line and the stages: values in, an Outcome out. Nothing here prints."""

VERSION = "0.1.0"
