#!/usr/bin/env python3
"""Makes docs/flags.md and docs/metrics.md from the built programs, so that they cannot be wrong.

    tools/make_reference.py [--check] [--bin_dir=build/release/bin] [--docs_dir=docs]

Flags are what --help lists, and what a program answers to values that they cannot have. Metrics are
what a running server and gateway have in /metrics after one request.

  --check   write nothing; print the differences, and exit with 1 where there are any
"""

import argparse
import concurrent.futures
import contextlib
import difflib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ["tidal-server", "tidal-gateway", "tidal-generate"]
START_TIMEOUT_S = 120

# Sections in order, by the file that defines the flags: --help has its name.
SECTIONS = {
    "server/config/config_flags.cc": "Where flags are",
    "server/config/server_flags.cc": "A server",
    "server/config/model_flags.cc": "The model",
    "server/programs/tidal_gateway_main.cc": "A gateway",
    "server/config/door_flags.cc": "Ports: keys, TLS, limits",
    "server/config/logging_flags.cc": "Log",
    "server/config/tracing_flags.cc": "Traces",
    "server/programs/tidal_generate_main.cc": "One prompt",
}
# What the programs call the form of a value, in a word.
KINDS = {
    "true or false": "true or false",
    "a whole number of 32 bits": "whole number",
    "a whole number": "whole number",
    "a whole number, 0 or more": "whole number",
    "a number": "number",
    "a duration, such as 500ms, 30s or 2m": "duration",
    "a number of bytes, such as 65536, 512MiB or 4GiB": "bytes",
}

FLAGS_HEAD = """# Flags

<!-- Made by tools/make_reference.py from the programs. Do not edit. -->

Every flag of {programs}. Each can be given on the command
line (`--max_num_seqs=64`), as the environment variable in the table, or in the YAML file that
`--config` names (`max_num_seqs: 64`); where several say something, the first of these three counts.
`PROGRAM --print_config` shows the value of each and where it comes from. A list has commas between
its values; a duration is like `500ms`, `30s` or `2m`; bytes are like `65536`, `512MiB` or `4GiB`.
Names may have dashes for underscores, or be [vLLM's](operations.md#coming-from-vllm).
`tidal-bench`'s flags are for measurements only: `tidal-bench --help` lists them.
"""

METRICS_HEAD = """# Metrics

<!-- Made by tools/make_reference.py from running programs. Do not edit. -->

Every family of `GET /metrics`, in Prometheus's text format. What they are for, and the alerts and
the dashboard made of them: [observability](observability.md). A histogram NAME has the series
NAME_bucket, NAME_sum and NAME_count; the label `le` of its buckets is not listed.
"""


def environment(**variables):
    """This process's, without TIDAL_ variables: to the programs they are flags."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDAL_")}
    return {**plain, **variables}


def run(program, *arguments, **variables):
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=ROOT,
                          timeout=120, env=environment(**variables))


def variable_of(flag):
    return "TIDAL_" + flag.upper()


def flags_of(program):
    """{file: {flag: (text, default)}} of what --help says."""
    sections = re.split(r"^  Flags from (\S+):$", run(program, "--help").stdout, flags=re.MULTILINE)
    found = {}
    for file, body in zip(sections[1::2], sections[2::2]):
        found[file] = {}
        for entry in re.split(r"^    --(?=\w+ \()", body, flags=re.MULTILINE)[1:]:
            entry = " ".join(entry.split("\n\n")[0].split())
            name, text, default = re.fullmatch(r"(\w+) \((.*)\); default: (.*?);", entry).groups()
            found[file][name] = text, default
    return found


def kind_of(program, flag):
    """What a value of the flag is, told by how the program refuses one that is none."""
    refusal = run(program, "--print_config", **{variable_of(flag): "?"}).stderr
    if match := re.search(rf": {variable_of(flag)}: must be (.*), got \?$", refusal, re.MULTILINE):
        return KINDS[match[1]]
    if flag in ("config", "print_config"):  # not for files
        return "text"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(f"{flag}: [a, b]\n")
        file.flush()
        refusal = run(program, "--print_config", f"--config={file.name}").stderr
    return "text" if "must be one value, got a list" in refusal else "list"


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def code(text):
    return f"`{text}`" if text else ""


def in_words(names):
    names = [code(name) for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def flags_page(bin_dir):
    flags = {program: flags_of(bin_dir / program) for program in PROGRAMS}
    files = {file for of_program in flags.values() for file in of_program}
    if files != set(SECTIONS):
        sys.exit(f"make_reference: SECTIONS must have titles for {sorted(files)}")
    lines = [FLAGS_HEAD.format(programs=in_words(PROGRAMS))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, title in SECTIONS.items():
            users = [program for program in PROGRAMS if file in flags[program]]
            entries = flags[users[0]][file]
            assert all(flags[user][file] == entries for user in users), file
            kinds = pool.map(lambda name: kind_of(bin_dir / users[0], name), entries)
            lines += [f"## {title}", "", f"Of {in_words(users)}.", "",
                      "| flag | value | default | | variable |", "| --- | --- | --- | --- | --- |"]
            for (name, (text, default)), kind in zip(entries.items(), kinds):
                default = code(default.strip('"'))
                lines.append(f"| `--{name}` | {kind} | {default} | {cell(text)} "
                             f"| `{variable_of(name)}` |")
            lines.append("")
    return "\n".join(lines)


@contextlib.contextmanager
def running(bin_dir, name, ready_message, *arguments):
    """The fields of the log line with which a program says that it is ready."""
    process = subprocess.Popen([bin_dir / name, "--http_port=0", "--log_format=json", *arguments],
                               stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    timer = threading.Timer(START_TIMEOUT_S, process.kill)
    timer.start()
    log = []
    try:
        for line in process.stderr:
            log.append(line)
            if f'"message":"{ready_message}"' in line:
                break
        else:
            sys.exit(f"make_reference: {name} did not start:\n{''.join(log)}")
        timer.cancel()
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()  # a log that nobody reads would stop the program
        yield json.loads(line)
    finally:
        timer.cancel()
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


def read(url, body=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as reply:
        return reply.read().decode()


def families_of(text):
    """{name: (type, labels, help)} of Prometheus's text."""
    families = {}
    for name, help_text in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        (kind,) = re.findall(rf"^# TYPE {re.escape(name)} (\w+)$", text, re.MULTILINE)
        samples = re.findall(rf"^{re.escape(name)}(?:_bucket|_sum|_count)?(?:{{(.*)}})? \S+$", text,
                             re.MULTILINE)
        labels = {label for sample in samples for label in re.findall(r'(\w+)="', sample)}
        families[name] = kind, tuple(sorted(labels - {"le"})), help_text
    return families


def metrics_of_programs(bin_dir):
    """The families of a server and those of a gateway, after one request through both."""
    prompt = b'{"prompt": "Once upon a time", "max_tokens": 4}'
    with running(bin_dir, "tidal-server", "ready", "--grpc_port=0", "--device=cpu",
                 "--max_model_len=1024", "--kv_cache_bytes=64MiB") as server:
        with running(bin_dir, "tidal-gateway", "gateway listens",
                     f"--grpc_target={server['grpc']}") as gateway:
            read(gateway["http"] + "/v1/completions", prompt)
            read(server["http"] + "/v1/completions", prompt)
            return [families_of(read(program["http"] + "/metrics"))
                    for program in (server, gateway)]


def metrics_page(bin_dir):
    server, gateway = metrics_of_programs(bin_dir)
    both = {name for name in server if server[name] == gateway.get(name)}
    lines = [METRICS_HEAD]
    for title, families, names in (("Servers", server, server.keys() - both),
                                   ("Servers and gateways", server, both),
                                   ("Gateways", gateway, gateway.keys() - both)):
        if not names:
            continue
        lines += [f"## {title}", "", "| name | type | labels | |", "| --- | --- | --- | --- |"]
        for name in sorted(names):
            kind, labels, help_text = families[name]
            lines.append(f"| `{name}` | {kind} | {', '.join(map(code, labels))} "
                         f"| {cell(help_text)} |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bin_dir", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--docs_dir", type=pathlib.Path, default=ROOT / "docs")
    options = parser.parse_args()
    bin_dir = options.bin_dir.resolve()
    differs = False
    for name, page in (("flags.md", flags_page(bin_dir)), ("metrics.md", metrics_page(bin_dir))):
        path = options.docs_dir / name
        old = path.read_text() if path.exists() else ""
        if options.check:
            diff = list(difflib.unified_diff(old.splitlines(), page.splitlines(), str(path),
                                             "as the programs have it", lineterm=""))
            differs |= bool(diff)
            print("\n".join(diff), end="\n" if diff else "")
        else:
            path.write_text(page)
    if differs:
        sys.exit("make_reference: docs differ from the programs; tools/make_reference.py makes "
                 "them")


if __name__ == "__main__":
    main()
