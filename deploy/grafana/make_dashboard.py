#!/usr/bin/env python3
"""Makes tidalserve.json, the Grafana dashboard: edit this file, not the JSON.

    make_dashboard.py            writes the dashboard
    make_dashboard.py --check    fails where the file is not what this script makes
"""

import json
import pathlib
import sys

DASHBOARD = pathlib.Path(__file__).with_name("tidalserve.json")

# What every query is restricted to. Metrics of HTTP and of the process know no model.
MODEL = 'job=~"$job",instance=~"$instance",model_name=~"$model_name"'
PROCESS = 'job=~"$job",instance=~"$instance"'
GRID_WIDTH = 24


def rate(metric, labels=MODEL):
    return f"sum(rate({metric}{{{labels}}}[$__rate_interval]))"


def rate_by(label, metric, labels=MODEL):
    return f"sum by ({label}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(q, histogram):
    buckets = f"rate({histogram}_bucket{{{MODEL}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by (le) ({buckets}))"


def mean(histogram):
    return f"{rate(histogram + '_sum')} / {rate(histogram + '_count')}"


def by_instance(metric, labels=MODEL):
    return f"sum by (instance) ({metric}{{{labels}}})"


def target(query, legend="", **more):
    return {"expr": query, "legendFormat": legend or "__auto",
            "datasource": {"type": "prometheus", "uid": "$datasource"}, **more}


def panel(kind, title, description, unit, width, targets, **options):
    """A panel without its place, which the row gives it."""
    defaults = {"unit": unit, "min": 0}
    if "thresholds" in options:
        steps = [{"color": color, "value": value} for value, color in options.pop("thresholds")]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "type": kind, "title": title, "description": description, "width": width,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [{**one, "refId": chr(ord("A") + i)} for i, one in enumerate(targets)],
        **options,
    }


def graph(title, description, unit, *series, width=8):
    """Lines over time; each of `series` is (legend, query)."""
    return panel("timeseries", title, description, unit, width,
                 [target(query, legend) for legend, query in series],
                 options={"tooltip": {"mode": "multi", "sort": "desc"},
                          "legend": {"displayMode": "list", "placement": "bottom"}})


def quantiles(title, description, histogram, width=8):
    return graph(title, description, "s", *((f"p{percent}", quantile(percent / 100, histogram))
                                            for percent in (50, 90, 99)),
                 ("mean", mean(histogram)), width=width)


def heatmap(title, description, unit, histogram, width=12):
    buckets = f"sum by (le) (increase({histogram}_bucket{{{MODEL}}}[$__rate_interval]))"
    return panel("heatmap", title, description, unit, width,
                 [target(buckets, "{{le}}", format="heatmap")],
                 options={"calculate": False, "yAxis": {"unit": unit},
                          "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}})


def number(title, description, unit, query, thresholds=((None, "blue"),), width=4):
    return panel("stat", title, description, unit, width, [target(query)],
                 thresholds=thresholds,
                 options={"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"})


GOOD_IS_LOW = ((None, "green"), (0.8, "orange"), (0.95, "red"))
BAD_IS_LOW = ((None, "red"), (1, "green"))

ROWS = [
    ("Overview", [
        number("Servers live", "Servers whose model works.", "none",
               f"sum(tidal:live{{{MODEL}}})", BAD_IS_LOW),
        number("Servers ready", "Servers that take requests.", "none",
               f"sum(tidal:ready{{{MODEL}}})", BAD_IS_LOW),
        number("Outputs a second", "Outputs that ended, however.", "ops",
               rate("vllm:request_success_total")),
        number("Tokens a second", "Tokens generated.", "none",
               rate("vllm:generation_tokens_total")),
        number("KV cache", "Of the server whose cache is fullest.", "percentunit",
               f"max(vllm:kv_cache_usage_perc{{{MODEL}}})", GOOD_IS_LOW),
        number("First token, p99", "From request to first token.", "s",
               quantile(0.99, "vllm:time_to_first_token_seconds")),
    ]),
    ("Latency", [
        quantiles("Time to first token", "From request to first token.",
                  "vllm:time_to_first_token_seconds"),
        quantiles("Time between tokens", "From one token of an output to the next.",
                  "vllm:inter_token_latency_seconds"),
        quantiles("Request", "From request to last token.", "vllm:e2e_request_latency_seconds"),
        heatmap("Time to first token", "How many first tokens took how long.", "s",
                "vllm:time_to_first_token_seconds"),
        heatmap("Time between tokens", "How many tokens came how long after the one before.", "s",
                "vllm:inter_token_latency_seconds"),
        graph("Where a request's time goes", "The mean time of each phase.", "s",
              ("queue", mean("vllm:request_queue_time_seconds")),
              ("prefill", mean("vllm:request_prefill_time_seconds")),
              ("decode", mean("vllm:request_decode_time_seconds")), width=12),
        graph("Late first tokens",
              "Share that took more than 2.5 s. The objective allows 1 in 100.", "percentunit",
              ("5 minutes",
               'max(model:tidal_late_first_tokens:ratio_rate5m{job=~"$job",'
               'model_name=~"$model_name"})'),
              ("1 hour",
               'max(model:tidal_late_first_tokens:ratio_rate1h{job=~"$job",'
               'model_name=~"$model_name"})'), width=12),
    ]),
    ("Throughput", [
        graph("Tokens", "Tokens a second.", "none",
              ("prompt", rate("vllm:prompt_tokens_total")),
              ("prompt, from cache", rate("vllm:prompt_tokens_cached_total")),
              ("generated", rate("vllm:generation_tokens_total"))),
        graph("Ended outputs", "Outputs a second, by why they ended.", "ops",
              ("{{finished_reason}}",
               rate_by("finished_reason", "vllm:request_success_total"))),
        graph("Sizes", "The mean of an output.", "none",
              ("prompt tokens", mean("vllm:request_prompt_tokens")),
              ("generated tokens", mean("vllm:request_generation_tokens")),
              ("tokens asked for", mean("vllm:request_params_max_tokens"))),
    ]),
    ("Queue and KV cache", [
        graph("Requests", "Running: those that hold cache blocks.", "none",
              ("running", f"sum(vllm:num_requests_running{{{MODEL}}})"),
              ("waiting", f"sum(vllm:num_requests_waiting{{{MODEL}}})")),
        graph("Waiting tokens", "Prompt tokens that wait to be run.", "none",
              ("{{instance}}", by_instance("tidal:queued_tokens"))),
        graph("KV cache in use", "Share of the blocks that running requests hold.", "percentunit",
              ("{{instance}}", f"max by (instance) (vllm:kv_cache_usage_perc{{{MODEL}}})")),
        graph("Preemptions", "Sequences a second that gave up their blocks to others.", "ops",
              ("{{instance}}", rate_by("instance", "vllm:num_preemptions_total"))),
        quantiles("Time in the queue", "From request to first scheduled.",
                  "vllm:request_queue_time_seconds"),
        graph("Refused requests", "Requests a second that were told to come back later, by why.",
              "ops", ("{{reason}}", rate_by("reason", "tidal:requests_refused_total"))),
    ]),
    ("Prefix cache", [
        graph("Hit rate", "Share of prompt tokens that were found in the cache.", "percentunit",
              ("hits", f"{rate('vllm:prefix_cache_hits_total')} / "
                       f"{rate('vllm:prefix_cache_queries_total')}"), width=12),
        graph("Prompt tokens computed", "Per output: those that were not in the cache.", "none",
              *((f"p{percent}", quantile(percent / 100, "vllm:request_prefill_kv_computed_tokens"))
                for percent in (50, 99)), width=12),
    ]),
    ("Sparse attention", [
        graph("Decode steps", "Tokens a second decoded with sparse and with full attention.",
              "none", ("sparse", rate("tidal:sparse_decode_steps_total")),
              ("dense", rate("tidal:dense_decode_steps_total"))),
        graph("Tokens read by a reuse layer", "Per sparse step.", "none",
              ("selected tokens", f"{rate('tidal:selected_tokens_total')} / "
                                  f"{rate('tidal:sparse_decode_steps_total')}")),
        graph("KV cache read", "Bytes a second that decode attention read.", "Bps",
              ("{{instance}}", rate_by("instance", "tidal:kv_bytes_read_total"))),
        graph("Corrections", "Sparsely decoded tokens a second that were run again densely.",
              "none", ("{{instance}}", rate_by("instance", "tidal:corrected_tokens_total")),
              width=24),
    ]),
    ("Steps of the model", [
        quantiles("Time of a step", "What the model took.", "tidal:step_seconds"),
        graph("Tokens in a step", "Prompt and decode together.", "none",
              ("mean", mean("vllm:iteration_tokens_total")),
              ("p99", quantile(0.99, "vllm:iteration_tokens_total"))),
        graph("Since the last step", "Above some seconds: the model hangs.", "s",
              ("{{instance}}",
               f"max by (instance) (tidal:seconds_since_last_step{{{MODEL}}})")),
    ]),
    ("HTTP and processes", [
        graph("Requests", "A second, by status.", "ops",
              ("{{code}}", rate_by("code", "tidal:http_requests_total", PROCESS))),
        graph("Open", "Requests being answered, and connections.", "none",
              ("requests", f"sum(tidal:http_requests_in_flight{{{PROCESS}}})"),
              ("connections", f"sum(tidal:http_connections{{{PROCESS}}})")),
        graph("Held request bytes", "Bytes of HTTP requests in memory.", "bytes",
              ("{{instance}}", by_instance("tidal:http_request_bytes_held", PROCESS))),
        graph("Memory", "Resident, of the process.", "bytes",
              ("{{instance}}", by_instance("process_resident_memory_bytes", PROCESS))),
        graph("Device memory", "At the start, by rank and use. The most of any server.", "bytes",
              ("rank {{rank}}: {{part}}",
               f"max by (rank, part) (tidal:device_memory_bytes{{{MODEL}}})")),
        graph("Processors", "Processor seconds a second.", "none",
              ("{{instance}}", rate_by("instance", "process_cpu_seconds_total", PROCESS))),
        graph("Open files", "Files and sockets, as a share of the limit.", "percentunit",
              ("{{instance}}", f"max by (instance) (process_open_fds{{{PROCESS}}} / "
                               f"process_max_fds{{{PROCESS}}})")),
        graph("Up time", "Since the process started.", "s",
              ("{{instance}}", "time() - max by (instance) "
                               f"(process_start_time_seconds{{{PROCESS}}})")),
        graph("Versions", "Processes by version.", "none",
              ("{{version}}", f"count by (version) (tidal:build_info{{{PROCESS}}})")),
        graph("Traces", "Spans a second.", "none",
              ("exported", rate("tidal:spans_exported_total", PROCESS)),
              ("dropped: {{reason}}", rate_by("reason", "tidal:spans_dropped_total", PROCESS))),
        graph("Lost log lines", "A second: lines that could not be written.", "none",
              ("{{instance}}", rate_by("instance", "tidal:log_lines_dropped_total", PROCESS))),
    ]),
]


def variable(name, label, query):
    """One that lists a label's values; all of them are chosen at first."""
    return {"type": "query", "name": name, "label": label, "query": query, "refresh": 2,
            "datasource": {"type": "prometheus", "uid": "$datasource"}, "includeAll": True,
            "multi": True, "allValue": ".*", "sort": 1,
            "current": {"text": "All", "value": "$__all"}}


VARIABLES = [
    {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
    variable("job", "Job", "label_values(tidal:build_info, job)"),
    variable("instance", "Instance", 'label_values(tidal:build_info{job=~"$job"}, instance)'),
    variable("model_name", "Model",
             'label_values(vllm:cache_config_info{job=~"$job"}, model_name)'),
]


def place(rows):
    """The panels with their places on Grafana's grid: from left to right, row by row."""
    placed, y = [], 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}})
        x, y = 0, y + 1
        for one in panels:
            width, height = one["width"], 4 if one["type"] == "stat" else 8
            if x + width > GRID_WIDTH:
                x, y = 0, y + height
            placed.append({**{key: value for key, value in one.items() if key != "width"},
                           "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        y += height
    return [{**one, "id": number} for number, one in enumerate(placed, 1)]


def make_dashboard():
    return {
        "uid": "tidalserve", "title": "tidalserve", "tags": ["tidalserve", "llm"],
        "schemaVersion": 38, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": VARIABLES},
        "annotations": {"list": []},
        "panels": place(ROWS),
    }


def main():
    text = json.dumps(make_dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        DASHBOARD.write_text(text)
    elif DASHBOARD.read_text() != text:
        sys.exit(f"{DASHBOARD.name} is not what {pathlib.Path(__file__).name} makes: run it")


if __name__ == "__main__":
    main()
