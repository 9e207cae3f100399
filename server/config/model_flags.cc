#include "server/config/model_flags.h"

#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/config/byte_size.h"

ABSL_FLAG(std::string, model, "",
          "Folder of the model, in the form of Hugging Face: config.json, *.safetensors, "
          "tokenizer.json. Empty: models/tidal-nano, here or above the program.");
ABSL_FLAG(std::vector<std::string>, served_model_name, {},
          "Names clients may use for the model, with commas between; replies carry the first. "
          "Empty: the name of the folder.");
ABSL_FLAG(
    std::string, chat_template, "",
    "Chat template to use instead of the model's: a file, or the text of one. It is Jinja, as "
    "Hugging Face has it.");
ABSL_FLAG(bool, escape_special_tokens, false,
          "In chats, special tokens that a client writes out (<|im_end|>) stay text; those of the "
          "chat template are tokens. Off: all are, as with Hugging Face and vLLM.");
ABSL_FLAG(std::string, tool_call_parser, "auto",
          "How the model writes calls of tools, by vLLM's names; auto: as its chat template shows; "
          "none: they stay text.");
ABSL_FLAG(std::string, reasoning_parser, "auto",
          "How the model writes what it thinks before it answers, by vLLM's names; auto, none: as "
          "for tool_call_parser.");
ABSL_FLAG(std::string, device, "auto",
          "What the model runs on: cuda, cpu, or auto (a GPU where there is one that works).");
ABSL_FLAG(int32_t, cuda_device, 0, "Number of the GPU, as CUDA counts them.");
ABSL_FLAG(int32_t, tensor_parallel_size, 1,
          "GPUs that compute the model together, each a part of it, from cuda_device on; on a CPU, "
          "processes. The server starts a process for each.");
ABSL_FLAG(bool, cuda_graphs, true,
          "Replay decode steps as CUDA graphs. Off only to look for a fault.");
ABSL_FLAG(int32_t, num_threads, 0,
          "Threads of the CPU back end, in each process of tensor_parallel_size. 0: all cores this "
          "process may use, or an equal share of them.");
ABSL_FLAG(int32_t, max_model_len, 0,
          "Most tokens of prompt and output together. 0: what the model was made for.");
ABSL_FLAG(int32_t, max_num_seqs, 256, "Most sequences in one step.");
ABSL_FLAG(int32_t, max_num_batched_tokens, 2048,
          "Most tokens in one step. Long prompts run in chunks of what decoding leaves of it.");
ABSL_FLAG(int32_t, block_size, 16, "Tokens in one block of the KV cache: 16, 32 or 64.");
ABSL_FLAG(std::string, load_format, "safetensors",
          "safetensors (or auto), or dummy: random weights of the shapes in config.json, for "
          "benchmarks.");
ABSL_FLAG(
    tidal::ByteSize, kv_cache_bytes, tidal::ByteSize{0},
    "Memory of the KV cache, taken at start, in each process of tensor_parallel_size: 512MiB, "
    "4GiB. 0: on a GPU what gpu_memory_utilization leaves, on a CPU 1GiB.");
ABSL_FLAG(double, gpu_memory_utilization, 0.9,
          "Share of the GPU's memory that weights, scratch and KV cache may take together.");
ABSL_FLAG(bool, enable_prefix_caching, true,
          "Keep the KV cache of ended requests and reuse it for prompts that begin the same.");
ABSL_FLAG(
    bool, overlap, true,
    "Schedule and launch the next decode step while one runs, on a GPU. Off only to look for a "
    "fault.");
ABSL_FLAG(int32_t, max_queued_requests, 4096,
          "Sequences that may wait for a place. More are refused (HTTP 429, RESOURCE_EXHAUSTED).");
ABSL_FLAG(
    int64_t, max_queued_tokens, 0,
    "Tokens, of prompts and of likely outputs, that may wait for a place. More are refused. 0: "
    "as many as are computed in half of max_queue_time, as measured.");
ABSL_FLAG(absl::Duration, max_queue_time, absl::Seconds(60),
          "A request that waited so long for its first step is ended (HTTP 429, "
          "RESOURCE_EXHAUSTED). 0: it may wait for ever.");
ABSL_FLAG(
    std::string, attention_mode, "auto",
    "How requests attend that do not say it: auto (tidal where the model's folder has a plan, "
    "tidal.json, or attention_profile names one; else full) or full.");
ABSL_FLAG(std::string, attention_profile, "default",
          "Which layers select, and how: default (the model's tidal.json; without one as "
          "published, for requests that ask for tidal), published (what is published for the "
          "model's shape), quality (more selecting layers), paper, dense, or a pattern of one "
          "letter a layer (D dense, S select, R reuse, A anchor).");
ABSL_FLAG(int32_t, token_budget, 0,
          "Tokens a reuse layer reads in requests that do not say it. 0: the model's.");
ABSL_FLAG(int32_t, max_token_budget, 0,
          "Largest token budget a request may ask for. 0: max_model_len.");
ABSL_FLAG(
    int32_t, correction_period, -1,
    "Re-run this many sparsely decoded tokens densely, each time so many have come. 0: never. "
    "-1: the model's.");

namespace tidal {
namespace {

absl::StatusOr<LoadFormat> ParseLoadFormat(const std::string& name) {
  if (name == "safetensors" || name == "auto") return LoadFormat::kSafetensors;
  if (name == "dummy") return LoadFormat::kDummy;
  return absl::InvalidArgumentError(
      absl::StrCat("load_format: must be safetensors, auto or dummy, got ", name));
}

}  // namespace

absl::StatusOr<ModelOptions> ModelOptionsFromFlags() {
  ModelOptions options;
  EngineConfig& engine = options.engine;
  engine.model_path = absl::GetFlag(FLAGS_model);
  if (engine.model_path.empty()) {
    TIDAL_ASSIGN_OR_RETURN(engine.model_path, FindDefaultModel());
  }
  engine.block_size = absl::GetFlag(FLAGS_block_size);
  engine.kv_cache_bytes = absl::GetFlag(FLAGS_kv_cache_bytes).bytes;
  engine.memory_utilization = absl::GetFlag(FLAGS_gpu_memory_utilization);
  TIDAL_ASSIGN_OR_RETURN(engine.load_format, ParseLoadFormat(absl::GetFlag(FLAGS_load_format)));
  engine.max_model_len = absl::GetFlag(FLAGS_max_model_len);
  engine.max_num_seqs = absl::GetFlag(FLAGS_max_num_seqs);
  engine.max_num_batched_tokens = absl::GetFlag(FLAGS_max_num_batched_tokens);
  engine.attention_profile = absl::GetFlag(FLAGS_attention_profile);
  engine.max_token_budget = absl::GetFlag(FLAGS_max_token_budget);

  options.served_model_names = absl::GetFlag(FLAGS_served_model_name);
  if (options.served_model_names.empty()) {
    options.served_model_names = {ModelNameOf(engine.model_path)};
  }
  options.chat_template = absl::GetFlag(FLAGS_chat_template);
  options.escape_special_tokens = absl::GetFlag(FLAGS_escape_special_tokens);
  options.tool_call_parser = absl::GetFlag(FLAGS_tool_call_parser);
  options.reasoning_parser = absl::GetFlag(FLAGS_reasoning_parser);
  options.backend.device = absl::GetFlag(FLAGS_device);
  options.backend.num_threads = absl::GetFlag(FLAGS_num_threads);
  options.tensor_parallel_size = absl::GetFlag(FLAGS_tensor_parallel_size);
  options.backend.cuda_device = absl::GetFlag(FLAGS_cuda_device);
  options.backend.cuda_graphs = absl::GetFlag(FLAGS_cuda_graphs);
  options.enable_prefix_caching = absl::GetFlag(FLAGS_enable_prefix_caching);
  options.overlap = absl::GetFlag(FLAGS_overlap);
  options.max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  options.max_queued_tokens = absl::GetFlag(FLAGS_max_queued_tokens);
  options.max_queue_time = absl::GetFlag(FLAGS_max_queue_time);
  const std::string mode = absl::GetFlag(FLAGS_attention_mode);
  if (mode != "auto" && mode != "full") {
    return absl::InvalidArgumentError(
        absl::StrCat("attention_mode: must be auto or full, got ", mode));
  }
  options.default_attention_mode = mode == "full" ? AttentionMode::kFull : AttentionMode::kTidal;
  const int32_t budget = absl::GetFlag(FLAGS_token_budget);
  if (budget < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("token_budget: must be 0 (the model's) or more, got ", budget));
  }
  if (budget > 0) options.token_budget = budget;
  const int32_t period = absl::GetFlag(FLAGS_correction_period);
  if (period != -1) options.correction_period = period;
  TIDAL_RETURN_IF_ERROR(options.Validate());
  return options;
}

}  // namespace tidal
