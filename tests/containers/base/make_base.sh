#!/usr/bin/env bash
# A stand-in for the AWS base image where no image can be pulled: Debian's Python, awslambdaric and the real RIE.
#
#   tests/containers/base/make_base.sh DIR TAG    builds DIR/base.tar once and loads it into the engine as TAG
#
# The layout follows the AWS base image: /var/task, /var/runtime, /lambda-entrypoint.sh, an unprivileged user can read all.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=$1
tag=$2
python=${PYTHON:-python3}
mkdir -p "$dir"

if [ ! -f "$dir/base.tar" ]; then
  root="$dir/root.making"
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates,python3-minimal,libpython3-stdlib bookworm "$root" >"$dir/debootstrap.log" 2>&1 \
    || { tail -n 20 "$dir/debootstrap.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale} "$root"/var/log/*
  # Devices are not part of an image: the engine makes them.
  rm -rf "$root"/dev/*
  mkdir -p "$root/var/task" "$root/var/runtime" "$root/usr/local/bin"
  "$python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: --python-version 3.11 \
    --implementation cp --target "$root/var/runtime" --require-hashes -r "$here/../../../pipeline/assembly/dependencies/runtime-requirements.txt"
  wheels=$(mktemp -d)
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheels" aws-sam-cli==1.170.0
  case $(uname -m) in aarch64 | arm64) rie=arm64 ;; *) rie=x86_64 ;; esac
  "$python" - "$wheels"/aws_sam_cli-*.whl "samcli/local/rapid/aws-lambda-rie-$rie" "$root/usr/local/bin/aws-lambda-rie" <<'PY'
import pathlib, sys, zipfile
wheel, member, target = sys.argv[1:]
pathlib.Path(target).write_bytes(zipfile.ZipFile(wheel).read(member))
pathlib.Path(target).chmod(0o755)
PY
  rm -rf "$wheels"
  install -m 0755 "$here/lambda-entrypoint.sh" "$root/lambda-entrypoint.sh"
  # As AWS's bases have it. Unchecked, since the tar gives every source another time than its byte code knows.
  chroot "$root" python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.11 /var/runtime
  tar --create --hard-dereference --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "$root" --file "$dir/base.tar.making" .
  mv "$dir/base.tar.making" "$dir/base.tar"
  rm -rf "$root"
fi

docker image inspect "$tag" >/dev/null 2>&1 || docker import \
  --change 'ENTRYPOINT ["/lambda-entrypoint.sh"]' \
  --change 'WORKDIR /var/task' \
  --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
  --change 'ENV LAMBDA_TASK_ROOT=/var/task' \
  --change 'ENV LAMBDA_RUNTIME_DIR=/var/runtime' \
  --change 'ENV PYTHONPATH=/var/runtime' \
  "$dir/base.tar" "$tag" >/dev/null
echo "$tag"
