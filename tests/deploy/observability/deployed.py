"""What deploy/ says to Prometheus and Grafana: rules, and every query of the dashboard."""

import json
import pathlib
import re
import shutil
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = PROMETHEUS / "tidalserve.rules.yaml"
RULES_TEST = PROMETHEUS / "tidalserve.rules.test.yaml"
DASHBOARD = ROOT / "deploy/grafana/tidalserve.json"

# A metric in a query: what is called with it, its name, its labels, its range.
METRIC = re.compile(r"(?:(\w+)\()?\s*\b((?:vllm|tidal|job|model):\w[\w:]*|process_\w+|up)\b"
                    r"(\{[^}]*\})?(\[[^\]]+\])?")
COUNTER_FUNCTIONS = {"rate", "increase"}


def need_programs(*names):
    """Ends the test as skipped where a program is not installed."""
    for name in names:
        if shutil.which(name) is None:
            print(f"SKIPPED: there is no {name}; the Debian package prometheus has it")
            sys.exit(77)


def rules():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def recorded_names():
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboard_queries():
    """(panel, query) with Grafana's variables as when all is chosen."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "15s")
            query = re.sub(r"\$(job|instance|model_name)\b", ".*", query)
            found.append((f"{panel['title']} {target['refId']}", query))
    return found


def variable_queries():
    """(variable, metric, label) of the dashboard's label_values(metric{...}, label)."""
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    found = []
    for variable in variables:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\(([\w:]+)(?:\{.*\})?, (\w+)\)",
                                         variable["query"]).groups()
            found.append((variable["name"], metric, label))
    return found


def all_queries():
    """(where, query) of everything that deploy/ asks of Prometheus."""
    return dashboard_queries() + [(rule.get("alert") or rule["record"], rule["expr"])
                                  for rule in rules()]


def metrics_of(query):
    """(function or None, name, is a range) of each metric in a query."""
    return [(function or None, name, bool(window))
            for function, name, _, window in METRIC.findall(query)]
