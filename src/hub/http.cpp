// HTTP requests over libcurl.
#include "hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <exception>

#include "lockstep/abi.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kMaxErrorBody = 4096;
constexpr size_t kMaxHeaders = 200;

struct Origin {
  std::string scheme, host, port;
  bool operator==(const Origin&) const = default;
};

std::string url_part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string out(text);
  curl_free(text);
  return out;
}

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), to_lower);
  return text;
}

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

// nullptr for text that is no http or https URL.
Url parse_url(const std::string& text) {
  Url url(curl_url(), curl_url_cleanup);
  if (url == nullptr) throw std::bad_alloc();
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) url.reset();
  return url;
}

Origin origin_of(const std::string& text) {
  const Url url = parse_url(text);
  if (url == nullptr) return {};
  return {lower(url_part(url.get(), CURLUPART_SCHEME)), lower(url_part(url.get(), CURLUPART_HOST)),
          url_part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT)};
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What the callbacks of one request share.
struct Exchange {
  CURL* easy;
  HttpResponse* response;
  const HttpSink* sink;
  const std::atomic<bool>* stop;
  std::chrono::seconds patience;
  bool had_enough = false, was_silent = false;
  std::exception_ptr thrown{};
  curl_off_t n_bytes = 0;
  std::chrono::steady_clock::time_point last_byte = std::chrono::steady_clock::now();
};

size_t on_header(char* data, size_t, size_t n, void* user) noexcept {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, n);
  auto& headers = exchange.response->headers;
  try {
    if (line.starts_with("HTTP/")) {
      headers.clear();
      return n;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || headers.size() >= kMaxHeaders) return n;
    size_t begin = colon + 1, end = line.size();
    while (begin < end && (line[begin] == ' ' || line[begin] == '\t')) ++begin;
    while (end > begin && static_cast<unsigned char>(line[end - 1]) <= ' ') --end;
    headers[lower(std::string(line.substr(0, colon)))] = line.substr(begin, end - begin);
    return n;
  } catch (...) {
    exchange.thrown = std::current_exception();
    return 0;
  }
}

size_t on_body(char* data, size_t, size_t n, void* user) noexcept {
  auto& exchange = *static_cast<Exchange*>(user);
  HttpResponse& response = *exchange.response;
  try {
    long status = 0;
    curl_easy_getinfo(exchange.easy, CURLINFO_RESPONSE_CODE, &status);
    response.status = static_cast<int>(status);
    if (status < 200 || status >= 300) {
      std::string& body = response.error_body;
      body.append(data, std::min(n, kMaxErrorBody - std::min(kMaxErrorBody, body.size())));
      return n;
    }
    const bool more = (*exchange.sink)(response, std::as_bytes(std::span(data, n)));
    response.body_bytes += n;
    if (more) return n;
    exchange.had_enough = true;
  } catch (...) {
    exchange.thrown = std::current_exception();
  }
  return 0;
}

// Called about once a second. libcurl's own limit goes by an average over several seconds.
int on_progress(void* user, curl_off_t, curl_off_t n_bytes, curl_off_t, curl_off_t) noexcept {
  auto& exchange = *static_cast<Exchange*>(user);
  const auto now = std::chrono::steady_clock::now();
  if (n_bytes != exchange.n_bytes) exchange.last_byte = now;
  exchange.n_bytes = n_bytes;
  exchange.was_silent = now - exchange.last_byte >= exchange.patience;
  return exchange.was_silent || exchange.stop->load() ? 1 : 0;
}

using HeaderList = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

}  // namespace

void start_curl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) {
    throw Error(ErrorCode::kInternal,
                fmt::format("libcurl cannot be started: {}", curl_easy_strerror(code)));
  }
}

bool HttpResponse::is_passing() const noexcept {
  if (status == 0 || (status >= 200 && status < 300)) return !failure.empty();
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

const std::string* HttpResponse::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? nullptr : &found->second;
}

std::optional<uint64_t> HttpResponse::number(const std::string& name) const {
  const std::string* text = header(name);
  return text == nullptr ? std::nullopt : parse_number(*text);
}

std::optional<HttpResponse::Range> HttpResponse::range() const {
  if (status == 200) return Range{0, number("content-length")};
  const std::string* text = header("content-range");
  if (status != 206 || text == nullptr || !text->starts_with("bytes ")) return std::nullopt;
  const std::string_view range = std::string_view(*text).substr(6);
  const size_t dash = range.find('-'), slash = range.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos) return std::nullopt;
  const auto begin = parse_number(range.substr(0, dash));
  if (!begin.has_value()) return std::nullopt;
  return Range{*begin, parse_number(range.substr(slash + 1))};
}

struct HttpSession::Impl {
  const HubSettings& settings;
  const std::atomic<bool>& stop;
  Origin endpoint;
  CURL* easy = nullptr;
  char error[CURL_ERROR_SIZE] = "";

  Impl(const HubSettings& chosen, const std::atomic<bool>& stop_flag)
      : settings(chosen), stop(stop_flag), endpoint(origin_of(chosen.endpoint)) {}

  void set_options(const HttpRequest& request, Exchange& exchange);
  HeaderList headers_for(const std::string& url) const;
  void perform_once(const std::string& url, const HttpRequest& request, Exchange& exchange);
};

void HttpSession::Impl::set_options(const HttpRequest& request, Exchange& exchange) {
  curl_easy_reset(easy);  // keeps the connections
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "lockstep/" LOCKSTEP_SDK_VERSION);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(settings.patience.count()));
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &exchange);
  if (request.method == HttpRequest::Method::kHead) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (request.begin.has_value()) {
    const std::string end = request.end.has_value() ? fmt::format("{}", *request.end - 1) : "";
    curl_easy_setopt(easy, CURLOPT_RANGE, fmt::format("{}-{}", *request.begin, end).c_str());
  }
}

HeaderList HttpSession::Impl::headers_for(const std::string& url) const {
  HeaderList list(nullptr, curl_slist_free_all);
  const Origin origin = origin_of(url);
  if (settings.token.empty() || origin.host.empty() || !(origin == endpoint)) return list;
  list.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + settings.token).c_str()));
  return list;
}

void HttpSession::Impl::perform_once(const std::string& url, const HttpRequest& request,
                                     Exchange& exchange) {
  HttpResponse& response = *exchange.response;
  response = {};
  response.shown_url = shown_url(url);
  set_options(request, exchange);
  const HeaderList headers = headers_for(url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  error[0] = '\0';
  const CURLcode code = curl_easy_perform(easy);
  if (exchange.thrown != nullptr) std::rethrow_exception(exchange.thrown);
  long status = 0;
  curl_off_t wait = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait);
  response.status = static_cast<int>(status);
  if (response.header("retry-after") != nullptr) response.retry_after_s = wait;
  if (code == CURLE_OK || exchange.had_enough) return;
  response.connected = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST &&
                       code != CURLE_COULDNT_RESOLVE_PROXY;
  if (stop) {
    response.failure = "stopped";
  } else if (exchange.was_silent) {
    response.failure = fmt::format("nothing came for {} s", settings.patience.count());
  } else {
    response.failure = error[0] != '\0' ? error : curl_easy_strerror(code);
  }
}

HttpSession::HttpSession(const HubSettings& settings, const std::atomic<bool>& stop) {
  start_curl();
  impl_ = std::make_unique<Impl>(settings, stop);
  impl_->easy = curl_easy_init();
  if (impl_->easy == nullptr) throw std::bad_alloc();
}

HttpSession::~HttpSession() { curl_easy_cleanup(impl_->easy); }

const HubSettings& HttpSession::settings() const noexcept { return impl_->settings; }
bool HttpSession::stopped() const noexcept { return impl_->stop; }

HttpResponse HttpSession::perform(const HttpRequest& request, const HttpSink& sink) {
  HttpResponse response;
  std::string url = request.url;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    Exchange exchange{impl_->easy, &response, &sink, &impl_->stop, impl_->settings.patience};
    impl_->perform_once(url, request, exchange);
    char* next = nullptr;
    curl_easy_getinfo(impl_->easy, CURLINFO_REDIRECT_URL, &next);
    if (!is_redirect(response.status) || next == nullptr) return response;
    const Origin from = origin_of(url), to = origin_of(next);
    if (from.scheme == "https" && to.scheme != "https") {
      response.failure = "redirected from https to " + shown_url(next);
      return response;
    }
    if (request.redirects == HttpRequest::Redirects::kSameOrigin && !(from == to)) return response;
    url = next;
  }
  response.failure = fmt::format("redirected more than {} times", kMaxRedirects);
  return response;
}

std::string shown_url(std::string_view text) {
  const Url url = parse_url(std::string(text));
  if (url == nullptr) return "(no URL)";
  for (const CURLUPart part :
       {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(url.get(), part, nullptr, 0);
  }
  return url_part(url.get(), CURLUPART_URL);
}

std::string url_encoded(std::string_view text, std::string_view kept) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       kept.find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace lockstep
