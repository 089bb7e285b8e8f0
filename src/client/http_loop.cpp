#include "client/http_loop.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "hub/http.h"
#include "lockstep/abi.h"
#include "lockstep/error.h"

namespace lockstep::client {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMaxErrorBody = 64u << 10;
// Silence is looked for so often: every exchange is visited.
constexpr std::chrono::milliseconds kPatienceStep{50};

using HeaderList = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

HeaderList headers_for(const Target& target, bool has_body) {
  HeaderList list(nullptr, curl_slist_free_all);
  const auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(list.release());
    list.reset(longer);
  };
  // No wait for "100 Continue" before a large body.
  add("Expect:");
  if (has_body) add("Content-Type: application/json");
  if (!target.api_key.empty()) add("Authorization: Bearer " + target.api_key);
  return list;
}

bool is_loopback(const std::string& root) {
  const size_t begin = root.find("://") + 3;
  const std::string_view host = std::string_view(root).substr(begin);
  return host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
}

}  // namespace

struct HttpLoop::Exchange {
  HttpReply reply;
  std::string body;  // that is sent
  HeaderList headers{nullptr, curl_slist_free_all};
  OnPart on_part;
  OnEnd on_end;
  size_t max_body = 0;
  std::chrono::milliseconds patience{};
  Clock::time_point last_byte = Clock::now();
  bool had_enough = false, too_large = false;
  std::exception_ptr thrown{};
  char error[CURL_ERROR_SIZE] = "";
};

struct HttpLoop::Impl {
  CURLM* multi = nullptr;
  std::map<CURL*, std::unique_ptr<Exchange>> open;
  std::vector<CURL*> idle;
  Clock::time_point next_patience = Clock::now();

  static size_t on_body(char* data, size_t, size_t n, void* user) noexcept;
  void set_options(CURL* easy, Exchange& exchange, const Target& target, bool is_post);
  bool finish_done();
  void finish(CURL* easy, CURLcode code, bool was_silent);
  void end_silent();
};

size_t HttpLoop::Impl::on_body(char* data, size_t, size_t n, void* user) noexcept {
  auto& [easy, exchange_ptr] =
      *static_cast<std::pair<CURL* const, std::unique_ptr<Exchange>>*>(user);
  Exchange& exchange = *exchange_ptr;
  try {
    exchange.last_byte = Clock::now();
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    const bool is_success = status >= 200 && status < 300;
    if (is_success && exchange.on_part) {
      if (exchange.on_part({data, n})) return n;
      exchange.had_enough = true;
      return 0;
    }
    std::string& body = exchange.reply.body;
    if (is_success && body.size() + n > exchange.max_body) {
      exchange.too_large = true;
      return 0;
    }
    const size_t room = is_success ? n : kMaxErrorBody - std::min(kMaxErrorBody, body.size());
    body.append(data, std::min(n, room));
    return n;
  } catch (...) {
    exchange.thrown = std::current_exception();
    return 0;
  }
}

HttpLoop::HttpLoop() : impl_(std::make_unique<Impl>()) {
  start_curl();
  impl_->multi = curl_multi_init();
  if (impl_->multi == nullptr) throw std::bad_alloc();
  // As many connections are kept as were ever needed at once: a closed one costs the next request.
  curl_multi_setopt(impl_->multi, CURLMOPT_MAXCONNECTS, 4096L);
}

HttpLoop::~HttpLoop() {
  for (const auto& [easy, exchange] : impl_->open) {
    curl_multi_remove_handle(impl_->multi, easy);
    curl_easy_cleanup(easy);
  }
  for (CURL* easy : impl_->idle) curl_easy_cleanup(easy);
  curl_multi_cleanup(impl_->multi);
}

size_t HttpLoop::n_open() const noexcept { return impl_->open.size(); }

void HttpLoop::Impl::set_options(CURL* easy, Exchange& exchange, const Target& target,
                                 bool is_post) {
  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_URL, exchange.reply.url.c_str());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange.error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  // A redirect would carry the key elsewhere.
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "lockstep/" LOCKSTEP_SDK_VERSION);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(target.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange.headers.get());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Impl::on_body);
  // A server of this machine is no proxy's business.
  if (is_loopback(target.root)) curl_easy_setopt(easy, CURLOPT_PROXY, "");
  if (is_post) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(exchange.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange.body.data());
  }
}

void HttpLoop::start(const Target& target, std::string_view path, const std::string* body,
                     OnPart on_part, OnEnd on_end) {
  CURL* easy = nullptr;
  if (impl_->idle.empty()) {
    easy = curl_easy_init();
    if (easy == nullptr) throw std::bad_alloc();
  } else {
    easy = impl_->idle.back();
    impl_->idle.pop_back();
  }
  const auto entry = impl_->open.emplace(easy, std::make_unique<Exchange>()).first;
  Exchange& exchange = *entry->second;
  exchange.reply.url = target.url(path);
  if (body != nullptr) exchange.body = *body;
  exchange.headers = headers_for(target, body != nullptr);
  exchange.on_part = std::move(on_part);
  exchange.on_end = std::move(on_end);
  exchange.max_body = target.max_body;
  exchange.patience = target.patience;
  impl_->set_options(easy, exchange, target, body != nullptr);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &*entry);
  const CURLMcode code = curl_multi_add_handle(impl_->multi, easy);
  if (code != CURLM_OK) {
    impl_->open.erase(entry);
    curl_easy_cleanup(easy);
    throw Error(ErrorCode::kInternal, fmt::format("libcurl: {}", curl_multi_strerror(code)));
  }
}

void HttpLoop::Impl::finish(CURL* easy, CURLcode code, bool was_silent) {
  const auto entry = open.find(easy);
  const std::unique_ptr<Exchange> exchange = std::move(entry->second);
  HttpReply& reply = exchange->reply;
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  reply.status = static_cast<int>(status);
  curl_multi_remove_handle(multi, easy);
  idle.push_back(easy);
  open.erase(entry);
  if (exchange->thrown != nullptr) std::rethrow_exception(exchange->thrown);
  reply.timed_out = was_silent || code == CURLE_OPERATION_TIMEDOUT;
  if (was_silent) {
    reply.failure = fmt::format("nothing came for {:g} s",
                                static_cast<double>(exchange->patience.count()) / 1e3);
  } else if (exchange->too_large) {
    reply.failure = fmt::format("the answer is larger than {} bytes", exchange->max_body);
  } else if (code != CURLE_OK && !exchange->had_enough) {
    reply.connected = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST &&
                      code != CURLE_COULDNT_RESOLVE_PROXY;
    reply.failure = exchange->error[0] != '\0' ? exchange->error : curl_easy_strerror(code);
  }
  exchange->on_end(std::move(reply));
}

bool HttpLoop::Impl::finish_done() {
  bool any = false;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    any = true;
    finish(message->easy_handle, message->data.result, false);
  }
  return any;
}

void HttpLoop::Impl::end_silent() {
  const auto now = Clock::now();
  if (now < next_patience) return;
  next_patience = now + kPatienceStep;
  std::vector<CURL*> silent;
  for (const auto& [easy, exchange] : open) {
    if (now - exchange->last_byte >= exchange->patience) silent.push_back(easy);
  }
  for (CURL* easy : silent) finish(easy, CURLE_OPERATION_TIMEDOUT, true);
}

void HttpLoop::run_once(std::chrono::milliseconds wait) {
  int running = 0;
  curl_multi_perform(impl_->multi, &running);
  const bool any = impl_->finish_done();
  impl_->end_silent();
  if (any || impl_->open.empty()) return;
  const auto longest = std::clamp(wait, std::chrono::milliseconds(0), kPatienceStep);
  curl_multi_poll(impl_->multi, nullptr, 0, static_cast<int>(longest.count()), nullptr);
  curl_multi_perform(impl_->multi, &running);
  impl_->finish_done();
}

}  // namespace lockstep::client
