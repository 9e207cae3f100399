// One Generate RPC as a client, one event at a time.
#ifndef TIDAL_SERVER_GATEWAY_GENERATE_CALL_H_
#define TIDAL_SERVER_GATEWAY_GENERATE_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "server/gateway/call_metadata.h"
#include "server/gateway/server_channel.h"

namespace tidal {

class Connection;

absl::Status FromGrpc(const grpc::Status& status);

// Everything happens on the connection's strand: the methods are called there, and so are the
// listeners. Reading only on demand is what passes a slow client's pace on to the service.
class GenerateCall : private grpc::ClientReadReactor<v1::GenerateResponse>,
                     public std::enable_shared_from_this<GenerateCall> {
 public:
  using OnEvent = std::function<void(const v1::GenerateResponse&)>;
  using OnDoneFn = std::function<void(absl::Status)>;

  GenerateCall(std::shared_ptr<Connection> connection, v1::GenerateRequest request,
               const CallMetadata& metadata, OnEvent on_event, OnDoneFn on_done);

  // Sends the request and reads the first event. The call keeps itself alive until it is done.
  void Start(std::shared_ptr<const ServerChannel::Stubs> stubs);
  // Reads the next event; after each on_event, once.
  void Read();
  // No listener is called any more.
  void Cancel();

 private:
  void OnReadDone(bool ok) override;                 // on a thread of gRPC
  void OnDone(const grpc::Status& status) override;  // on a thread of gRPC
  void HandleRead(bool ok);
  void ReleaseHold();

  const std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ServerChannel::Stubs> stubs_;
  grpc::ClientContext context_;
  const v1::GenerateRequest request_;
  v1::GenerateResponse event_;
  OnEvent on_event_;
  OnDoneFn on_done_;
  bool reading_ = false;
  bool held_ = false;  // gRPC may not end the call between two reads of ours
  std::shared_ptr<GenerateCall> self_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_GENERATE_CALL_H_
