#include "server/grpc/reflection_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "proto/grpc/reflection/v1/reflection.grpc.pb.h"
#include "proto/tidal/v1/inference.pb.h"

namespace tidal {
namespace {

using grpc::reflection::v1::ServerReflection;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ReflectionServiceTest : public ::testing::Test {
 protected:
  ReflectionServiceTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = ServerReflection::NewStub(server_->InProcessChannel({}));
  }
  ~ReflectionServiceTest() override { server_->Shutdown(std::chrono::system_clock::now()); }

  // An answer to each question.
  std::vector<ServerReflectionResponse> Ask(const std::vector<ServerReflectionRequest>& requests) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto stream = stub_->ServerReflectionInfo(&context);
    std::vector<ServerReflectionResponse> responses(requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(stream->Write(requests[i]) && stream->Read(&responses[i]));
    }
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
    return responses;
  }

  std::unique_ptr<grpc::Service> service_ =
      MakeReflectionService({"tidal.v1.Inference", "grpc.health.v1.Health"});
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ServerReflection::Stub> stub_;
};

TEST_F(ReflectionServiceTest, ListsServicesAndDescribesThem) {
  std::vector<ServerReflectionRequest> requests(3);
  requests[0].set_list_services("*");
  requests[1].set_file_containing_symbol("tidal.v1.Inference");
  requests[2].set_file_by_filename("tidal/v1/inference.proto");
  requests[2].set_host("test");
  const std::vector<ServerReflectionResponse> responses = Ask(requests);
  std::vector<std::string> names;
  for (const auto& service : responses[0].list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, ElementsAre("tidal.v1.Inference", "grpc.health.v1.Health"));
  for (int i : {1, 2}) {
    google::protobuf::FileDescriptorProto file;
    ASSERT_GT(responses[i].file_descriptor_response().file_descriptor_proto_size(), 0);
    ASSERT_TRUE(
        file.ParseFromString(responses[i].file_descriptor_response().file_descriptor_proto(0)));
    EXPECT_EQ("tidal/v1/inference.proto", file.name());
    ASSERT_EQ(1, file.service_size());
    EXPECT_EQ("Inference", file.service(0).name());
  }
  EXPECT_EQ("test", responses[2].valid_host());
  EXPECT_EQ(requests[2].file_by_filename(), responses[2].original_request().file_by_filename());
}

TEST_F(ReflectionServiceTest, SendsImportsAlong) {
  std::vector<ServerReflectionRequest> requests(1);
  requests[0].set_file_containing_symbol("google.protobuf.FileDescriptorSet");
  const auto responses = Ask(requests);
  google::protobuf::FileDescriptorProto file;
  ASSERT_TRUE(
      file.ParseFromString(responses[0].file_descriptor_response().file_descriptor_proto(0)));
  EXPECT_EQ("google/protobuf/descriptor.proto", file.name());
}

TEST_F(ReflectionServiceTest, ExtensionsAreFoundByTypeAndNumber) {
  std::vector<ServerReflectionRequest> requests(2);
  requests[0].set_all_extension_numbers_of_type("google.protobuf.MethodOptions");
  requests[1].mutable_file_containing_extension()->set_containing_type(
      "google.protobuf.MethodOptions");
  requests[1].mutable_file_containing_extension()->set_extension_number(1);
  const auto responses = Ask(requests);
  EXPECT_EQ("google.protobuf.MethodOptions",
            responses[0].all_extension_numbers_response().base_type_name());
  EXPECT_EQ(grpc::StatusCode::NOT_FOUND, responses[1].error_response().error_code());
}

TEST_F(ReflectionServiceTest, WhatIsNotKnownIsAnAnswerToo) {
  std::vector<ServerReflectionRequest> requests(4);
  requests[0].set_file_containing_symbol("no.such.Symbol");
  requests[1].set_file_by_filename("no/such/file.proto");
  requests[2].set_all_extension_numbers_of_type("no.such.Type");
  const auto responses = Ask(requests);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(grpc::StatusCode::NOT_FOUND, responses[i].error_response().error_code());
    EXPECT_THAT(responses[i].error_response().error_message(), HasSubstr("got no"));
  }
  EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, responses[3].error_response().error_code());
}

}  // namespace
}  // namespace tidal
