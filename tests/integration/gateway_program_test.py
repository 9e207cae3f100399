"""tidal-gateway: the HTTP API over the network, of one server, of several, and of none."""

import http.client
import json
import subprocess
import unittest

import openai

import programs

BODY = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}


class GatewayProgramTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        small = ("--num_threads=1", "--max_model_len=2048", "--kv_cache_bytes=64MiB",
                 f"--served_model_name={programs.MODEL},org/{programs.MODEL}",
                 "--enable_tokenizer_info_endpoint")
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

    def test_names_with_a_slash(self):
        gateway = self.start(self.server.grpc_target)
        name = f"org/{programs.MODEL}"
        client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="none")
        self.assertEqual(name, client.models.retrieve(name).id)
        for path in (name, name.replace("/", "%2F")):
            self.assertEqual(200, gateway.get(f"/v1/models/{path}")[0], path)

    def test_tokenizer_info(self):
        gateway = self.start(self.server.grpc_target)
        for program in (self.server, gateway):
            status, body = program.get("/tokenizer_info")
            self.assertEqual(200, status)
            info = json.loads(body)
            self.assertIn("<|assistant|>", info["chat_template"])
            self.assertIn("tokenizer_class", info)

    def test_pages_of_allowed_origins(self):
        gateway = self.start(self.server.grpc_target, "--api_key=one", "--root_path=/llm",
                             "--allowed_origins=http://a.example,http://localhost:3000")

        def ask(method, headers, body=None):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.http_port, timeout=60)
            self.addCleanup(connection.close)
            connection.request(method, "/llm/v1/completions", body,
                               {"Origin": "http://localhost:3000", **headers})
            reply = connection.getresponse()
            self.assertEqual("http://localhost:3000",
                             reply.headers["Access-Control-Allow-Origin"])
            self.assertEqual("Origin", reply.headers["Vary"])
            return reply

        preflight = ask("OPTIONS", {"Access-Control-Request-Method": "POST",
                                    "Access-Control-Request-Headers": "authorization"})
        self.assertEqual(200, preflight.status)
        self.assertIn("POST", preflight.headers["Access-Control-Allow-Methods"])
        self.assertEqual("authorization", preflight.headers["Access-Control-Allow-Headers"])
        key = {"Authorization": "Bearer one"}
        stream = ask("POST", key, json.dumps({**BODY, "stream": True}))
        self.assertEqual(200, stream.status)
        self.assertIn(b"[DONE]", stream.read())
        self.assertEqual(400, ask("POST", key, "{").status)
        self.assertEqual(401, ask("POST", {}, json.dumps(BODY)).status)

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
                                 (["--allowed_origins=example.com"], "allowed_origins"),
                                 (["--allowed_origins=https://a/"], "allowed_origins"),
                                 (["--root_path=llm"], "root_path"),
                                 (["extra"], "arguments")):
            run = subprocess.run([programs.BIN_DIR / "tidal-gateway", *arguments],
                                 capture_output=True, text=True, timeout=60)
            self.assertNotEqual(0, run.returncode, arguments)
            self.assertIn(words, run.stderr)


if __name__ == "__main__":
    unittest.main()
