"""What the chart makes: valid for Kubernetes, and its parts fit each other."""

import json
import pathlib
import unittest

import chart
import jsonschema
import kubernetes_validate
import yaml

OLDEST_KUBERNETES = "1.30"  # as Chart.yaml says
CRD_SCHEMAS = yaml.safe_load((pathlib.Path(__file__).parent / "crd_schemas.yaml").read_text())
# The program needs this long to end after the last request was cut.
EXIT_SECONDS = 5


class ManifestsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.releases = {name: chart.Release(values)
                        for name, values in chart.good_values().items()}

    def each_release(self):
        for name, release in self.releases.items():
            with self.subTest(name):
                yield release

    def each_container(self):
        for release in self.each_release():
            for deployment in release.deployments():
                yield release, deployment, chart.container_of(deployment)

    def test_the_releases_make_every_kind(self):
        made = {each["kind"] for release in self.releases.values() for each in release.objects}
        self.assertLessEqual({
            "Deployment", "Service", "ConfigMap", "PersistentVolumeClaim", "PodDisruptionBudget",
            "ServiceAccount", "NetworkPolicy", "ServiceMonitor", "PodMonitor", "PrometheusRule",
            "ScaledObject", "InferencePool", "HTTPRoute"}, made)

    def test_kubernetes_takes_every_object(self):
        versions = [OLDEST_KUBERNETES, kubernetes_validate.latest_version()]
        for release in self.each_release():
            for each in release.objects:
                spec_schema = CRD_SCHEMAS.get(f"{each['apiVersion']}/{each['kind']}")
                if spec_schema:
                    jsonschema.validate(each["spec"], {**spec_schema,
                                                       "definitions": CRD_SCHEMAS["definitions"]})
                    continue
                for version in versions:
                    kubernetes_validate.validate(each, version, strict=True)

    def test_names_are_unique_and_short(self):
        for release in self.each_release():
            names = [(each["kind"], each["metadata"]["name"]) for each in release.objects]
            self.assertEqual(len(names), len(set(names)))
            self.assertLessEqual(max(len(name) for _, name in names), 63)

    def test_a_long_release_name_still_gives_valid_names(self):
        for text in chart.render({}, name="a" * 53):
            self.assertLessEqual(len(yaml.safe_load(text)["metadata"]["name"]), 63)

    def test_each_selector_finds_the_pods_of_one_deployment(self):
        for release in self.each_release():
            selectors = [each["spec"]["selector"]["matchLabels"] for kind in
                         ("Deployment", "PodDisruptionBudget", "InferencePool", "PodMonitor")
                         for each in release.of_kind(kind)]
            selectors += [each["spec"]["selector"] for each in release.of_kind("Service")]
            selectors += [each["spec"]["podSelector"]["matchLabels"]
                          for each in release.of_kind("NetworkPolicy")]
            for deployment in release.deployments():
                selectors += [each["labelSelector"]["matchLabels"] for each in
                              chart.pod_of(deployment).get("topologySpreadConstraints", [])]
            for selector in selectors:
                self.assertEqual(1, len(release.pods_matched_by(selector)), selector)

    def test_ports_exist(self):
        for release in self.each_release():
            for service in release.of_kind("Service"):
                (deployment,) = release.pods_matched_by(service["spec"]["selector"])
                ports = chart.ports_of(chart.container_of(deployment))
                for port in service["spec"]["ports"]:
                    self.assertEqual(port["port"], ports[port["targetPort"]])
            for policy in release.of_kind("NetworkPolicy"):
                selector = policy["spec"]["podSelector"]["matchLabels"]
                (deployment,) = release.pods_matched_by(selector)
                ports = chart.ports_of(chart.container_of(deployment))
                for rule in policy["spec"]["ingress"]:
                    self.assertLessEqual({port["port"] for port in rule["ports"]}, ports.keys())

    def test_flags_and_ports_are_the_same(self):
        for _, _, container in self.each_container():
            flags = chart.flags_of(container)
            for name, number in chart.ports_of(container).items():
                self.assertEqual(number, int(flags[f"{name}_port"]))

    def test_probes_ask_a_port_that_answers_them(self):
        for release, _, container in self.each_container():
            flags, ports = chart.flags_of(container), chart.ports_of(container)
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(name)
                if probe is None:
                    self.assertEqual("startupProbe", name)
                    self.assertEqual("gateway", container["name"])
                elif "grpc" in probe:
                    self.assertEqual(ports["grpc"], probe["grpc"]["port"])
                    self.assertNotIn("tls_cert_file", flags)
                else:
                    on_own_port = probe["httpGet"]["port"] == "health"
                    self.assertEqual("health" in ports, on_own_port)
                    speaks_tls = "tls_cert_file" in flags and not on_own_port
                    self.assertEqual("HTTPS" if speaks_tls else "HTTP", probe["httpGet"]["scheme"])
                    self.assertFalse(speaks_tls and "tls_client_ca_file" in flags)

    def test_a_pod_has_time_to_drain(self):
        for _, deployment, container in self.each_container():
            wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            drain = chart.seconds(chart.flags_of(container)["shutdown_timeout"])
            grace = chart.pod_of(deployment)["terminationGracePeriodSeconds"]
            self.assertGreaterEqual(grace, wait + drain + EXIT_SECONDS)

    def test_monitors_find_a_port_once(self):
        for release in self.each_release():
            for monitor in release.of_kind("ServiceMonitor"):
                labels = monitor["spec"]["selector"]["matchLabels"]
                (service,) = [each for each in release.of_kind("Service")
                              if labels.items() <= each["metadata"]["labels"].items()]
                (endpoint,) = monitor["spec"]["endpoints"]
                self.assertIn(endpoint["port"], [port["name"] for port in service["spec"]["ports"]])
            for monitor in release.of_kind("PodMonitor"):
                labels = monitor["spec"]["selector"]["matchLabels"]
                (deployment,) = release.pods_matched_by(labels)
                (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
                self.assertIn(endpoint["port"], chart.ports_of(chart.container_of(deployment)))

    def test_pods_are_locked_down(self):
        for release, deployment, container in self.each_container():
            pod = chart.pod_of(deployment)
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual({"type": "RuntimeDefault"}, pod["securityContext"]["seccompProfile"])
            self.assertFalse(pod["automountServiceAccountToken"])
            self.assertFalse(pod["enableServiceLinks"])
            context = container["securityContext"]
            self.assertFalse(context["allowPrivilegeEscalation"])
            self.assertEqual(["ALL"], context["capabilities"]["drop"])
            may_write = release is self.releases["gpu"] and container["name"] == "server"
            self.assertEqual(not may_write, context["readOnlyRootFilesystem"])

    def test_mounts_have_volumes_and_files_have_mounts(self):
        for _, deployment, container in self.each_container():
            volumes = {each["name"] for each in chart.pod_of(deployment).get("volumes", [])}
            mounts = container.get("volumeMounts", [])
            self.assertEqual(volumes, {each["name"] for each in mounts})
            folders = tuple(each["mountPath"] + "/" for each in mounts)
            for name, value in chart.flags_of(container).items():
                if value.startswith("/etc/tidalserve/"):
                    self.assertTrue(value.startswith(folders), name)

    def test_the_gateway_finds_the_servers(self):
        for release in self.each_release():
            for deployment in release.deployments():
                container = chart.container_of(deployment)
                if container["name"] != "gateway":
                    continue
                target = chart.flags_of(container)["grpc_target"]
                name, port = target.removeprefix("dns:///").split(":")
                service = release.named("Service", name)
                self.assertEqual("None", service["spec"]["clusterIP"])
                self.assertEqual(int(port), service["spec"]["ports"][0]["port"])

    def test_rules_and_dashboard_are_those_of_deploy(self):
        release = self.releases["gpu"]
        (rules,) = release.of_kind("PrometheusRule")
        source = yaml.safe_load((chart.ROOT / "deploy/prometheus/tidalserve.rules.yaml").read_text())
        self.assertEqual(source, rules["spec"])
        dashboard = release.named("ConfigMap", "demo-tidalserve-dashboard")
        self.assertEqual(json.loads((chart.ROOT / "deploy/grafana/tidalserve.json").read_text()),
                         json.loads(dashboard["data"]["tidalserve.json"]))
        self.assertEqual("1", dashboard["metadata"]["labels"]["grafana_dashboard"])

    def test_the_rules_find_the_jobs_of_the_monitors(self):
        jobs = {rule["replacement"] for release in self.releases.values()
                for kind in ("ServiceMonitor", "PodMonitor") for monitor in release.of_kind(kind)
                for endpoint in monitor["spec"].get("endpoints",
                                                    monitor["spec"].get("podMetricsEndpoints"))
                for rule in endpoint["relabelings"] if rule["targetLabel"] == "job"}
        scraped = yaml.safe_load((chart.ROOT / "deploy/prometheus/prometheus.yaml").read_text())
        self.assertEqual(jobs, {job["job_name"] for job in scraped["scrape_configs"]})

    def test_autoscaling_owns_the_number_of_servers(self):
        scaled = self.releases["gpu"]
        (target,) = scaled.of_kind("ScaledObject")
        deployment = scaled.named("Deployment", target["spec"]["scaleTargetRef"]["name"])
        self.assertNotIn("replicas", deployment["spec"])
        self.assertEqual(1, self.releases["defaults"].deployments()[1]["spec"]["replicas"])

    def test_only_servers_take_a_gpu(self):
        server, gateway = [chart.container_of(each) for each in
                           sorted(self.releases["gpu"].deployments(),
                                  key=lambda each: each["metadata"]["name"], reverse=True)]
        self.assertEqual(1, server["resources"]["limits"]["nvidia.com/mig-4g.71gb"])
        self.assertEqual("cuda", chart.flags_of(server)["device"])
        self.assertTrue(server["image"].endswith(":1.2.3-cuda"))
        self.assertEqual({"memory"}, gateway["resources"]["limits"].keys())
        self.assertTrue(gateway["image"].endswith(":1.2.3-cpu"))

    def server_of(self, release):
        """The servers' container, its flags of --config, and the size of its /dev/shm."""
        (deployment,) = [each for each in release.deployments()
                         if chart.container_of(each)["name"] == "server"]
        sizes = {each["name"]: each["emptyDir"]["sizeLimit"]
                 for each in chart.pod_of(deployment).get("volumes", [])
                 if each.get("emptyDir", {}).get("medium") == "Memory"}
        container = chart.container_of(deployment)
        mounts = {each["mountPath"]: each["name"] for each in container.get("volumeMounts", [])}
        self.assertLessEqual(sizes.keys(), set(mounts.values()))
        return container, chart.config_of(release, deployment), sizes.get(mounts.get("/dev/shm"))

    def test_a_server_has_a_gpu_for_each_rank(self):
        for name, gpus, shared in (("k8s/gpu", 1, None), ("two_gpus", 2, "1Gi")):
            with self.subTest(name):
                container, config, size = self.server_of(self.releases[name])
                self.assertEqual(gpus, container["resources"]["limits"]["nvidia.com/gpu"])
                self.assertEqual(gpus, config.get("tensor_parallel_size", 1))
                self.assertEqual(shared, size)
        # What a flag has for nothing or no stays in the file.
        self.assertEqual({"log_format": "json", "kv_cache_bytes": 0, "tensor_parallel_size": 2},
                         config)
        both = chart.Release({"image": {"variant": "cuda"}, "server": {
            "tensorParallelSize": 2, "gpu": {"count": 2}, "sharedMemory": {"size": "4Gi"}}})
        container, _, size = self.server_of(both)
        self.assertEqual(2, container["resources"]["limits"]["nvidia.com/gpu"])
        self.assertEqual("4Gi", size)

    def test_ranks_on_a_cpu_share_its_threads(self):
        container, config, size = self.server_of(
            chart.Release({"server": {"tensorParallelSize": 4}}))
        self.assertEqual({"memory"}, container["resources"]["limits"].keys())
        self.assertEqual(4, config["tensor_parallel_size"])
        self.assertNotIn("env", container)
        self.assertIsNone(size)
        container, _, _ = self.server_of(self.releases["defaults"])
        self.assertEqual("TIDAL_NUM_THREADS", container["env"][0]["name"])

    def test_a_new_number_of_ranks_makes_new_pods(self):
        sums = set()
        for ranks in (1, 2, 4):
            release = chart.Release({"server": {"tensorParallelSize": ranks}})
            annotations = [each["spec"]["template"]["metadata"]["annotations"]
                           for each in release.deployments()]
            sums |= {each["checksum/config"] for each in annotations}
        self.assertEqual(4, len(sums), "three of the servers, one of the gateway")


if __name__ == "__main__":
    unittest.main()
