#include "cli/loopback_server.h"

namespace lockstep::cli {
namespace {

constexpr int64_t kBatch = 4, kCacheTokens = 4096;

}  // namespace

LoopbackServer::LoopbackServer(const parity::Subject& subject, DType dtype,
                               serve::ServedModel served) {
  Model model = subject.open(dtype);
  EngineOptions options;
  options.max_batch_size = kBatch;
  options.cache_tokens = kCacheTokens;
  const EnginePlan plan = plan_engine(model, options);
  serve::ServerOptions server_options;
  server_options.http.host = "127.0.0.1";
  server_options.http.port = 0;
  auto engine = std::make_unique<Engine>(subject.start(std::move(model), plan.pipeline), plan,
                                         GenerationDefaults{});
  server_ =
      std::make_unique<serve::Server>(std::move(served), std::move(engine), server_options);
  thread_ = std::thread([this] { server_->run(); });
}

LoopbackServer::~LoopbackServer() {
  server_->stop();
  thread_.join();
}

client::Target LoopbackServer::target() const { return client::Target::local(server_->port()); }

}  // namespace lockstep::cli
