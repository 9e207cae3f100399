#include "server/config/vllm_flags.h"

#include <algorithm>
#include <array>

namespace tidal {
namespace {

constexpr absl::string_view kTensorOnly =
    "GPUs share a model out by --tensor_parallel_size; start a server for each copy of it, behind "
    "tidal-gateway";
constexpr absl::string_view kFolders =
    "models are folders on this machine, with all that belongs to them; nothing is downloaded";
constexpr absl::string_view kNoAdapters =
    "adapters are not supported; merge them into the model's weights";
constexpr absl::string_view kOfTheModel = "it is read from the model's config.json";
constexpr absl::string_view kBf16 = "weights and KV cache are bfloat16, whatever the files have";
constexpr absl::string_view kTextOnly = "only text is supported";
constexpr absl::string_view kXgrammar = "structured outputs are always xgrammar's";
constexpr absl::string_view kNoDraft = "speculative decoding is not supported";

constexpr VllmFlag Renamed(absl::string_view name, absl::string_view flag) { return {name, flag}; }
constexpr VllmFlag Opposite(absl::string_view name, absl::string_view flag) {
  return {name, flag, /*opposite=*/true};
}
// Takes a value; those in `same` are what is done anyway.
constexpr VllmFlag Valued(absl::string_view name, absl::string_view same, absl::string_view hint) {
  return {name, "", false, /*takes_value=*/true, same, hint};
}
constexpr VllmFlag Switch(absl::string_view name, absl::string_view same, absl::string_view hint) {
  return {name, "", false, /*takes_value=*/false, same, hint};
}

constexpr std::array kVllmFlags = {
    Renamed("model_tag", "model"),
    Renamed("port", "http_port"),
    Renamed("ssl_certfile", "tls_cert_file"),
    Renamed("ssl_keyfile", "tls_key_file"),
    Renamed("ssl_ca_certs", "tls_client_ca_file"),
    Renamed("kv_cache_memory_bytes", "kv_cache_bytes"),
    Renamed("tp", "tensor_parallel_size"),
    Renamed("async_scheduling", "overlap"),
    Opposite("enforce_eager", "cuda_graphs"),

    // Held anyway.
    Switch("disable_log_requests", "true", "requests are not logged; see --otlp_endpoint"),
    Switch("enable_log_requests", "false", "requests are not logged; see --otlp_endpoint"),
    Switch("enable_log_outputs", "false", "requests are not logged; see --otlp_endpoint"),
    Switch("disable_uvicorn_access_log", "true", "requests are not logged; see --otlp_endpoint"),
    Switch("disable_log_stats", "true", "statistics are not logged; they are in /metrics"),
    Switch("disable_fastapi_docs", "true", "there are no pages of docs"),
    Switch("enable_auto_tool_choice", "true", "it is on where the model's format is known"),
    Switch("enable_chunked_prefill", "true",
           "long prompts always run in chunks, of max_num_batched_tokens at most"),
    Switch("enable_prompt_tokens_details", "true", "replies always have them"),
    Switch("enable_ssl_refresh", "true", "certificates are always read again when they change"),
    Switch("trust_remote_code", "true,false", ""),  // none of a model's code is ever run
    Switch("trust_request_chat_template", "false", "requests cannot bring a template"),
    Switch("use_tqdm_on_load", "true,false", ""),
    Valued("chat_template_content_format", "auto", "it is found from the template"),
    Valued("generation_config", "auto", "it is read from the model's folder"),
    Valued("tokenizer_mode", "auto,hf", "it is the model's tokenizer.json"),
    Valued("config_format", "auto,hf", "it is the model's config.json"),
    Valued("runner", "auto,generate", "only generation is supported"),
    Valued("task", "auto,generate", "only generation is supported"),
    Valued("convert", "auto,none", "only generation is supported"),
    Valued("model_impl", "auto", "there is one implementation"),
    Valued("response_role", "assistant", "replies are always the assistant's"),
    Valued("scheduling_policy", "priority",
           "the priorities of requests always count; those without one run in order of arrival"),
    Valued("api_server_count", "1", "one process serves all connections"),
    Valued("dtype", "auto,bfloat16", kBf16),
    Valued("kv_cache_dtype", "auto,bfloat16", kBf16),
    Valued("cpu_offload_gb", "0", "weights are not offloaded"),
    Valued("swap_space", "0", "sequences that are preempted are computed again, not swapped"),

    // Ranks are for tensor parallelism alone.
    Valued("pipeline_parallel_size", "1", kTensorOnly),
    Valued("pp", "1", kTensorOnly),
    Valued("data_parallel_size", "1", kTensorOnly),
    Valued("dp", "1", kTensorOnly),
    Valued("distributed_executor_backend", "uni,mp", "the server starts its processes itself"),
    Switch("enable_expert_parallel", "false", kTensorOnly),
    Switch("disable_custom_all_reduce", "false", "ranks have one way to add up what they computed"),

    // Not here.
    Valued("quantization", "", "quantized weights are not supported"),
    Valued("q", "", "quantized weights are not supported"),
    Valued("tokenizer", "", kFolders),
    Valued("revision", "", kFolders),
    Valued("code_revision", "", kFolders),
    Valued("tokenizer_revision", "", kFolders),
    Valued("download_dir", "", kFolders),
    Valued("hf_token", "", kFolders),
    Valued("hf_config_path", "", kFolders),
    Valued("hf_overrides", "", kOfTheModel),
    Valued("rope_scaling", "", kOfTheModel),
    Valued("rope_theta", "", kOfTheModel),
    Switch("disable_sliding_window", "false", kOfTheModel),
    Valued("override_generation_config", "", "it is read from the model's generation_config.json"),
    Valued("seed", "", "requests without a seed are drawn at random; a request may have one"),
    Valued("max_logprobs", "20", "a request may have up to 20"),
    Valued("num_gpu_blocks_override", "", "see --kv_cache_bytes"),
    Valued("max_seq_len_to_capture", "", "CUDA graphs are used at every length"),
    Switch("enable_sleep_mode", "false", "a server does not give its memory back"),
    Switch("enable_lora", "false", kNoAdapters),
    Valued("lora_modules", "", kNoAdapters),
    Valued("max_loras", "", kNoAdapters),
    Valued("max_lora_rank", "", kNoAdapters),
    Valued("guided_decoding_backend", "auto,xgrammar", kXgrammar),
    Valued("structured_outputs_config", "", kXgrammar),
    Valued("speculative_config", "", kNoDraft),
    Valued("speculative_model", "", kNoDraft),
    Valued("num_speculative_tokens", "", kNoDraft),
    Valued("limit_mm_per_prompt", "", kTextOnly),
    Valued("mm_processor_kwargs", "", kTextOnly),
    Valued("allowed_local_media_path", "", kTextOnly),
    Valued("otlp_traces_endpoint", "", "see --otlp_endpoint, which is OTLP over HTTP"),
    Valued("uvicorn_log_level", "", "see --log_level: debug, info, warning or error"),
    Valued("log_config_file", "", "see --log_level and --log_format"),
    Valued("uds", "", "see --host and --http_port"),
    Valued("ssl_cert_reqs", "", "clients must show a certificate where --tls_client_ca_file is"),
    Valued("ssl_ciphers", "", "they are those of TLS 1.2 and 1.3 that OpenSSL takes for safe"),
    Valued("middleware", "", "put a proxy before the server"),
};

}  // namespace

const VllmFlag* FindVllmFlag(absl::string_view name) {
  const auto found = std::find_if(kVllmFlags.begin(), kVllmFlags.end(),
                                  [&](const VllmFlag& flag) { return flag.name == name; });
  return found == kVllmFlags.end() ? nullptr : &*found;
}

}  // namespace tidal
