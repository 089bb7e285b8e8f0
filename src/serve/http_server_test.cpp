// The HTTP side over loopback, with clients that behave and clients that do not.
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "serve/http.h"
#include "serve/loopback_test_util.h"

namespace lockstep::serve {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
using test::Client;

// A server that answers with the body it got; /slow streams until its client leaves.
class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() : server_(options(), check, [this](Exchange& e) { return handle(e); }) {
    server_.describe_failure = [](int status, const std::string& message) {
      return HttpResponse{status, "text/plain", message, {}};
    };
    thread_ = std::thread([this] { server_.run(); });
  }
  ~HttpServerTest() override {
    server_.stop();
    thread_.join();
  }
  static HttpOptions options() {
    HttpOptions options;
    options.host = "127.0.0.1";
    options.port = 0;
    options.max_header_bytes = 2000;
    options.max_body_bytes = 100'000;
    options.max_bodies_bytes = 150'000;
    options.header_time = 400ms;
    options.body_time = 600ms;
    options.idle_time = 1000ms;
    options.write_time = 500ms;
    return options;
  }
  static std::optional<HttpResponse> check(const HttpRequest& request) {
    if (request.path == "/no") return HttpResponse{403, "text/plain", "no", {}};
    return std::nullopt;
  }
  asio::awaitable<void> handle(Exchange& exchange) {
    if (exchange.request().path == "/slow") {
      co_await stream(exchange);
      co_return;
    }
    HttpResponse response{200, "text/plain", exchange.request().path + " ", {}};
    response.body += exchange.take_body();
    co_await exchange.respond(std::move(response));
  }
  asio::awaitable<void> stream(Exchange& exchange) {
    exchange.on_gone([this] { gone_ = true; });
    HttpResponse head{200, "text/plain", "", {}};
    bool open = co_await exchange.begin(std::move(head));
    while (open) {
      std::string part(100'000, 'x');
      open = co_await exchange.write(std::move(part));
      n_written_ += 100'000;
    }
    stream_over_ = true;
  }
  static bool wait_for(const std::atomic<bool>& flag) {
    for (int i = 0; i < 300 && !flag; ++i) std::this_thread::sleep_for(10ms);
    return flag;
  }

  std::atomic<bool> gone_ = false, stream_over_ = false;
  std::atomic<size_t> n_written_ = 0;
  HttpServer server_;
  std::thread thread_;
};

TEST_F(HttpServerTest, AnswersSeveralRequestsOnOneConnection) {
  Client client(server_.port());
  client.send("POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_NE(client.receive_until("/a b abc").find("HTTP/1.1 200 OK"), std::string::npos);
  // Two at once, the second in chunks.
  client.send(
      "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nde\r\n1\r\nf\r\n0\r\n\r\n");
  const std::string got = client.receive_until("/2 def");
  EXPECT_NE(got.find("/1 "), std::string::npos) << got;
  EXPECT_NE(got.find("/2 def"), std::string::npos) << got;
  client.send("GET /3 HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_NE(client.receive_all().find("connection: close"), std::string::npos);
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  Client client(server_.port());
  client.send("HEAD /a HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::string got = client.receive_all();
  EXPECT_NE(got.find("content-length: 3"), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
}

TEST_F(HttpServerTest, TellsClientsToGoOn) {
  Client client(server_.port());
  client.send("POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_NE(client.receive_until("\r\n\r\n").find("100 Continue"), std::string::npos);
  client.send("abc");
  EXPECT_NE(client.receive_until("/a abc").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, TurnsDownBeforeTheBodyIsRead) {
  Client client(server_.port());
  client.send("POST /no HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  const std::string got = client.receive_all();
  EXPECT_NE(got.find("403"), std::string::npos) << got;
  EXPECT_EQ(got.find("100 Continue"), std::string::npos) << got;
}

TEST_F(HttpServerTest, LimitsHeadersAndBodies) {
  const std::pair<std::string, const char*> cases[] = {
      {"GET / HTTP/1.1\r\nx: " + std::string(5000, 'y') + "\r\n\r\n", "431"},
      {"POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n" +
           std::string(200'000, 'y') + "\r\n0\r\n\r\n",
       "413"},
      {"nonsense\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {std::string(100, '\0'), "400"},
  };
  for (const auto& [bytes, status] : cases) {
    Client client(server_.port());
    client.send(bytes);
    const std::string got = client.receive_all();
    EXPECT_NE(got.find(std::string("HTTP/1.1 ") + status), std::string::npos)
        << bytes.substr(0, 60) << " -> " << got;
  }
}

TEST_F(HttpServerTest, LimitsAllBodiesTogether) {
  Client first(server_.port()), second(server_.port());
  const std::string head = "POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n";
  first.send(head + std::string(89'000, 'x'));
  std::this_thread::sleep_for(100ms);
  second.send(head + std::string(90'000, 'x'));
  EXPECT_NE(second.receive_all().find("HTTP/1.1 503"), std::string::npos);
}

TEST_F(HttpServerTest, CutsWhoIsSlow) {
  Client headers(server_.port()), body(server_.port()), idle(server_.port());
  headers.send("GET / HTTP/1.1\r\nx");
  body.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(headers.receive_all().find("408"), std::string::npos);
  EXPECT_NE(body.receive_all().find("408"), std::string::npos);
  EXPECT_EQ(idle.receive_all(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 4s);
}

TEST_F(HttpServerTest, SaysWhenAClientLeft) {
  Client client(server_.port());
  client.send("GET /slow HTTP/1.1\r\n\r\n");
  EXPECT_NE(client.receive_until("xxx").find("chunked"), std::string::npos);
  client.close();
  EXPECT_TRUE(wait_for(stream_over_));
  EXPECT_TRUE(gone_);
}

TEST_F(HttpServerTest, CutsAClientThatReadsNothing) {
  Client client(server_.port());
  client.send("GET /slow HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(wait_for(stream_over_));
  // What the kernel holds, and no more.
  EXPECT_LT(n_written_, 64u << 20);
}

TEST_F(HttpServerTest, DrainsWhenIdle) {
  Client idle(server_.port());
  std::this_thread::sleep_for(50ms);
  server_.drain();
  EXPECT_EQ(idle.receive_all(), "");
}

}  // namespace
}  // namespace lockstep::serve
