#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tools/bench/load_client.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

struct HttpTarget {
  std::string host;
  std::string port;
};

std::string RequestBody(const LoadOptions& options, const std::vector<uint32_t>& prompt) {
  Json body = {{"prompt", prompt},
               {"max_tokens", options.max_tokens},
               {"temperature", 0},
               {"ignore_eos", true},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}},
               {"return_token_ids", true},
               {"attention", {{"mode", options.attention}, {"budget", options.token_budget}}}};
  if (!options.extra_body.empty()) body.update(Json::parse(options.extra_body));
  return body.dump();
}

// HTTP/1.0: the reply is not chunked and ends with the connection.
std::string RequestText(const LoadOptions& options, const HttpTarget& target,
                        const std::string& body) {
  const std::string authorization =
      options.api_key.empty() ? ""
                              : absl::StrCat("Authorization: Bearer ", options.api_key, "\r\n");
  return absl::StrCat("POST /v1/completions HTTP/1.0\r\nHost: ", target.host,
                      "\r\nContent-Type: application/json\r\n", authorization,
                      "Content-Length: ", body.size(), "\r\n\r\n", body);
}

absl::Status ErrorOf(const Json& json) {
  const auto error = json.find("error");
  if (error == json.end()) return absl::UnknownError("the server sent no error object");
  const std::string message = error->value("message", "an error without a message");
  // Also in a stream that had begun: the request was given up in the queue.
  const bool refused = error->value("type", "") == "rate_limit_error";
  return refused ? absl::ResourceExhaustedError(message) : absl::UnknownError(message);
}

// One server-sent event's JSON.
absl::Status OnEvent(const Json& event, RequestTrace& trace) {
  if (event.contains("error")) return ErrorOf(event);
  for (const Json& choice : event.value("choices", Json::array())) {
    const auto ids = choice.find("token_ids");
    const bool has_ids = ids != choice.end() && ids->is_array() && !ids->empty();
    if (!has_ids && choice.value("text", "").empty()) continue;
    trace.last_token = absl::Now();
    if (trace.num_tokens == 0) trace.first_token = trace.last_token;
    trace.num_tokens += has_ids ? static_cast<int32_t>(ids->size()) : 1;
  }
  return absl::OkStatus();
}

absl::Status ReadReply(std::istream& stream, RequestTrace& trace) {
  std::string line;
  if (!std::getline(stream, line)) return absl::UnavailableError("the server does not answer");
  const bool ok = absl::StrContains(line, " 200 ");
  while (std::getline(stream, line) && line != "\r") {
  }
  if (!ok) {
    const std::string body(std::istreambuf_iterator<char>(stream), {});
    const Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
    return json.is_object() ? ErrorOf(json) : absl::UnknownError("the server sent no JSON");
  }
  while (std::getline(stream, line)) {
    absl::string_view data = absl::StripSuffix(line, "\r");
    if (!absl::ConsumePrefix(&data, "data: ")) continue;
    if (data == "[DONE]") return absl::OkStatus();
    const Json event = Json::parse(data.begin(), data.end(), nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return absl::UnknownError("the server sent no JSON");
    if (absl::Status status = OnEvent(event, trace); !status.ok()) return status;
  }
  return absl::UnavailableError("the stream ended early");
}

}  // namespace

absl::StatusOr<RequestSender> MakeHttpSender(const LoadOptions& options) {
  const std::string target(absl::StripPrefix(options.target, "http://"));
  const size_t colon = target.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(target.substr(colon + 1), &port)) {
    return absl::InvalidArgumentError(
        absl::StrCat("target: must be HOST:PORT, got ", options.target));
  }
  const HttpTarget address = {target.substr(0, colon), target.substr(colon + 1)};
  return RequestSender(
      [options, address](const std::vector<uint32_t>& prompt, RequestTrace& trace) {
        boost::asio::ip::tcp::iostream stream(address.host, address.port);
        if (!stream) {
          trace.status = absl::UnavailableError(
              absl::StrCat("cannot connect to ", options.target, ": ", stream.error().message()));
          return;
        }
        stream << RequestText(options, address, RequestBody(options, prompt)) << std::flush;
        trace.status = ReadReply(stream, trace);
      });
}

}  // namespace tidal
