"""Runs lm-evaluation-harness over the tasks of tests/golden/lm_eval.

As a program it writes what transformers in float32 gives them, by the harness's back end for it:

    python3 -m venv VENV && VENV/bin/pip install 'lm_eval[hf]==0.4.13'
    VENV/bin/python tests/integration/lm_eval_harness.py
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/golden/lm_eval"
SCORES = FOLDER / "scores.json"
METRICS = {"tidal_questions": ("acc", "acc_norm"),
           "tidal_texts": ("bits_per_byte", "byte_perplexity", "word_perplexity")}


@dataclasses.dataclass
class Report:
    metrics: dict    # by name, as the harness prints them
    questions: list  # of each question's choices: [log probability, is greedy]
    texts: list      # log probability of each text


def _samples(folder, task):
    [path] = folder.rglob(f"samples_{task}_*.jsonl")
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def _report(folder):
    [path] = folder.rglob("results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return Report(
        {metric: results[task][f"{metric},none"] for task in METRICS for metric in METRICS[task]},
        # The harness writes both as text.
        [[[float(value), greedy == "True"] for value, greedy in sample["filtered_resps"]]
         for sample in _samples(folder, "tidal_questions")],
        [float(sample["filtered_resps"][0]) for sample in _samples(folder, "tidal_texts")])


def run(model, model_args, *options):
    """What the harness reports with this model of its own, over loopback at most."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        done = subprocess.run(
            [sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", model_args,
             "--include_path", FOLDER, "--tasks", ",".join(METRICS), "--output_path", folder,
             "--log_samples", *options],
            cwd=ROOT, env={**os.environ, **offline, "HF_HOME": str(folder / "cache")},
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"lm_eval ended with {done.returncode}:\n{done.stderr}")
        return _report(folder)


def write(report):
    lines = [f'"metrics": {json.dumps(report.metrics)}']
    for name in ("questions", "texts"):
        rows = ",\n".join(f"  {json.dumps(row)}" for row in getattr(report, name))
        lines.append(f'"{name}": [\n{rows}\n ]')
    SCORES.write_text("{\n " + ",\n ".join(lines) + "\n}\n", encoding="utf-8")


def main():
    # The server's tokenizer, as the harness asks it, adds no special tokens either.
    write(run("hf", "pretrained=models/tidal-nano,dtype=float32,add_bos_token=False",
              "--device", "cpu", "--batch_size", "1"))


if __name__ == "__main__":
    main()
