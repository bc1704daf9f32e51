"""The CI files of a new project, for GitHub and GitLab: what would change, on each request; released, on main. Pure."""

from __future__ import annotations

from collections.abc import Mapping

GITHUB, GITLAB = ".github/workflows/deploy.yml", ".gitlab-ci.yml"
_GITHUB = """\
# On a pull request: what would change, as a comment. On main: deployed. Each night: environments that have expired are
# deleted. The role trusts GitHub's identity provider, and needs what `doctor --policy up` and `doctor --policy down`
# print. Delete this file if you use GitLab.
name: deploy
on:
  pull_request:
  push:
    branches: [main]
  schedule:
    - cron: "17 3 * * *"
permissions:
  contents: read
  id-token: write
  pull-requests: write
concurrency: ${{ github.event_name }}-${{ github.ref }}
jobs:
  deploy:
    runs-on: ubuntu-latest
    env:
      RELEASE: --environment prod --target aws
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.13"
      - run: pip install 'PROGRAM==VERSION'
GITHUB_TESTS      - uses: aws-actions/configure-aws-credentials@v4
        with:
          role-to-assume: ${{ vars.DEPLOY_ROLE_ARN }}
          aws-region: ${{ vars.AWS_REGION }}
      - if: github.event_name == 'pull_request'
        env:
          GH_TOKEN: ${{ github.token }}
        run: |
          PROGRAM plan $RELEASE > plan.txt || test $? = 2
          { echo '```'; cat plan.txt; echo '```'; } > plan.md
          gh pr comment ${{ github.event.number }} --edit-last --create-if-none --body-file plan.md
      - if: github.event_name == 'push'
        run: PROGRAM up $RELEASE
      - if: github.event_name == 'schedule'
        run: PROGRAM down --expired --yes --target aws
"""
_GITHUB_TESTS = """\
      - run: pip install -r REQUIREMENTS pytest
      - run: pytest
"""
_GITLAB = """\
# On a merge request: what would change, as a note if PLAN_TOKEN is set. On the default branch: deployed. In a pipeline
# schedule: environments that have expired are deleted.
# CI/CD variables: AWS_ROLE_ARN, a role that trusts GitLab's identity provider and needs what `doctor --policy up` and
# `doctor --policy down` print; AWS_REGION; PLAN_TOKEN, a project access token with the scope api. Delete this file if
# you use GitHub.
workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
variables:
  RELEASE: --environment prod --target aws
default:
  image: python:3.13
.aws:
  id_tokens:
    AWS_TOKEN:
      aud: $CI_SERVER_URL
  before_script:
    - pip install 'PROGRAM==VERSION'
    - export AWS_WEB_IDENTITY_TOKEN_FILE="$(mktemp)"
    - printf %s "$AWS_TOKEN" > "$AWS_WEB_IDENTITY_TOKEN_FILE"
GITLAB_TESTSplan:
  extends: .aws
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  script:
    - PROGRAM plan $RELEASE > plan.txt || test $? = 2
    - cat plan.txt
    - |
      { echo '```'; cat plan.txt; echo '```'; } > plan.md
      if [ -n "$PLAN_TOKEN" ]; then
        curl --fail --silent --show-error --output /dev/null --header "PRIVATE-TOKEN: $PLAN_TOKEN" \\
          --data-urlencode body@plan.md \\
          "$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes"
      fi
up:
  extends: .aws
  resource_group: prod
  rules:
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && $CI_PIPELINE_SOURCE != "schedule"
  script:
    - PROGRAM up $RELEASE
expired:
  extends: .aws
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
  script:
    - PROGRAM down --expired --yes --target aws
"""
_GITLAB_TESTS = """\
test:
  stage: build
  script:
    - pip install -r REQUIREMENTS pytest
    - pytest
"""


def ci_files(program: str, version: str, requirements: str) -> Mapping[str, str]:
    """The files by path. requirements: the lock of the function whose tests run; "" for no tests."""
    found = {}
    for path, text, tests in ((GITHUB, _GITHUB, _GITHUB_TESTS), (GITLAB, _GITLAB, _GITLAB_TESTS)):
        filled = text
        for name, value in (
            ("GITHUB_TESTS", tests if requirements else ""),
            ("GITLAB_TESTS", tests if requirements else ""),
            ("REQUIREMENTS", requirements),
            ("PROGRAM", program),
            ("VERSION", version),
        ):
            filled = filled.replace(name, value)
        found[path] = filled
    return found
