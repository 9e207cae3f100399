"""Renders the Helm chart with Helm's own library, and finds things in what it made."""

import pathlib

import helm_python
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy/helm/tidalserve"
VALUES_FOLDER = pathlib.Path(__file__).parent / "values"
RELEASE = "demo"
NAMESPACE = "llm"


def good_values():
    """Name and values of every release that the tests look at."""
    files = {path.stem: path for path in sorted(VALUES_FOLDER.glob("*.yaml"))}
    files |= {f"k8s/{path.parent.name}": path for path in ROOT.glob("deploy/k8s/*/values.yaml")}
    return {name: yaml.safe_load(path.read_text()) for name, path in files.items()}


def render(values, name=RELEASE, namespace=NAMESPACE):
    """The text of every object, in the order of the templates' names."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace=namespace)
    texts = []
    for path, text in sorted(files.items()):
        if not path.endswith("NOTES.txt"):
            texts += [part.strip("\n") for part in text.split("\n---\n")]
    return [text.removeprefix("---\n") for text in texts if yaml.safe_load(text) is not None]


class Release:
    """The objects that a release would make."""

    def __init__(self, values):
        self.objects = [yaml.safe_load(text) for text in render(values)]

    def of_kind(self, kind):
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind, name):
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found

    def deployments(self):
        return self.of_kind("Deployment")

    def pods_matched_by(self, labels):
        """Deployments whose pods a selector with these labels finds."""
        return [each for each in self.deployments()
                if labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()]


def pod_of(deployment):
    return deployment["spec"]["template"]["spec"]


def container_of(deployment):
    (container,) = pod_of(deployment)["containers"]
    return container


def flags_of(container):
    """The flags of a container's command line, name to value."""
    return dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])


def ports_of(container):
    """Port names to numbers."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def config_of(release, deployment):
    """The flags in the file that --config names; {} without one."""
    for volume in pod_of(deployment).get("volumes", []):
        if volume["name"] == "config":
            data = release.named("ConfigMap", volume["configMap"]["name"])["data"]
            return yaml.safe_load(data["flags.yaml"])
    return {}


def seconds(duration):
    assert duration.endswith("s"), duration
    return int(duration[:-1])
