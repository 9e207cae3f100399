"""The chart as Helm sees it: its lint, and which values it takes and refuses."""

import pathlib
import subprocess
import sys
import unittest

import chart
import helm_python
import yaml

BAD_VALUES = pathlib.Path(__file__).parent / "bad_values.yaml"
YAMLLINT_RULES = """
extends: default
rules:
  braces: {max-spaces-inside: 0}
  document-start: disable
  line-length: {max: 100}
  comments: {min-spaces-from-content: 1}
"""


class ChartValuesTest(unittest.TestCase):
    def test_lint_finds_nothing(self):
        report = helm_python.lint(chart.CHART, strict=True)
        # A chart without an icon is no fault of it.
        messages = [each for each in report["messages"] if "icon" not in each["error"]]
        self.assertEqual([], messages)

    def test_yaml_is_tidy(self):
        files = [chart.CHART / "values.yaml", chart.CHART / "Chart.yaml",
                 *chart.VALUES_FOLDER.glob("*.yaml"), *chart.ROOT.glob("deploy/k8s/*/values.yaml")]
        result = subprocess.run([sys.executable, "-m", "yamllint", "-d", YAMLLINT_RULES, *files],
                                capture_output=True, text=True)
        self.assertEqual("", result.stdout + result.stderr)

    def test_schema_knows_every_value_and_no_more(self):
        with helm_python.Chart.load(chart.CHART) as loaded:
            values, schema = loaded.values, loaded.schema
        known = schema["properties"].keys() - {"global"}  # Helm's own
        self.assertEqual(known, values.keys())
        for name in known:
            self.assert_same_keys(name, schema["properties"][name], values[name], schema)

    def assert_same_keys(self, where, schema, value, root):
        if "$ref" in schema:
            schema = root["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        if "properties" not in schema or where.endswith("resources"):
            return
        self.assertIs(False, schema["additionalProperties"], where)
        self.assertEqual(schema["properties"].keys(), value.keys(), where)
        for name, part in schema["properties"].items():
            self.assert_same_keys(f"{where}.{name}", part, value[name], root)

    def test_good_values_are_taken(self):
        for name, values in chart.good_values().items():
            with self.subTest(name):
                self.assertTrue(chart.render(values))

    def test_bad_values_are_refused_with_a_reason(self):
        cases = yaml.safe_load(BAD_VALUES.read_text())
        self.assertGreaterEqual(len(cases), 15)
        for case in cases:
            with self.subTest(case["error"]):
                with self.assertRaises(helm_python.HelmError) as refusal:
                    chart.render(case["values"])
                self.assertIn(case["error"], str(refusal.exception))


if __name__ == "__main__":
    unittest.main()
