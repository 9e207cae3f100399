"""lm-evaluation-harness answers the questions of tests/golden/scores.json through a server.

    run_lm_eval.py URL MODEL BATCH_SIZE NUM_CONCURRENT

Prints one line of JSON: the accuracy of its multiple choice task, and what its model gave for each
choice and each text.
"""

import json
import pathlib
import sys
import tempfile

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.openai_completions import LocalCompletionsAPI

GOLDEN = json.loads((pathlib.Path(__file__).resolve().parents[1] /
                     "golden/scores.json").read_text(encoding="utf-8"))


def instances(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=a, idx=i)
            for i, a in enumerate(arguments)]


def task(folder):
    path = pathlib.Path(folder) / "questions.jsonl"
    path.write_text("".join(json.dumps({name: q[name] for name in ("context", "choices", "gold")})
                            + "\n" for q in GOLDEN["questions"]), encoding="utf-8")
    return ConfigurableTask(config={
        "task": "questions", "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder)},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "target_delimiter": "",
        "metric_list": [{"metric": "acc"}]})


def main():
    url, name, batch_size, concurrent = sys.argv[1:]
    model = LocalCompletionsAPI(base_url=url + "/v1/completions", model=name,
                                tokenizer_backend="remote", batch_size=int(batch_size),
                                num_concurrent=int(concurrent), max_retries=1)
    with tempfile.TemporaryDirectory() as folder:
        results = lm_eval.simple_evaluate(model=model, tasks=[task(folder)], bootstrap_iters=0)
    pairs = [(q["context"], choice) for q in GOLDEN["questions"] for choice in q["choices"]]
    print(json.dumps({
        "accuracy": results["results"]["questions"]["acc,none"],
        "choices": model.loglikelihood(instances("loglikelihood", pairs)),
        "texts": model.loglikelihood_rolling(
            instances("loglikelihood_rolling", [(t["text"],) for t in GOLDEN["texts"]])),
    }))


if __name__ == "__main__":
    main()
