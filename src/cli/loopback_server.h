// A model served on this machine alone, while a command asks it.
#pragma once

#include <memory>
#include <thread>

#include "parity/bisect/bisect.h"
#include "serve/server.h"

namespace lockstep::cli {

class LoopbackServer : public parity::RunningServer {
 public:
  /// `served` is the text side of the model; a free port of 127.0.0.1 is taken. Throws as
  /// plan_engine and serve::Server.
  LoopbackServer(const parity::Subject& subject, DType dtype, serve::ServedModel served);
  ~LoopbackServer() override;

  client::Target target() const override;

 private:
  std::unique_ptr<serve::Server> server_;
  std::thread thread_;
};

}  // namespace lockstep::cli
