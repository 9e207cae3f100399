"""The alert rules: correct, tested both ways, and each with a runbook that exists."""

import re
import subprocess
import unittest

import yaml

import deployed


def promtool(*arguments):
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout + run.stderr


class AlertRulesTest(unittest.TestCase):
    def test_promtool_accepts_the_rules_and_their_tests(self):
        for arguments in (("check", "rules", deployed.RULES),
                          ("test", "rules", deployed.RULES_TEST),
                          ("check", "config", deployed.PROMETHEUS / "prometheus.yaml")):
            code, output = promtool(*arguments)
            self.assertEqual(0, code, output)

    def test_the_kubernetes_configuration(self):
        """Debian's promtool was built without Kubernetes: the rest of the file is checked."""
        path = deployed.PROMETHEUS / "prometheus.kubernetes.yaml"
        config = yaml.safe_load(path.read_text())
        for scrape in config["scrape_configs"]:
            self.assertEqual([{"role": "pod"}], scrape.pop("kubernetes_sd_configs"))
            scrape["static_configs"] = [{"targets": ["pod:8000"]}]
        config["rule_files"] = [str(deployed.RULES)]
        run = subprocess.run(["promtool", "check", "config", "/dev/stdin"], timeout=60,
                             input=yaml.safe_dump(config), capture_output=True, text=True)
        self.assertEqual(0, run.returncode, run.stdout + run.stderr)

    def test_every_alert_is_tested_to_fire_and_to_be_silent(self):
        fires, silent = set(), set()
        for test in yaml.safe_load(deployed.RULES_TEST.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
            for case in test.get("promql_expr_test", []):
                (name,) = re.findall(r'ALERTS\{alertname="(\w+)"', case["expr"])
                (fires if case["exp_samples"] else silent).add(name)
        names = {alert["alert"] for alert in deployed.alerts()}
        self.assertEqual(names, fires)
        self.assertEqual(names, silent)

    def test_every_alert_says_what_to_do(self):
        for alert in deployed.alerts():
            name = alert["alert"]
            self.assertIn(alert["labels"]["severity"], ("critical", "warning"), name)
            self.assertEqual({"summary", "description", "runbook_url"}, set(alert["annotations"]))
            path, anchor = alert["annotations"]["runbook_url"].split("#")
            self.assertEqual(name.lower(), anchor)
            text = (deployed.ROOT / path).read_text()
            section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
            self.assertIsNotNone(section, f"{path} has no section {name}")
            for part in ("**Meaning.**", "**Confirm.**", "**Do.**"):
                self.assertIn(part, section.group(1), f"{path}, {name}")

    def test_the_runbook_has_no_other_alerts(self):
        text = (deployed.ROOT / "docs/runbook.md").read_text()
        self.assertEqual({alert["alert"] for alert in deployed.alerts()},
                         set(re.findall(r"^## (Tidal\w+)$", text, re.MULTILINE)))


if __name__ == "__main__":
    deployed.need_programs("promtool")
    unittest.main()
