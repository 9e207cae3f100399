#!/usr/bin/env python3
"""Writes deploy/k8s/*/tidalserve.yaml: what the Helm chart makes of the values.yaml beside it.

    deploy/k8s/render.py           writes the files
    deploy/k8s/render.py --check   writes nothing; exit code 1 where a file is not up to date

Needs Helm's library from tools/test_requirements.txt (helm-python-sdk).
"""

import pathlib
import re
import sys

import helm_python
import yaml

FOLDER = pathlib.Path(__file__).resolve().parent
CHART = FOLDER.parent / "helm/tidalserve"
NAME = NAMESPACE = "tidalserve"
HEADER = """\
# Made by deploy/k8s/render.py from deploy/helm/tidalserve and the values.yaml beside this file.
# Change those, not this.
"""
# Nobody without Helm has a release of it.
HELMS_OWN = re.compile(
    r"^ +(app\.kubernetes\.io/managed-by|helm\.sh/(chart|resource-policy)): .*\n", re.MULTILINE)


def objects(values):
    """The text of each object, kinds that others need first."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=NAME, namespace=NAMESPACE)
    texts = [text.strip("\n") for path, file in files.items() if path.endswith(".yaml")
             for text in re.split(r"^---\n", file, flags=re.MULTILINE)]
    first = ["ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Service", "Deployment"]

    def order(text):
        content = yaml.safe_load(text)
        kind = content["kind"]
        rank = first.index(kind) if kind in first else len(first)
        return rank, kind, content["metadata"]["name"]

    return sorted((text for text in texts if yaml.safe_load(text)), key=order)


def rendered(folder):
    values = yaml.safe_load((folder / "values.yaml").read_text())
    text = "\n---\n".join(objects(values)) + "\n"
    return HEADER + HELMS_OWN.sub("", text)


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = False
    for folder in sorted(path.parent for path in FOLDER.glob("*/values.yaml")):
        target = folder / "tidalserve.yaml"
        text = rendered(folder)
        if not check:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            print(f"render: {target.relative_to(FOLDER.parents[1])} is not up to date: run "
                  "deploy/k8s/render.py")
            stale = True
    sys.exit(stale)


if __name__ == "__main__":
    main()
