#!/bin/sh
# Like the entrypoint of AWS's base images: under the Runtime Interface Emulator unless a Runtime API is there already.
if [ -z "${AWS_LAMBDA_RUNTIME_API}" ]; then
  exec /usr/local/bin/aws-lambda-rie /usr/bin/python3 -m awslambdaric "$@"
fi
exec /usr/bin/python3 -m awslambdaric "$@"
