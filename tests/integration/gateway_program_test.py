"""tidal-gateway: the HTTP API over the network, of one server, of several, and of none."""

import subprocess
import unittest

import openai

import programs

BODY = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}


class GatewayProgramTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        small = ("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB")
        cls.server = programs.Server(*small)
        cls.second = programs.Server(*small)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0 and cls.second.stop() == 0

    def start(self, target, *arguments):
        gateway = programs.GatewayProgram(target, *arguments)
        self.addCleanup(lambda: self.assertEqual(0, gateway.stop(), gateway.log()))
        return gateway

    def test_answers_as_the_server_does(self):
        gateway = self.start(self.server.grpc_target)
        direct, through = self.server.post("/v1/completions", BODY), gateway.post(
            "/v1/completions", BODY)
        self.assertEqual(200, through[0])
        self.assertEqual(direct[1]["choices"], through[1]["choices"])
        self.assertEqual(200, gateway.get("/health/ready")[0])
        self.assertEqual(programs.MODEL, openai.OpenAI(
            base_url=gateway.url + "/v1", api_key="none").models.list().data[0].id)
        self.assertIn('tidal:http_requests_total{handler="/v1/completions",code="200"} 1',
                      gateway.get("/metrics")[1])

    def test_servers_take_turns(self):
        addresses = ",".join([self.server.grpc_target, self.second.grpc_target])
        gateway = self.start(f"ipv4:{addresses}")
        before = [server.metric("vllm:e2e_request_latency_seconds_count")
                  for server in (self.server, self.second)]
        for _ in range(8):
            self.assertEqual(200, gateway.post("/v1/completions", BODY)[0])
        after = [server.metric("vllm:e2e_request_latency_seconds_count")
                 for server in (self.server, self.second)]
        self.assertEqual(8, sum(after) - sum(before))
        self.assertTrue(all(a > b for a, b in zip(after, before)), "each has had some")

    def test_no_server(self):
        gateway = self.start("127.0.0.1:1")
        self.assertEqual(503, gateway.get("/health/ready")[0])
        self.assertEqual(200, gateway.get("/health/live")[0])
        status, reply = gateway.post("/v1/completions", BODY)
        self.assertEqual((503, "server_error"), (status, reply["error"]["type"]))

    def test_api_keys(self):
        gateway = self.start(self.server.grpc_target, "--api_key=one,two")
        good = openai.OpenAI(base_url=gateway.url + "/v1", api_key="two", max_retries=0)
        self.assertTrue(good.completions.create(model=programs.MODEL, prompt="Hi").choices)
        bad = openai.OpenAI(base_url=gateway.url + "/v1", api_key="three", max_retries=0)
        with self.assertRaises(openai.AuthenticationError) as caught:
            bad.models.list()
        self.assertEqual("invalid_api_key", caught.exception.code)

    def test_start_up_errors_name_the_flag(self):
        for arguments, words in ((["--http_port=70000"], "http_port"),
                                 ([f"--http_port={self.server.http_port}"], "http_port"),
                                 (["--grpc_ca_file=/no/such/file"], "grpc_ca_file"),
                                 (["extra"], "arguments")):
            run = subprocess.run([programs.BIN_DIR / "tidal-gateway", *arguments],
                                 capture_output=True, text=True, timeout=60)
            self.assertNotEqual(0, run.returncode, arguments)
            self.assertIn(words, run.stderr)


if __name__ == "__main__":
    unittest.main()
